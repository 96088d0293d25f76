-- name: seen_is_usable
-- Whether the table of digests is there as schema.sql has it. What is asked of it otherwise is an error, and an error
-- ends its transaction.
SELECT coalesce(
    (
        SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = to_regclass('seen') AND attnum > 0 AND NOT attisdropped
    ) = ARRAY['source_key bigint', 'digest bytea', 'event_key bigint', 'event_id text', 'at bigint']
    AND EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = to_regclass('seen') AND contype = 'p' AND conkey = '{1,2}'
    ),
    false
) AS usable;

-- name: find_seen
-- What digests stand for: the place in the arrays, the event's key and id, and when it was received; in each row whether
-- nothing is missing. There is a row with that even if nothing is found.
SELECT w.is_whole, k.place, k.event_key, k.event_id, k.at
FROM (SELECT EXISTS (SELECT FROM seen WHERE source_key = 0 AND digest = '\x00') AS is_whole) AS w
LEFT JOIN (
    SELECT g.place, s.event_key, s.event_id, s.at
    FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS g (source_key, digest, place)
    JOIN seen AS s ON s.source_key = g.source_key AND s.digest = g.digest
) AS k ON true;

-- name: put_seen
-- Digests stand for these events now, unless they stand for later ones.
INSERT INTO seen (source_key, digest, event_key, event_id, at)
SELECT g.source_key, g.digest, g.event_key, g.event_id, g.at
FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[])
    AS g (source_key, digest, event_key, event_id, at)
ORDER BY g.source_key, g.digest
ON CONFLICT (source_key, digest) DO UPDATE SET
    event_key = excluded.event_key, event_id = excluded.event_id, at = excluded.at
WHERE excluded.at >= seen.at;

-- name: seen_mark
-- The event key of a mark: a row of source 0.
SELECT event_key FROM seen WHERE source_key = 0 AND digest = $1;

-- name: put_seen_mark
-- Insert or replace a mark, with a time that nothing prunes.
INSERT INTO seen (source_key, digest, event_key, event_id, at) VALUES (0, $1, $2, '', 9223372036854775807)
ON CONFLICT (source_key, digest) DO UPDATE SET event_key = excluded.event_key;

-- name: delete_seen_mark
-- A mark counts no more.
DELETE FROM seen WHERE source_key = 0 AND digest = $1;

-- name: drop_seen
-- Whatever is left of the table of digests.
DROP TABLE IF EXISTS seen;

-- name: drop_seen_by_time
-- The name of its index, which may belong to a table that was given another name.
DROP INDEX IF EXISTS seen_by_time;

-- name: create_seen
-- The table of digests, as in schema.sql.
CREATE TABLE seen (
    source_key bigint NOT NULL, digest bytea NOT NULL, event_key bigint NOT NULL, event_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (source_key, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- name: create_seen_by_time
-- Its index, as in schema.sql.
CREATE INDEX seen_by_time ON seen (at);

-- name: next_arrivals
-- How many arrivals lie next below an event key and not below another, at most so many, and the lowest of them.
SELECT count(*) AS count, min(event_key) AS lowest FROM (
    SELECT event_key FROM arrivals WHERE event_key < $1 AND event_key >= $2 ORDER BY event_key DESC LIMIT $3
) AS n;

-- name: fill_seen
-- Digests from the arrivals in a range of event keys that were received at or after a given time. Of several that one
-- digest stands for, the latest counts.
WITH given AS MATERIALIZED (  -- by event keys first: to sort arrivals, a planner that must not sort walks all of a source
    SELECT source_key, digest, event_key, at FROM arrivals
    WHERE event_key >= $1 AND event_key < $2 AND at >= $3 AND digest IS NOT NULL
)
INSERT INTO seen (source_key, digest, event_key, event_id, at)
SELECT DISTINCT ON (g.source_key, g.digest) g.source_key, g.digest, g.event_key, e.id, g.at
FROM given AS g JOIN events AS e ON e.key = g.event_key
ORDER BY g.source_key, g.digest, g.at DESC, g.event_key DESC
ON CONFLICT (source_key, digest) DO UPDATE SET
    event_key = excluded.event_key, event_id = excluded.event_id, at = excluded.at
WHERE excluded.at > seen.at;

-- name: prune_seen
-- Forget some digests of events that were received before a given time, oldest first. One that somebody holds is about
-- to stand for a later event, and stays.
DELETE FROM seen WHERE ctid = ANY (
    ARRAY(SELECT s.ctid FROM seen AS s WHERE s.at < $1 ORDER BY s.at LIMIT $2 FOR UPDATE SKIP LOCKED)
);
