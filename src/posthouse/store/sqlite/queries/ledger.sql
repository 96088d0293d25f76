-- name: events_of_environment
-- Events of an environment, newest first, in the periods that have some.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    json_array_length(e.owed)
FROM environment_periods AS p
CROSS JOIN events AS e ON e.key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
WHERE p.environment = :environment AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
    AND e.environment = :environment AND (:type IS NULL OR e.type = :type)
    AND e.accepted_at >= :since AND e.accepted_at < :until
ORDER BY p.period DESC, e.key DESC LIMIT :limit;

-- name: events_of_tenant
-- Events of a tenant, newest first, in the periods that have some.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    json_array_length(e.owed)
FROM tenant_periods AS p
CROSS JOIN events AS e ON e.key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
WHERE p.environment = :environment AND p.tenant = :tenant AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
    AND e.environment = :environment AND e.tenant = :tenant AND (:type IS NULL OR e.type = :type)
    AND e.accepted_at >= :since AND e.accepted_at < :until
ORDER BY p.period DESC, e.key DESC LIMIT :limit;

-- name: events_of_source
-- Events that came in through a source, newest first.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    json_array_length(e.owed)
FROM arrivals AS a CROSS JOIN events AS e ON e.key = a.event_key
WHERE a.source_key = :source AND a.event_key BETWEEN :oldest AND :newest
    AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant) AND (:type IS NULL OR e.type = :type)
    AND e.accepted_at >= :since AND e.accepted_at < :until
ORDER BY a.event_key DESC LIMIT :limit;

-- name: event_by_key
-- The event with this key and this public id.
SELECT key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, json_array_length(owed)
FROM events WHERE key = ?1 AND id = ?2 AND environment = ?3;

-- name: events_by_id
-- The events that publishers named so; one for each tenant at most.
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key,
    json_array_length(e.owed)
FROM identities AS i CROSS JOIN events AS e ON e.key = i.event_key
WHERE i.environment = ?1 AND i.kind = 'id' AND i.value = ?2;

-- name: pick_open
-- Open deliveries, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT o.event_key, o.endpoint_key, o.round
    FROM obligations AS o CROSS JOIN events AS e ON e.key = o.event_key
    WHERE o.event_key BETWEEN :oldest AND :newest
        AND (o.event_key, o.endpoint_key) < (:after_event, :after_endpoint)
        AND (:endpoint IS NULL OR o.endpoint_key = :endpoint)
        AND o.attempts BETWEEN :attempts_min AND :attempts_max
        AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
        AND e.accepted_at >= :since AND e.accepted_at < :until
    ORDER BY o.event_key DESC, o.endpoint_key DESC LIMIT :limit
);

-- name: pick_settled_of_environment
-- Settled deliveries of an environment, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM environment_periods AS p
    CROSS JOIN history AS h
        ON h.event_key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    CROSS JOIN events AS e ON e.key = h.event_key
    WHERE p.environment = :environment AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND (h.event_key, h.endpoint_key) < (:after_event, :after_endpoint)
        AND (:state IS NULL OR h.state = :state)
        AND e.environment = :environment
        AND e.accepted_at >= :since AND e.accepted_at < :until
        AND NOT EXISTS (
            SELECT 1 FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY p.period DESC, h.event_key DESC, h.endpoint_key DESC LIMIT :limit
);

-- name: pick_settled_of_tenant
-- Settled deliveries of a tenant, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM tenant_periods AS p
    CROSS JOIN history AS h
        ON h.event_key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    CROSS JOIN events AS e ON e.key = h.event_key
    WHERE p.environment = :environment AND p.tenant = :tenant AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND (h.event_key, h.endpoint_key) < (:after_event, :after_endpoint)
        AND (:state IS NULL OR h.state = :state)
        AND e.environment = :environment AND e.tenant = :tenant
        AND e.accepted_at >= :since AND e.accepted_at < :until
        AND NOT EXISTS (
            SELECT 1 FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY p.period DESC, h.event_key DESC, h.endpoint_key DESC LIMIT :limit
);

-- name: pick_settled_of_endpoint
-- Settled deliveries of an endpoint, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM endpoint_periods AS p
    CROSS JOIN history AS h
        ON h.event_key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    CROSS JOIN events AS e ON e.key = h.event_key
    WHERE p.endpoint_key = :endpoint AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND h.endpoint_key = :endpoint
        AND (h.event_key, h.endpoint_key) < (:after_event, :after_endpoint)
        AND (:state IS NULL OR h.state = :state)
        AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
        AND e.accepted_at >= :since AND e.accepted_at < :until
        AND NOT EXISTS (
            SELECT 1 FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY p.period DESC, h.event_key DESC LIMIT :limit
);

-- name: pick_undelivered
-- Exhausted or discarded deliveries, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM history AS h INDEXED BY history_undelivered CROSS JOIN events AS e ON e.key = h.event_key
    WHERE h.state = :state AND h.state <> 'delivered' AND h.event_key BETWEEN :oldest AND :newest
        AND (h.event_key, h.endpoint_key) < (:after_event, :after_endpoint)
        AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
        AND e.accepted_at >= :since AND e.accepted_at < :until
        AND NOT EXISTS (
            SELECT 1 FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY h.event_key DESC, h.endpoint_key DESC LIMIT :limit
);

-- name: pick_undelivered_of_endpoint
-- Exhausted or discarded deliveries of an endpoint, newest event first, as JSON: [event key, endpoint key, round].
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT h.event_key, h.endpoint_key, h.round
    FROM history AS h INDEXED BY history_undelivered_by_endpoint CROSS JOIN events AS e ON e.key = h.event_key
    WHERE h.endpoint_key = :endpoint AND h.state = :state AND h.state <> 'delivered'
        AND h.event_key BETWEEN :oldest AND :newest
        AND (h.event_key, h.endpoint_key) < (:after_event, :after_endpoint)
        AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
        AND e.accepted_at >= :since AND e.accepted_at < :until
        AND NOT EXISTS (
            SELECT 1 FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
    ORDER BY h.event_key DESC LIMIT :limit
);

-- name: latest_round
-- The latest settled round of a delivery, as the pick_… queries answer.
SELECT json_group_array(json_array(event_key, endpoint_key, round)) FROM (
    SELECT event_key, endpoint_key, round FROM history
    WHERE event_key = ?1 AND endpoint_key = ?2 ORDER BY round DESC LIMIT 1
);

-- name: describe_open
-- What the ledger shows of open deliveries that were picked, in their order.
SELECT json_group_array(json_array(
    o.event_key, o.endpoint_key, e.id, e.type, e.environment, e.tenant, o.lane, o.round,
    (SELECT count(*) FROM attempts AS a WHERE a.event_key = o.event_key AND a.endpoint_key = o.endpoint_key),
    o.opened_at,
    json((SELECT json_array(a.outcome, a.status) FROM attempts AS a
        WHERE a.event_key = o.event_key AND a.endpoint_key = o.endpoint_key ORDER BY a.number DESC LIMIT 1)),
    o.attempts, o.due_at,
    iif(o.behind = 0, NULL, (SELECT h.event_key FROM obligations AS h
        WHERE h.endpoint_key = o.endpoint_key AND h.ordering_key = o.ordering_key AND h.behind = 0))
) ORDER BY j.key)
FROM json_each(?1) AS j
CROSS JOIN obligations AS o ON o.event_key = j.value ->> 0 AND o.endpoint_key = j.value ->> 1
CROSS JOIN events AS e ON e.key = o.event_key;

-- name: describe_settled
-- What the ledger shows of settled rounds that were picked, in their order.
SELECT json_group_array(json_array(
    h.event_key, h.endpoint_key, e.id, e.type, e.environment, e.tenant, h.lane, h.round,
    (SELECT count(*) FROM attempts AS a WHERE a.event_key = h.event_key AND a.endpoint_key = h.endpoint_key),
    h.opened_at,
    json((SELECT json_array(a.outcome, a.status) FROM attempts AS a
        WHERE a.event_key = h.event_key AND a.endpoint_key = h.endpoint_key ORDER BY a.number DESC LIMIT 1)),
    h.state, h.settled_at, h.reason
) ORDER BY j.key)
FROM json_each(?1) AS j
CROSS JOIN history AS h
    ON h.event_key = j.value ->> 0 AND h.endpoint_key = j.value ->> 1 AND h.round = j.value ->> 2
CROSS JOIN events AS e ON e.key = h.event_key;

-- name: attempts_of_delivery
-- All attempts of a delivery, in the order of core.model.Attempt.
SELECT
    number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us, first_byte_us, total_us, reused,
    response_headers, response_body
FROM attempts WHERE event_key = ?1 AND endpoint_key = ?2 ORDER BY number;

-- name: waiting_by_endpoint
-- How many open deliveries endpoints have by lane, as a JSON array of store.protocol.Waiting, by key.
SELECT json_group_array(json_object(
    'endpoint_key', endpoint_key, 'live', live, 'retry', retry, 'backlog', backlog, 'parked', parked, 'behind', (
        SELECT count(*) FROM obligations AS b WHERE b.behind = 1 AND b.endpoint_key = w.endpoint_key
    )
)) FROM (
    SELECT
        o.endpoint_key, count(*) FILTER (WHERE o.lane = 0) AS live, count(*) FILTER (WHERE o.lane = 1) AS retry,
        count(*) FILTER (WHERE o.lane = 2) AS backlog, count(*) FILTER (WHERE o.lane = 3) AS parked
    FROM obligations AS o
    WHERE o.behind = 0 AND o.endpoint_key > ?1 AND o.endpoint_key <= ?2
    GROUP BY o.endpoint_key ORDER BY o.endpoint_key LIMIT ?3
) AS w;
