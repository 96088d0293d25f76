-- name: open_incidents
-- Something may be wrong, unless an incident of its kind is open for its source; in the order of core.inbound.Incident.
-- The keys of those that were not. The caller holds the guards of the sources, and names none of them twice.
INSERT INTO incidents (
    key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
)
SELECT n.*
FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
    $10::bigint[], $11::bigint[], $12::bigint[]
) AS n (key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing)
WHERE NOT EXISTS (
    SELECT FROM incidents AS i WHERE i.closed_at IS NULL AND i.kind = n.kind AND i.source_key = n.source_key
)
RETURNING key;

-- name: close_incidents
-- Whatever is open of a kind, of a source or of all (NULL), is over.
UPDATE incidents SET closed_at = $3
WHERE closed_at IS NULL AND kind = $1 AND ($2::bigint IS NULL OR source_key = $2);

-- name: list_incidents
-- Incidents, newest first, in the order of core.inbound.Incident.
SELECT key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
FROM incidents
WHERE key < $1 AND environment = $2 AND ($3::text IS NULL OR tenant = $3)
    AND ($4::bigint IS NULL OR source_key = $4) AND ($5::text IS NULL OR kind = $5)
    AND ($6::boolean IS NULL OR (closed_at IS NULL) = $6)
ORDER BY key DESC LIMIT $7;

-- name: all_rhythms
-- How every source usually speaks, in the order of core.inbound.Rhythm.
SELECT source_key, seen_at, seen, pauses, day FROM rhythms ORDER BY source_key;

-- name: put_rhythms
-- Insert or replace how sources usually speak; the columns stand in the order of core.inbound.Rhythm.
INSERT INTO rhythms (source_key, seen_at, seen, pauses, day)
SELECT r.source_key, r.seen_at, r.seen, r.pauses, r.day
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
    AS r (source_key, seen_at, seen, pauses, day)
ORDER BY r.source_key
ON CONFLICT (source_key) DO UPDATE SET
    seen_at = excluded.seen_at, seen = excluded.seen, pauses = excluded.pauses, day = excluded.day;
