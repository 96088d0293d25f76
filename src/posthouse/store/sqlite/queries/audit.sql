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

-- name: audit_sources
-- Whose the sources are, as JSON: [source key, environment, tenant].
SELECT json_group_array(json_array(key, environment, tenant)) FROM sources;

-- name: audit_requests
-- Requests by source, as JSON: [source key, all, in the inbox, read, in quarantine or given up there, those that are in
-- no place or in several].
SELECT json_group_array(json_array(source_key, received, waiting, read, quarantined, astray)) FROM (
    SELECT
        source_key, count(*) AS received, sum(waiting) AS waiting, sum(read) AS read, sum(quarantined) AS quarantined,
        count(*) FILTER (WHERE waiting + read + quarantined <> 1) AS astray
    FROM (
        SELECT
            r.source_key,
            EXISTS (
                SELECT 1 FROM inbox AS i
                WHERE i.source_key = r.source_key AND i.request_key = r.key AND i.position = -1
            ) AS waiting,
            EXISTS (SELECT 1 FROM readings AS d WHERE d.request_key = r.key AND d.position = -1) AS read,
            EXISTS (
                SELECT 1 FROM quarantine AS q
                WHERE q.request_key = r.key AND q.position = -1
                    AND (q.resolution IS NULL OR q.resolution = 'discarded')
            ) AS quarantined
        FROM requests AS r
    )
    GROUP BY source_key
);

-- name: audit_inbox
-- Whole requests in the inbox by source, as JSON: [source key, count].
SELECT json_group_array(json_array(source_key, requests)) FROM (
    SELECT source_key, count(*) AS requests FROM inbox WHERE position = -1 GROUP BY source_key
);

-- name: audit_readings
-- What was read by source, as JSON: [source key, whole requests, new events, repetitions, events put in quarantine].
SELECT json_group_array(json_array(source_key, requests, events, duplicates, quarantined)) FROM (
    SELECT
        source_key, count(*) FILTER (WHERE position = -1) AS requests, sum(events) AS events,
        sum(duplicates) AS duplicates, sum(quarantined) AS quarantined
    FROM readings GROUP BY source_key
);

-- name: audit_arrivals
-- Events that came in, by source, as JSON: [source key, count].
SELECT json_group_array(json_array(source_key, events)) FROM (
    SELECT a.source_key, count(*) AS events
    FROM arrivals AS a CROSS JOIN events AS e ON e.key = a.event_key
    GROUP BY a.source_key
);

-- name: audit_repeats
-- Events that came again, by source, as JSON: [source key, count].
SELECT json_group_array(json_array(source_key, events)) FROM (
    SELECT source_key, count(*) AS events FROM repeats GROUP BY source_key
);

-- name: audit_quarantine
-- What is or was in quarantine by source, as JSON: [source key, whole requests in it or given up there, all events,
-- events in it or given up there].
SELECT json_group_array(json_array(source_key, requests, events, doubted)) FROM (
    SELECT
        source_key,
        count(*) FILTER (WHERE position = -1 AND (resolution IS NULL OR resolution = 'discarded')) AS requests,
        count(*) FILTER (WHERE position >= 0) AS events,
        count(*) FILTER (WHERE position >= 0 AND (resolution IS NULL OR resolution = 'discarded')) AS doubted
    FROM quarantine GROUP BY source_key
);

-- name: audit_bygone
-- What retention dropped, as JSON: [environment, tenant, endpoint key, state or 'owed', reason, count].
SELECT json_group_array(json_array(environment, tenant, endpoint_key, state, reason, deliveries)) FROM bygone_deliveries;

-- name: audit_bygone_requests
-- What retention dropped of sources, as JSON: [source key, figure, count].
SELECT json_group_array(json_array(source_key, figure, count)) FROM bygone_requests;
