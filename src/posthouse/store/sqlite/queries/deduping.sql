-- name: seen_mark
-- The event key of a mark: a row of source 0.
SELECT event_key FROM seen WHERE source_key = 0 AND digest = ?1;

-- name: put_seen_mark
-- Insert or replace a mark, with a time that nothing prunes.
INSERT OR REPLACE INTO seen (source_key, digest, event_key, at) VALUES (0, ?1, ?2, 9223372036854775807);

-- name: delete_seen_mark
-- A mark counts no more.
DELETE FROM seen WHERE source_key = 0 AND digest = ?1;

-- name: find_seen
-- What digests stand for, out of a JSON array of [source key, digest in hexadecimal]: the place in the array, the
-- event's key and id, and when it was received.
SELECT j.key, s.event_key, e.id, s.at
FROM json_each(?1) AS j
CROSS JOIN seen AS s ON s.source_key = j.value ->> 0 AND s.digest = unhex(j.value ->> 1)
CROSS JOIN events AS e ON e.key = s.event_key;

-- name: put_seen
-- A digest stands for this event now, unless it stands for a later one.
INSERT INTO seen (source_key, digest, event_key, at) VALUES (?, ?, ?, ?)
ON CONFLICT (source_key, digest) DO UPDATE SET event_key = excluded.event_key, at = excluded.at
WHERE excluded.at >= seen.at;

-- name: drop_seen
-- Whatever is left of the table of digests.
DROP TABLE IF EXISTS seen;

-- name: drop_seen_by_time
-- The name of its index, which may belong to a table that was given another name.
DROP INDEX IF EXISTS seen_by_time;

-- name: create_seen
-- The table of digests, as in schema.sql.
CREATE TABLE IF NOT EXISTS seen (
    source_key INTEGER NOT NULL,
    digest BLOB NOT NULL,
    event_key INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (source_key, digest)
) WITHOUT ROWID, STRICT;

-- name: create_seen_by_time
-- Its index, as in schema.sql.
CREATE INDEX IF NOT EXISTS seen_by_time ON seen (at);

-- name: next_arrivals
-- How many arrivals lie next below an event key and not below another, at most so many, and the lowest of them.
SELECT count(*), min(event_key) FROM (
    SELECT event_key FROM arrivals WHERE event_key < ?1 AND event_key >= ?2 ORDER BY event_key DESC LIMIT ?3
);

-- name: fill_seen
-- Digests from the arrivals in a range of event keys that were received at or after a given time. Of several that
-- one digest stands for, the latest counts.
INSERT INTO seen (source_key, digest, event_key, at)
SELECT source_key, digest, event_key, at FROM arrivals
WHERE event_key >= ?1 AND event_key < ?2 AND at >= ?3 AND digest IS NOT NULL
ON CONFLICT (source_key, digest) DO UPDATE SET event_key = excluded.event_key, at = excluded.at
WHERE excluded.at > seen.at;

-- name: prune_seen
-- Forget some digests of events that were received before a given time, oldest first.
DELETE FROM seen WHERE (source_key, digest) IN (SELECT source_key, digest FROM seen WHERE at < ?1 ORDER BY at LIMIT ?2);
