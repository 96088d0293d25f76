-- name: raise_feed_base
-- If the feed holds numbers of transactions that this server has not given out yet, they came with a copy: what is
-- committed from now on stands behind them. Those who accept hold the catalogue, and so does this.
UPDATE feed_base SET base = (SELECT max(place) FROM feed_commits)
WHERE (SELECT max(place) FROM feed_commits) >= base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint;

-- name: feed_sizes
-- Commits from a place on, at most $2; none that stands behind a transaction which is still under way.
SELECT place, size FROM feed_commits
WHERE place >= $1::bigint
    AND place < (SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base)
ORDER BY place LIMIT $2::bigint;

-- name: feed_commits
-- Commits, some of those that feed_sizes gave.
SELECT place, first_key, keys FROM feed_commits WHERE place BETWEEN $1::bigint AND $2::bigint ORDER BY place;

-- name: feed_end
-- The last commit that can be read: its place, first key, last key and size.
SELECT place, first_key, last_key, size FROM feed_commits
WHERE place < (SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base)
ORDER BY place DESC LIMIT 1;

-- name: feed_commit_before
-- Of the last $2 commits that can be read the last one that starts below a key.
SELECT place, first_key, size FROM (
    SELECT place, first_key, size FROM feed_commits
    WHERE place < (SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base)
    ORDER BY place DESC LIMIT $2::bigint
) AS f WHERE first_key < $1::bigint ORDER BY place DESC LIMIT 1;

-- name: feed_floor
-- The last commit that was let go.
SELECT place, first_key, last_key, size FROM feed_floor;

-- name: feed_heads
-- What says whether events are wanted.
SELECT e.key, e.type, octet_length(e.data) AS size
FROM unnest($1::bigint[]) AS k (key) JOIN events AS e ON e.key = k.key
WHERE e.environment = $2::text AND ($3::text IS NULL OR e.tenant = $3::text);

-- name: feed_events
-- Events by their keys.
SELECT e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key
FROM unnest($1::bigint[]) AS k (key) JOIN events AS e ON e.key = k.key;

-- name: feed_consumers
-- All consumers of an environment.
SELECT environment, name, place, first_key, taken, created_at, acknowledged_at FROM feed_consumers
WHERE environment = $1::text ORDER BY name;

-- name: feed_consumer
-- One consumer.
SELECT environment, name, place, first_key, taken, created_at, acknowledged_at FROM feed_consumers
WHERE environment = $1::text AND name = $2::text;

-- name: make_feed_consumer
-- A consumer at the start, unless it is there, or the environment has $4 of them.
INSERT INTO feed_consumers (environment, name, place, first_key, taken, created_at, acknowledged_at)
SELECT $1::text, $2::text, 0, 0, 0, $3::bigint, $3::bigint
WHERE (SELECT count(*) FROM feed_consumers WHERE environment = $1::text) < $4::bigint
ON CONFLICT (environment, name) DO NOTHING;

-- name: lock_feed_consumer
-- Where a consumer is; nobody else moves it meanwhile.
SELECT environment, name, place, first_key, taken, created_at, acknowledged_at FROM feed_consumers
WHERE environment = $1::text AND name = $2::text FOR UPDATE;

-- name: move_feed_consumer
-- Where a consumer is from now on.
UPDATE feed_consumers SET place = $3::bigint, first_key = $4::bigint, taken = $5::integer, acknowledged_at = $6::bigint
WHERE environment = $1::text AND name = $2::text;

-- name: delete_feed_consumer
-- Forget a consumer.
DELETE FROM feed_consumers WHERE environment = $1::text AND name = $2::text RETURNING name;

-- name: lock_feed_floor
-- Nobody else lets go of commits meanwhile.
SELECT place FROM feed_floor FOR UPDATE;

-- name: first_feed_commits
-- The first commits, of those that can be read.
SELECT place, first_key, last_key, size FROM feed_commits
WHERE place < (SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base)
ORDER BY place LIMIT $1::bigint;

-- name: delete_feed_commits
-- Let go of all commits up to one.
DELETE FROM feed_commits WHERE place <= $1::bigint;

-- name: raise_feed_floor
-- The last commit that was let go.
UPDATE feed_floor SET place = $1::bigint, first_key = $2::bigint, last_key = $3::bigint, size = $4::integer;

-- name: feed_held
-- For how long the feed has been held back, by the key of the first event that waits, and what can be seen of the
-- transaction that it waits for. No row if nothing waits.
SELECT
    (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now, c.first_key,
    coalesce(
        (SELECT format('prepared transaction %s in database %s', p.gid, p.database) FROM pg_prepared_xacts AS p
            ORDER BY age(p.transaction) DESC LIMIT 1),
        (SELECT format('process %s (%s) in database %s', a.pid, a.application_name, a.datname)
            FROM pg_stat_activity AS a WHERE a.backend_xid IS NOT NULL ORDER BY age(a.backend_xid) DESC LIMIT 1),
        'one that this user may not see'
    ) AS holder
FROM (
    SELECT first_key FROM feed_commits
    WHERE place >= (SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base)
    ORDER BY place LIMIT 1
) AS c;
