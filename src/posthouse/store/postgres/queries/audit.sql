-- name: audit_owed
-- What the events say that they owe: environment, tenant, endpoint key, count. Events with the same debts are counted
-- before their debts are taken apart.
SELECT g.environment, g.tenant, o.endpoint_key, sum(g.events)::bigint AS owed
FROM (SELECT environment, tenant, owed, count(*) AS events FROM events GROUP BY environment, tenant, owed) AS g
CROSS JOIN LATERAL unnest(g.owed) AS o (endpoint_key)
GROUP BY g.environment, g.tenant, o.endpoint_key;

-- name: audit_settled
-- Settled rounds by endpoint: endpoint key, state, reason, count.
SELECT endpoint_key, state, reason, count(*) AS rounds FROM history GROUP BY endpoint_key, state, reason;

-- name: audit_reopened
-- Settled rounds that count no more: endpoint key, state, reason, count.
SELECT endpoint_key, previous_state, previous_reason, count(*) AS rounds
FROM reopened GROUP BY endpoint_key, previous_state, previous_reason;

-- name: audit_open
-- Open deliveries by endpoint: endpoint key, how many, how many of them were attempted.
SELECT endpoint_key, count(*) AS open, count(*) FILTER (WHERE attempts > 0) AS attempted
FROM obligations GROUP BY endpoint_key;

-- name: audit_endpoints
-- Whose the endpoints are: endpoint key, environment, tenant.
SELECT key, environment, tenant FROM endpoints;

-- name: audit_bygone
-- What retention dropped: environment, tenant, endpoint key, state or 'owed', reason, count.
SELECT environment, tenant, endpoint_key, state, reason, deliveries FROM bygone_deliveries WHERE day = 0;
