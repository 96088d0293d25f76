-- name: events_of_environment
-- Events of an environment ($1), newest first, in the periods that have some. $2, $3: the oldest and the newest key;
-- $4: type, $5, $6: accepted at or after, accepted before. $7: how many. NULL: any.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    cardinality(e.owed) AS owed
FROM environment_periods AS p
CROSS JOIN LATERAL (
    SELECT key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, owed
    FROM events
    WHERE key BETWEEN greatest(p.period << 36, $2::bigint) AND least((p.period << 36) + 68719476735, $3::bigint)
        AND environment = $1::text AND ($4::text IS NULL OR type = $4::text)
        AND accepted_at >= $5::bigint AND accepted_at < $6::bigint
    ORDER BY key DESC LIMIT $7::bigint
) AS e
WHERE p.environment = $1::text AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, e.key DESC LIMIT $7::bigint;

-- name: events_of_tenant
-- Events of a tenant ($8), newest first, in the periods that have some; as events_of_environment.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    cardinality(e.owed) AS owed
FROM tenant_periods AS p
CROSS JOIN LATERAL (
    SELECT key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, owed
    FROM events
    WHERE key BETWEEN greatest(p.period << 36, $2::bigint) AND least((p.period << 36) + 68719476735, $3::bigint)
        AND environment = $1::text AND tenant = $8::text AND ($4::text IS NULL OR type = $4::text)
        AND accepted_at >= $5::bigint AND accepted_at < $6::bigint
    ORDER BY key DESC LIMIT $7::bigint
) AS e
WHERE p.environment = $1::text AND p.tenant = $8::text AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, e.key DESC LIMIT $7::bigint;

-- name: events_of_source
-- Events that came in through a source ($9), newest first; $8: tenant, else as events_of_environment.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    cardinality(e.owed) AS owed
FROM arrivals AS a JOIN events AS e ON e.key = a.event_key
WHERE a.source_key = $9::bigint AND a.event_key BETWEEN $2::bigint AND $3::bigint
    AND e.environment = $1::text AND ($8::text IS NULL OR e.tenant = $8::text)
    AND ($4::text IS NULL OR e.type = $4::text)
    AND e.accepted_at >= $5::bigint AND e.accepted_at < $6::bigint
ORDER BY a.event_key DESC LIMIT $7::bigint;

-- name: event_by_key
-- The event with this key and this public id.
SELECT
    key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, cardinality(owed) AS owed
FROM events WHERE key = $1 AND id = $2 AND environment = $3;

-- name: events_by_id
-- The events that publishers named so; one for each tenant at most.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    cardinality(e.owed) AS owed
FROM identities AS i JOIN events AS e ON e.key = i.event_key
WHERE i.environment = $1 AND i.kind = 'id' AND i.value = $2;

-- name: pick_open
-- Open deliveries of an environment ($1), newest event first: event key, endpoint key, round. $2, $3: the oldest and
-- the newest event; before the place ($4, $5); $6, $7: accepted at or after, accepted before. $8: how many. $9: tenant,
-- $10: endpoint, $11, $12: attempts from and to. NULL: any.
SELECT o.event_key, o.endpoint_key, o.round
FROM obligations AS o JOIN events AS e ON e.key = o.event_key
WHERE o.event_key BETWEEN $2::bigint AND $3::bigint
    AND (o.event_key, o.endpoint_key) < ($4::bigint, $5::bigint)
    AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
    AND ($9::text IS NULL OR e.tenant = $9::text) AND ($10::bigint IS NULL OR o.endpoint_key = $10::bigint)
    AND o.attempts BETWEEN $11::bigint AND $12::bigint
ORDER BY o.event_key DESC, o.endpoint_key DESC LIMIT $8::bigint;

-- name: pick_settled_of_environment
-- Settled deliveries of an environment, newest event first, as pick_open; but $11: state.
SELECT s.event_key, s.endpoint_key, s.round
FROM environment_periods AS p
CROSS JOIN LATERAL (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM history AS h JOIN events AS e ON e.key = h.event_key
    WHERE h.event_key BETWEEN greatest(p.period << 36, $2::bigint)
            AND least((p.period << 36) + 68719476735, $3::bigint)
        AND (h.event_key, h.endpoint_key) < ($4::bigint, $5::bigint)
        AND ($10::bigint IS NULL OR h.endpoint_key = $10::bigint) AND ($11::text IS NULL OR h.state = $11::text)
        AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
        AND ($9::text IS NULL OR e.tenant = $9::text)
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY h.event_key DESC, h.endpoint_key DESC LIMIT $8::bigint
) AS s
WHERE p.environment = $1::text AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, s.event_key DESC, s.endpoint_key DESC LIMIT $8::bigint;

-- name: pick_settled_of_tenant
-- Settled deliveries of a tenant, newest event first, as pick_settled_of_environment.
SELECT s.event_key, s.endpoint_key, s.round
FROM tenant_periods AS p
CROSS JOIN LATERAL (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM history AS h JOIN events AS e ON e.key = h.event_key
    WHERE h.event_key BETWEEN greatest(p.period << 36, $2::bigint)
            AND least((p.period << 36) + 68719476735, $3::bigint)
        AND (h.event_key, h.endpoint_key) < ($4::bigint, $5::bigint)
        AND ($10::bigint IS NULL OR h.endpoint_key = $10::bigint) AND ($11::text IS NULL OR h.state = $11::text)
        AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
        AND ($9::text IS NULL OR e.tenant = $9::text)
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY h.event_key DESC, h.endpoint_key DESC LIMIT $8::bigint
) AS s
WHERE p.environment = $1::text AND p.tenant = $9::text AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, s.event_key DESC, s.endpoint_key DESC LIMIT $8::bigint;

-- name: pick_settled_of_endpoint
-- Settled deliveries of an endpoint, newest event first, as pick_settled_of_environment.
SELECT s.event_key, s.endpoint_key, s.round
FROM endpoint_periods AS p
CROSS JOIN LATERAL (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM history AS h JOIN events AS e ON e.key = h.event_key
    WHERE h.event_key BETWEEN greatest(p.period << 36, $2::bigint)
            AND least((p.period << 36) + 68719476735, $3::bigint)
        AND (h.event_key, h.endpoint_key) < ($4::bigint, $5::bigint)
        AND h.endpoint_key = $10::bigint AND ($11::text IS NULL OR h.state = $11::text)
        AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
        AND ($9::text IS NULL OR e.tenant = $9::text)
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY h.event_key DESC, h.endpoint_key DESC LIMIT $8::bigint
) AS s
WHERE p.endpoint_key = $10::bigint AND p.period BETWEEN $2::bigint >> 36 AND $3::bigint >> 36
ORDER BY p.period DESC, s.event_key DESC, s.endpoint_key DESC LIMIT $8::bigint;

-- name: pick_undelivered
-- Exhausted or discarded deliveries, newest event first, as pick_settled_of_environment.
SELECT h.event_key, h.endpoint_key, h.round
FROM history AS h JOIN events AS e ON e.key = h.event_key
WHERE h.state = $11::text AND h.state <> 'delivered' AND h.event_key BETWEEN $2::bigint AND $3::bigint
    AND (h.event_key, h.endpoint_key) < ($4::bigint, $5::bigint)
    AND ($10::bigint IS NULL OR h.endpoint_key = $10::bigint)
    AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
    AND ($9::text IS NULL OR e.tenant = $9::text)
    AND NOT EXISTS (
        SELECT FROM reopened AS r
        WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
    )
ORDER BY h.event_key DESC, h.endpoint_key DESC LIMIT $8::bigint;

-- name: pick_undelivered_of_endpoint
-- Exhausted or discarded deliveries of an endpoint, newest event first, as pick_settled_of_environment.
SELECT h.event_key, h.endpoint_key, h.round
FROM history AS h JOIN events AS e ON e.key = h.event_key
WHERE h.state = $11::text AND h.state <> 'delivered' AND h.event_key BETWEEN $2::bigint AND $3::bigint
    AND (h.event_key, h.endpoint_key) < ($4::bigint, $5::bigint)
    AND h.endpoint_key = $10::bigint
    AND e.environment = $1::text AND e.accepted_at >= $6::bigint AND e.accepted_at < $7::bigint
    AND ($9::text IS NULL OR e.tenant = $9::text)
    AND NOT EXISTS (
        SELECT FROM reopened AS r
        WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
    )
ORDER BY h.event_key DESC LIMIT $8::bigint;

-- name: latest_round
-- The latest settled round of a delivery, as pick_open.
SELECT event_key, endpoint_key, round FROM history
WHERE event_key = $1 AND endpoint_key = $2 ORDER BY round DESC LIMIT 1;

-- name: describe_open
-- What the ledger shows of open deliveries that were picked, in their order; by round_attempts each waits or retries.
SELECT
    o.event_key, o.endpoint_key, e.id AS event_id, e.type AS event_type, e.environment, e.tenant, o.lane, o.round,
    (
        SELECT count(*) FROM attempts AS n WHERE n.event_key = o.event_key AND n.endpoint_key = o.endpoint_key
    ) AS attempts,
    o.opened_at, o.due_at, a.outcome AS last_outcome, a.status AS last_status, o.attempts AS round_attempts,
    CASE WHEN o.behind THEN (
        SELECT h.event_key FROM obligations AS h
        WHERE NOT h.behind AND h.endpoint_key = o.endpoint_key AND h.ordering_key = o.ordering_key
    ) END AS behind_event
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (event_key, endpoint_key, position)
JOIN obligations AS o ON o.event_key = w.event_key AND o.endpoint_key = w.endpoint_key
JOIN events AS e ON e.key = o.event_key
LEFT JOIN LATERAL (
    SELECT a.outcome, a.status FROM attempts AS a
    WHERE a.event_key = o.event_key AND a.endpoint_key = o.endpoint_key ORDER BY a.number DESC LIMIT 1
) AS a ON true
ORDER BY w.position;

-- name: describe_settled
-- What the ledger shows of settled rounds that were picked, in their order.
SELECT
    h.event_key, h.endpoint_key, e.id AS event_id, e.type AS event_type, e.environment, e.tenant, h.lane, h.round,
    (
        SELECT count(*) FROM attempts AS n WHERE n.event_key = h.event_key AND n.endpoint_key = h.endpoint_key
    ) AS attempts,
    h.opened_at, h.settled_at, h.state, h.reason, a.outcome AS last_outcome, a.status AS last_status
FROM unnest($1::bigint[], $2::bigint[], $3::integer[])
    WITH ORDINALITY AS w (event_key, endpoint_key, round, position)
JOIN history AS h ON h.event_key = w.event_key AND h.endpoint_key = w.endpoint_key AND h.round = w.round
JOIN events AS e ON e.key = h.event_key
LEFT JOIN LATERAL (
    SELECT a.outcome, a.status FROM attempts AS a
    WHERE a.event_key = h.event_key AND a.endpoint_key = h.endpoint_key ORDER BY a.number DESC LIMIT 1
) AS a ON true
ORDER BY w.position;

-- name: attempts_of_delivery
-- All attempts of a delivery, with the names of core.model.Attempt. No limit: a round has as many as its schedule.
SELECT
    number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us, first_byte_us, total_us, reused,
    response_headers, response_body
FROM attempts WHERE event_key = $1 AND endpoint_key = $2 ORDER BY number;

-- name: endpoints_with_work
-- Of each of some slots the next endpoints behind a key, up to another one, that have open deliveries; by slot no more
-- than a number of them. A skip scan: one seek for each.
WITH RECURSIVE heads (slot, endpoint_key, number) AS (
    SELECT w.slot, f.endpoint_key, 1
    FROM unnest($1::smallint[], $2::bigint[]) AS w (slot, after)
    CROSS JOIN LATERAL (
        SELECT o.endpoint_key FROM obligations AS o
        WHERE NOT o.behind AND o.slot = w.slot AND o.endpoint_key > w.after AND o.endpoint_key <= $3::bigint
        ORDER BY o.endpoint_key LIMIT 1
    ) AS f
    UNION ALL
    SELECT h.slot, f.endpoint_key, h.number + 1
    FROM heads AS h
    CROSS JOIN LATERAL (
        SELECT o.endpoint_key FROM obligations AS o
        WHERE NOT o.behind AND o.slot = h.slot AND o.endpoint_key > h.endpoint_key AND o.endpoint_key <= $3::bigint
        ORDER BY o.endpoint_key LIMIT 1
    ) AS f
    WHERE h.number < $4::integer
)
SELECT slot, endpoint_key FROM heads;

-- name: waiting_by_lane
-- How many open deliveries some endpoints have by lane, with the names of store.protocol.Waiting, by key.
SELECT
    w.endpoint_key, o.live, o.retry, o.backlog, o.parked,
    (SELECT count(*) FROM obligations AS b WHERE b.behind AND b.endpoint_key = w.endpoint_key) AS behind
FROM unnest($1::smallint[], $2::bigint[]) AS w (slot, endpoint_key)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE o.lane = 0) AS live, count(*) FILTER (WHERE o.lane = 1) AS retry,
        count(*) FILTER (WHERE o.lane = 2) AS backlog, count(*) FILTER (WHERE o.lane = 3) AS parked
    FROM obligations AS o
    WHERE NOT o.behind AND o.slot = w.slot AND o.endpoint_key = w.endpoint_key
) AS o
ORDER BY w.endpoint_key;
