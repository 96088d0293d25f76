-- name: insert_request
-- One request to a source.
INSERT INTO requests (key, source_key, environment, tenant, received_at, method, url, head, verdict, status, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_inbox_item
-- A request, or one event of it, that is to be read.
INSERT INTO inbox (source_key, request_key, position, waived, attempts, due_at) VALUES (?, ?, ?, ?, 0, ?);

-- name: note_inbound_environment_period
-- An environment has a request of this period.
INSERT INTO inbound_environment_periods (environment, period) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: note_inbound_tenant_period
-- A tenant has a request of this period.
INSERT INTO inbound_tenant_periods (environment, tenant, period) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: note_source_period
-- A source has a request of this period.
INSERT INTO source_periods (source_key, period) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: inbox_heads
-- When the first item of each source's inbox is due, as JSON: [source key, time]. A skip scan: it costs by sources.
WITH RECURSIVE heads (source_key) AS (
    SELECT min(source_key) FROM inbox
    UNION ALL
    SELECT (SELECT min(i.source_key) FROM inbox AS i WHERE i.source_key > heads.source_key)
    FROM heads WHERE heads.source_key IS NOT NULL
)
SELECT json_group_array(
    json_array(source_key, (SELECT min(i.due_at) FROM inbox AS i WHERE i.source_key = heads.source_key))
)
FROM heads WHERE source_key IS NOT NULL;

-- name: fetch_inbox
-- The due items of a source behind a given place, with their requests. Due is also what is due later than anything is
-- postponed.
SELECT
    i.position, i.waived, i.attempts, i.due_at,
    r.key, r.source_key, r.received_at, r.method, r.url, r.head, r.body, r.verdict, r.status
FROM inbox AS i CROSS JOIN requests AS r ON r.key = i.request_key
WHERE i.source_key = ?1 AND (i.request_key, i.position) > (?2, ?3) AND (i.due_at <= ?4 OR i.due_at > ?5)
ORDER BY i.request_key, i.position LIMIT ?6;

-- name: next_inbox_due_at
-- When the first item of a source that is not due at a given time becomes due.
SELECT min(due_at) FROM inbox WHERE source_key = ?1 AND due_at > ?2;

-- name: postpone_inbox_item
-- An item is looked at again later.
UPDATE inbox SET attempts = ?3, due_at = ?4
WHERE source_key = (SELECT source_key FROM requests WHERE key = ?1) AND request_key = ?1 AND position = ?2;

-- name: pick_requests_of_environment
-- Requests of an environment, newest first, as a JSON array of their keys.
SELECT json_group_array(key) FROM (
    SELECT r.key
    FROM inbound_environment_periods AS p
    CROSS JOIN requests AS r
        ON r.key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    WHERE p.environment = :environment AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND r.environment = :environment AND (:verdict IS NULL OR r.verdict = :verdict)
        AND r.received_at >= :since AND r.received_at < :until
    ORDER BY p.period DESC, r.key DESC LIMIT :limit
);

-- name: pick_requests_of_tenant
-- Requests of a tenant, newest first, as a JSON array of their keys.
SELECT json_group_array(key) FROM (
    SELECT r.key
    FROM inbound_tenant_periods AS p
    CROSS JOIN requests AS r
        ON r.key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    WHERE p.environment = :environment AND p.tenant = :tenant AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND r.environment = :environment AND r.tenant = :tenant AND (:verdict IS NULL OR r.verdict = :verdict)
        AND r.received_at >= :since AND r.received_at < :until
    ORDER BY p.period DESC, r.key DESC LIMIT :limit
);

-- name: pick_requests_of_source
-- Requests to a source, newest first, as a JSON array of their keys.
SELECT json_group_array(key) FROM (
    SELECT r.key
    FROM source_periods AS p
    CROSS JOIN requests AS r
        ON r.key BETWEEN max(p.period << 36, :oldest) AND min((p.period << 36) + 68719476735, :newest)
    WHERE p.source_key = :source AND p.period BETWEEN :oldest >> 36 AND :newest >> 36
        AND r.source_key = :source AND r.environment = :environment AND (:tenant IS NULL OR r.tenant = :tenant)
        AND (:verdict IS NULL OR r.verdict = :verdict) AND r.received_at >= :since AND r.received_at < :until
    ORDER BY p.period DESC, r.key DESC LIMIT :limit
);

-- name: describe_requests
-- What lists show of requests that were picked, in their order, as JSON: the request, the length of its body, whether
-- it is in the inbox, what was read in it, and what of it is in quarantine or was given up there.
SELECT json_group_array(json_array(
    r.key, r.source_key, r.received_at, r.method, r.url, r.verdict, r.status, length(r.body),
    EXISTS (SELECT 1 FROM inbox AS i WHERE i.source_key = r.source_key AND i.request_key = r.key AND i.position = -1),
    json((
        SELECT json_array(
            max(d.at) FILTER (WHERE d.position = -1), coalesce(sum(d.events), 0), coalesce(sum(d.duplicates), 0),
            coalesce(max(d.heartbeat), 0), max(d.delivery)
        )
        FROM readings AS d WHERE d.request_key = r.key
    )),
    (
        SELECT count(*) FROM quarantine AS q
        WHERE q.request_key = r.key AND (q.resolution IS NULL OR q.resolution = 'discarded')
    )
) ORDER BY j.key)
FROM json_each(?1) AS j CROSS JOIN requests AS r ON r.key = j.value;

-- name: request_contents
-- The head and the body of a request.
SELECT head, body FROM requests WHERE key = ?1;

-- name: found_in_request
-- The events that a request held: position, key, id, whether it is a repetition.
SELECT j.value ->> 0, e.key, e.id, j.value ->> 2
FROM readings AS d CROSS JOIN json_each(d.found) AS j CROSS JOIN events AS e ON e.key = j.value ->> 1
WHERE d.request_key = ?1;

-- name: origin
-- Where an event came from, in the order of store.protocol.Origin.
SELECT
    a.source_key, a.request_key, a.position,
    (SELECT count(*) FROM repeats AS r WHERE r.event_key = a.event_key),
    a.unchecked
FROM arrivals AS a WHERE a.event_key = ?1;
