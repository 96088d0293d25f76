-- name: waiting_in_inbox
-- Which items are in the inbox: their places in the arrays, from 1.
SELECT g.place
FROM unnest($1::bigint[], $2::bigint[], $3::integer[]) WITH ORDINALITY AS g (source_key, request_key, position, place)
JOIN inbox AS i ON i.source_key = g.source_key AND i.request_key = g.request_key AND i.position = g.position;

-- name: insert_readings
-- Items leave the inbox; what was found in each of them, where their new events came from, and which events came again.
WITH gone AS (
    DELETE FROM inbox AS i
    USING unnest($1::bigint[], $2::bigint[], $3::integer[]) AS g (source_key, request_key, position)
    WHERE i.source_key = g.source_key AND i.request_key = g.request_key AND i.position = g.position
    RETURNING 1
),
found AS (
    INSERT INTO readings (
        request_key, position, source_key, at, events, duplicates, quarantined, heartbeat, delivery, found
    )
    SELECT * FROM unnest(
        $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::integer[],
        $11::boolean[], $12::text[], $13::text[]
    )
),
new_ones AS (
    INSERT INTO arrivals (event_key, source_key, request_key, position, digest, at, unchecked)
    SELECT * FROM unnest(
        $14::bigint[], $15::bigint[], $16::bigint[], $17::integer[], $18::bytea[], $19::bigint[], $20::boolean[]
    )
),
again AS (
    INSERT INTO repeats (event_key, request_key, position, source_key)
    SELECT * FROM unnest($21::bigint[], $22::bigint[], $23::integer[], $24::bigint[])
)
SELECT count(*) AS gone FROM gone;

-- name: put_doubts
-- What is not passed on although its sender was told that it is taken; what was here before is here again.
INSERT INTO quarantine (
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, bytes
)
SELECT d.*, true, 0
FROM unnest(
    $1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[]
) AS d (request_key, position, source_key, environment, tenant, objection, detail, type, at)
ORDER BY d.request_key, d.position
ON CONFLICT (request_key, position) DO UPDATE SET
    objection = excluded.objection, detail = excluded.detail, type = coalesce(excluded.type, quarantine.type),
    at = excluded.at, resolution = NULL, resolved_at = NULL;

-- name: find_streams
-- What is known of streams.
SELECT s.source_key, s.stream, s.high, s.steps
FROM unnest($1::bigint[], $2::text[]) AS g (source_key, stream)
JOIN streams AS s ON s.source_key = g.source_key AND s.stream = g.stream;

-- name: open_gaps
-- The gaps of some sources that are open, in the order of shared.streams.OpenGap; their number is bounded.
SELECT i.key, i.source_key, i.stream, i.first, i.last, i.missing
FROM unnest($1::bigint[]) AS g (source_key)
JOIN incidents AS i ON i.closed_at IS NULL AND i.kind = 'sequence_gap' AND i.source_key = g.source_key;

-- name: put_streams
-- Insert or replace what is known of streams.
INSERT INTO streams (source_key, stream, high, steps)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
ON CONFLICT (source_key, stream) DO UPDATE SET high = excluded.high, steps = excluded.steps;

-- name: fill_gaps
-- Numbers came late: gaps are smaller, or closed.
UPDATE incidents AS i SET missing = g.missing, closed_at = g.closed_at
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS g (key, missing, closed_at)
WHERE i.key = g.key;

-- name: insert_gaps
-- Numbers of streams are missing; in the order of core.inbound.Incident.
INSERT INTO incidents (
    key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
    $10::bigint[], $11::bigint[], $12::bigint[]
);
