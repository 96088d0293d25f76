-- name: take
-- Requests to sources, each in the inbox or in quarantine, and where to look for them. Their columns are unnested in the
-- list of columns, because FROM would copy all bodies to a temporary file first.
WITH kept AS (
    INSERT INTO requests (key, source_key, received_at, status, environment, tenant, method, url, head, verdict, body)
    SELECT
        unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::integer[]), unnest($5::text[]),
        unnest($6::text[]), unnest($7::text[]), unnest($8::text[]), unnest($9::text[]), unnest($10::text[]),
        unnest($11::bytea[])
),
waiting AS (
    INSERT INTO inbox (source_key, request_key, position, waived, attempts, due_at)
    SELECT i.source_key, i.request_key, -1, NULL, 0, i.due_at
    FROM unnest($12::bigint[], $13::bigint[], $14::bigint[]) AS i (source_key, request_key, due_at)
),
refused AS (
    INSERT INTO quarantine (
        request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, bytes
    )
    SELECT q.request_key, -1, q.source_key, q.environment, q.tenant, q.objection, q.detail, NULL, q.at, false, q.bytes
    FROM unnest(
        $15::bigint[], $16::bigint[], $17::text[], $18::text[], $19::text[], $20::text[], $21::bigint[], $22::bigint[]
    ) AS q (request_key, source_key, environment, tenant, objection, detail, at, bytes)
),
places AS MATERIALIZED (
    SELECT p.environment, p.tenant, p.source_key, p.period
    FROM unnest($23::text[], $24::text[], $25::bigint[], $26::bigint[]) AS p (environment, tenant, source_key, period)
),
of_sources AS (
    INSERT INTO source_periods (source_key, period)
    SELECT DISTINCT source_key, period FROM places ORDER BY source_key, period
    ON CONFLICT DO NOTHING
),
of_tenants AS (
    INSERT INTO inbound_tenant_periods (environment, tenant, period)
    SELECT DISTINCT environment, tenant, period FROM places ORDER BY environment, tenant, period
    ON CONFLICT DO NOTHING
)
INSERT INTO inbound_environment_periods (environment, period)
SELECT DISTINCT environment, period FROM places ORDER BY environment, period
ON CONFLICT DO NOTHING;

-- name: inbox_heads
-- When the first item of each source's inbox is due. A skip scan: it costs by sources.
WITH RECURSIVE heads (source_key) AS (
    SELECT min(source_key) FROM inbox
    UNION ALL
    SELECT (SELECT min(i.source_key) FROM inbox AS i WHERE i.source_key > heads.source_key)
    FROM heads WHERE heads.source_key IS NOT NULL
)
SELECT source_key, (SELECT min(i.due_at) FROM inbox AS i WHERE i.source_key = heads.source_key) AS due_at
FROM heads WHERE source_key IS NOT NULL;

-- name: fetch_inbox
-- The due items of a source behind a given place, with their requests, up to the first that does not go into so many
-- bytes of bodies (two are always given: one is always taken, and the other shows that there are more); and, in each row,
-- when the first item that is not due becomes due. Due is also what is due later than anything is postponed. There is a
-- row with that time even if nothing is due. The LIMIT of one request leaves the planner no choice but to look each up.
WITH due AS MATERIALIZED (
    SELECT request_key, position, waived, attempts, due_at FROM inbox
    WHERE source_key = $1 AND (request_key, position) > ($2, $3) AND (due_at <= $4 OR due_at > $5)
    ORDER BY request_key, position LIMIT $6
)
SELECT
    n.next_due_at, s.position, s.waived, s.attempts, s.due_at,
    s.key, s.source_key, s.received_at, s.method, s.url, s.head, s.body, s.verdict, s.status
FROM (SELECT min(due_at) AS next_due_at FROM inbox WHERE source_key = $1 AND due_at > $4) AS n
LEFT JOIN (
    SELECT
        d.position, d.waived, d.attempts, d.due_at,
        r.key, r.source_key, r.received_at, r.method, r.url, r.head, r.body, r.verdict, r.status,
        octet_length(r.body) AS length, sum(octet_length(r.body)) OVER w AS size, row_number() OVER w AS place
    FROM due AS d
    CROSS JOIN LATERAL (
        SELECT key, source_key, received_at, method, url, head, body, verdict, status
        FROM requests WHERE key = d.request_key LIMIT 1
    ) AS r
    WINDOW w AS (ORDER BY d.request_key, d.position)
) AS s ON s.place <= 2 OR s.size - s.length <= $7
ORDER BY s.key, s.position;

-- name: postpone_inbox_item
-- An item is looked at again later.
UPDATE inbox SET attempts = $3, due_at = $4
WHERE source_key = (SELECT source_key FROM requests WHERE key = $1) AND request_key = $1 AND position = $2;

-- name: pick_requests_of_environment
-- Keys of requests of an environment, newest first.
SELECT r.key
FROM inbound_environment_periods AS p
CROSS JOIN LATERAL (
    SELECT key FROM requests
    WHERE key BETWEEN greatest(p.period << 36, $2) AND least((p.period << 36) + 68719476735, $3)
        AND environment = $1 AND ($6::text IS NULL OR verdict = $6) AND received_at >= $4 AND received_at < $5
    ORDER BY key DESC LIMIT $7
) AS r
WHERE p.environment = $1 AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, r.key DESC LIMIT $7;

-- name: pick_requests_of_tenant
-- Keys of requests of a tenant, newest first.
SELECT r.key
FROM inbound_tenant_periods AS p
CROSS JOIN LATERAL (
    SELECT key FROM requests
    WHERE key BETWEEN greatest(p.period << 36, $2) AND least((p.period << 36) + 68719476735, $3)
        AND environment = $1 AND tenant = $8 AND ($6::text IS NULL OR verdict = $6)
        AND received_at >= $4 AND received_at < $5
    ORDER BY key DESC LIMIT $7
) AS r
WHERE p.environment = $1 AND p.tenant = $8 AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, r.key DESC LIMIT $7;

-- name: pick_requests_of_source
-- Keys of requests to a source, newest first.
SELECT r.key
FROM source_periods AS p
CROSS JOIN LATERAL (
    SELECT key FROM requests
    WHERE key BETWEEN greatest(p.period << 36, $2) AND least((p.period << 36) + 68719476735, $3)
        AND source_key = $9 AND environment = $1 AND ($8::text IS NULL OR tenant = $8)
        AND ($6::text IS NULL OR verdict = $6) AND received_at >= $4 AND received_at < $5
    ORDER BY key DESC LIMIT $7
) AS r
WHERE p.source_key = $9 AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, r.key DESC LIMIT $7;

-- name: describe_requests
-- What lists show of requests that were picked, in their order: the request, the length of its body, whether it is in the
-- inbox (for EXISTS a planner may read the inbox as a whole), what was read in it, and what of it is in quarantine or was
-- given up there. The LIMIT of one request leaves the planner no choice but to look each up.
SELECT
    r.key, r.source_key, r.received_at, r.method, r.url, r.verdict, r.status, octet_length(r.body) AS body_bytes,
    (
        SELECT count(*) FROM inbox AS i WHERE i.source_key = r.source_key AND i.request_key = r.key AND i.position = -1
    ) > 0 AS waiting,
    d.read_at, d.events, d.duplicates, d.is_heartbeat, d.delivery,
    (
        SELECT count(*) FROM quarantine AS q
        WHERE q.request_key = r.key AND (q.resolution IS NULL OR q.resolution = 'discarded')
    ) AS quarantined
FROM unnest($1::bigint[]) WITH ORDINALITY AS p (key, place)
CROSS JOIN LATERAL (
    SELECT key, source_key, received_at, method, url, verdict, status, body FROM requests WHERE key = p.key LIMIT 1
) AS r
CROSS JOIN LATERAL (
    SELECT
        max(at) FILTER (WHERE position = -1) AS read_at, coalesce(sum(events), 0) AS events,
        coalesce(sum(duplicates), 0) AS duplicates, coalesce(bool_or(heartbeat), false) AS is_heartbeat,
        max(delivery) AS delivery
    FROM readings WHERE request_key = r.key
) AS d
ORDER BY p.place;

-- name: request_contents
-- The head and the body of a request.
SELECT head, body FROM requests WHERE key = $1;

-- name: found_in_request
-- The events that a request held: position, key, id, whether it is a repetition.
SELECT (f.found ->> 0)::integer AS position, e.key, e.id, f.found ->> 2 = '1' AS again
FROM readings AS d
CROSS JOIN LATERAL json_array_elements(d.found::json) AS f (found)
CROSS JOIN LATERAL (SELECT key, id FROM events WHERE key = (f.found ->> 1)::bigint LIMIT 1) AS e
WHERE d.request_key = $1;

-- name: origin
-- Where an event came from, in the order of store.protocol.Origin.
SELECT
    a.source_key, a.request_key, a.position,
    (SELECT count(*) FROM repeats AS r WHERE r.event_key = a.event_key) AS repeats,
    a.unchecked
FROM arrivals AS a WHERE a.event_key = $1;
