-- name: insert_feed_commit
-- What a transaction accepted. One writes at a time, and a row without a place gets the next one behind all.
INSERT INTO feed_commits (first_key, last_key, size, keys) VALUES (?, ?, ?, ?);

-- name: feed_sizes
-- Commits from a place on, at most ?2.
SELECT place, size FROM feed_commits WHERE place >= ?1 ORDER BY place LIMIT ?2;

-- name: feed_commits
-- Commits, some of those that feed_sizes gave.
SELECT place, first_key, keys FROM feed_commits WHERE place BETWEEN ?1 AND ?2 ORDER BY place;

-- name: feed_end
-- The last commit: its place, first key, last key and size.
SELECT place, first_key, last_key, size FROM feed_commits ORDER BY place DESC LIMIT 1;

-- name: feed_commit_before
-- Of the last ?2 commits the last one that starts below a key.
SELECT place, first_key, size FROM (
    SELECT place, first_key, size FROM feed_commits ORDER BY place DESC LIMIT ?2
) WHERE first_key < ?1 ORDER BY place DESC LIMIT 1;

-- name: feed_floor
-- The last commit that was let go.
SELECT place, first_key, last_key, size FROM feed_floor;

-- name: feed_heads
-- What says whether events are wanted, out of a JSON array of their keys.
SELECT e.key, e.type, length(e.data)
FROM json_each(?1) AS j CROSS JOIN events AS e ON e.key = j.value
WHERE e.environment = ?2 AND (?3 IS NULL OR e.tenant = ?3);

-- name: feed_events
-- Events, out of a JSON array of their keys.
SELECT e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key
FROM json_each(?1) AS j CROSS JOIN events AS e ON e.key = j.value;

-- name: feed_consumers
-- All consumers of an environment.
SELECT environment, name, place, first_key, taken, created_at, acknowledged_at FROM feed_consumers
WHERE environment = ?1 ORDER BY name;

-- name: feed_consumer
-- One consumer.
SELECT environment, name, place, first_key, taken, created_at, acknowledged_at FROM feed_consumers
WHERE environment = ?1 AND name = ?2;

-- name: count_feed_consumers
-- How many consumers an environment has.
SELECT count(*) FROM feed_consumers WHERE environment = ?1;

-- name: put_feed_consumer
-- Where a consumer is; the first time it is made.
INSERT INTO feed_consumers (environment, name, place, first_key, taken, created_at, acknowledged_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
ON CONFLICT (environment, name) DO UPDATE SET
    place = excluded.place, first_key = excluded.first_key, taken = excluded.taken,
    acknowledged_at = excluded.acknowledged_at;

-- name: delete_feed_consumer
-- Forget a consumer.
DELETE FROM feed_consumers WHERE environment = ?1 AND name = ?2;

-- name: first_feed_commits
-- The first commits.
SELECT place, first_key, last_key, size FROM feed_commits ORDER BY place LIMIT ?1;

-- name: delete_feed_commits
-- Let go of all commits up to one.
DELETE FROM feed_commits WHERE place <= ?1;

-- name: raise_feed_floor
-- The last commit that was let go.
UPDATE feed_floor SET place = ?1, first_key = ?2, last_key = ?3, size = ?4;
