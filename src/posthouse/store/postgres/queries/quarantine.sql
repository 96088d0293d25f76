-- name: resolve_quarantined
-- Entries leave the quarantine, and the keys of those that did; what is not in it, or never expires, stays. What is let
-- out is in the inbox again, due at once; a refused request that nobody asked for in time is deleted. All entries are
-- locked first, in the sequence that they are given in: so the answer waits until what it rests on is durable, also if
-- somebody else wrote it. IS NULL would lead through a partial index, past all that is in quarantine.
WITH named AS MATERIALIZED (
    SELECT q.request_key, q.position
    FROM unnest($1::bigint[], $2::integer[]) AS g (request_key, position)
    CROSS JOIN LATERAL (
        SELECT e.request_key, e.position FROM quarantine AS e
        WHERE e.request_key = g.request_key AND e.position = g.position
        FOR UPDATE
    ) AS q
),
resolved AS (
    UPDATE quarantine AS q SET resolution = $3::text, resolved_at = $4::bigint
    FROM named AS n
    WHERE q.request_key = n.request_key AND q.position = n.position
        AND coalesce(q.resolution, '') = '' AND ($3::text <> 'expired' OR NOT q.acknowledged)
    RETURNING q.request_key, q.position, q.source_key, q.objection
),
let_out AS (
    INSERT INTO inbox (source_key, request_key, position, waived, attempts, due_at)
    SELECT
        source_key, request_key, position, CASE WHEN $3::text = 'rechecked' THEN NULL ELSE objection END, 0, $4::bigint
    FROM resolved WHERE $3::text IN ('released', 'reverified', 'rechecked')
),
deleted AS (
    DELETE FROM requests
    WHERE key IN (SELECT request_key FROM resolved WHERE position = -1 AND $3::text = 'expired')
)
SELECT request_key, position FROM resolved;

-- name: expired_in_quarantine
-- What was refused before a given time and is in quarantine, oldest first.
SELECT request_key, position FROM quarantine
WHERE resolution IS NULL AND NOT acknowledged AND at < $1 ORDER BY at, request_key, position LIMIT $2;

-- name: quarantined_bytes
-- Bytes of the refused requests in quarantine, by source.
SELECT source_key, sum(bytes)::bigint AS bytes
FROM quarantine WHERE resolution IS NULL AND NOT acknowledged GROUP BY source_key;

-- name: quarantine_of_source_newest_first
-- What is in quarantine of a source, newest first, in the order of core.inbound.Quarantined. The index of environments
-- must not be taken, for it leads past all other sources.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND source_key = $5 AND (request_key, position) < ($3, $4) AND environment || '' = $1
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key DESC, position DESC LIMIT $7;

-- name: quarantine_of_environment_newest_first
-- What is in quarantine of an environment, newest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND environment = $1 AND (request_key, position) < ($3, $4) AND ($5::bigint IS NULL OR source_key = $5)
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key DESC, position DESC LIMIT $7;

-- name: resolved_newest_first
-- What left the quarantine, newest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NOT NULL AND environment = $1 AND (request_key, position) < ($3, $4) AND ($5::bigint IS NULL OR source_key = $5)
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key DESC, position DESC LIMIT $7;

-- name: quarantine_of_source_oldest_first
-- What is in quarantine of a source, oldest first, in the order of core.inbound.Quarantined. The index of environments
-- must not be taken, for it leads past all other sources.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND source_key = $5 AND (request_key, position) > ($3, $4) AND environment || '' = $1
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key, position LIMIT $7;

-- name: quarantine_of_environment_oldest_first
-- What is in quarantine of an environment, oldest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND environment = $1 AND (request_key, position) > ($3, $4) AND ($5::bigint IS NULL OR source_key = $5)
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key, position LIMIT $7;

-- name: resolved_oldest_first
-- What left the quarantine, oldest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NOT NULL AND environment = $1 AND (request_key, position) > ($3, $4) AND ($5::bigint IS NULL OR source_key = $5)
    AND ($2::text IS NULL OR tenant = $2) AND ($6::text[] IS NULL OR objection = ANY ($6))
ORDER BY request_key, position LIMIT $7;
