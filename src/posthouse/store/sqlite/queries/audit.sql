-- name: audit_owed
-- What the events say that they owe, as JSON: [environment, tenant, endpoint key, count].
SELECT json_group_array(json_array(environment, tenant, endpoint_key, owed)) FROM (
    SELECT g.environment, g.tenant, j.value AS endpoint_key, sum(g.events) AS owed
    FROM (SELECT environment, tenant, owed, count(*) AS events FROM events GROUP BY environment, tenant, owed) AS g
    CROSS JOIN json_each(g.owed) AS j
    GROUP BY g.environment, g.tenant, j.value
);

-- name: audit_settled
-- Settled rounds by endpoint, as JSON: [endpoint key, state, reason, count].
SELECT json_group_array(json_array(endpoint_key, state, reason, rounds)) FROM (
    SELECT endpoint_key, state, reason, count(*) AS rounds FROM history GROUP BY endpoint_key, state, reason
);

-- name: audit_reopened
-- Settled rounds that count no more, as JSON: [endpoint key, state, reason, count].
SELECT json_group_array(json_array(endpoint_key, previous_state, previous_reason, rounds)) FROM (
    SELECT endpoint_key, previous_state, previous_reason, count(*) AS rounds
    FROM reopened GROUP BY endpoint_key, previous_state, previous_reason
);

-- name: audit_open
-- Open deliveries by endpoint, as JSON: [endpoint key, how many, how many of them were attempted].
SELECT json_group_array(json_array(endpoint_key, open, attempted)) FROM (
    SELECT endpoint_key, count(*) AS open, count(*) FILTER (WHERE attempts > 0) AS attempted
    FROM obligations GROUP BY endpoint_key
);

-- name: audit_endpoints
-- Whose the endpoints are, as JSON: [endpoint key, environment, tenant].
SELECT json_group_array(json_array(key, environment, tenant)) FROM endpoints;
