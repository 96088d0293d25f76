-- name: audit_sources
-- Whose the sources are.
SELECT key, environment, tenant FROM sources;

-- name: audit_requests
-- Requests by source: all, in the inbox, read, in quarantine or given up there, those that are in no place or in several.
SELECT
    source_key, count(*) AS received, count(*) FILTER (WHERE waiting) AS waiting, count(*) FILTER (WHERE read) AS read,
    count(*) FILTER (WHERE quarantined) AS quarantined,
    count(*) FILTER (WHERE waiting::integer + read::integer + quarantined::integer <> 1) AS astray
FROM (
    SELECT
        r.source_key, i.request_key IS NOT NULL AS waiting, d.request_key IS NOT NULL AS read,
        q.request_key IS NOT NULL AS quarantined
    FROM requests AS r
    LEFT JOIN inbox AS i ON i.source_key = r.source_key AND i.request_key = r.key AND i.position = -1
    LEFT JOIN readings AS d ON d.request_key = r.key AND d.position = -1
    LEFT JOIN quarantine AS q
        ON q.request_key = r.key AND q.position = -1 AND (q.resolution IS NULL OR q.resolution = 'discarded')
) AS p
GROUP BY source_key;

-- name: audit_inbox
-- Whole requests in the inbox by source.
SELECT source_key, count(*) AS requests FROM inbox WHERE position = -1 GROUP BY source_key;

-- name: audit_readings
-- What was read by source: whole requests, new events, repetitions, events put in quarantine.
SELECT
    source_key, count(*) FILTER (WHERE position = -1) AS requests, sum(events) AS events,
    sum(duplicates) AS duplicates, sum(quarantined) AS quarantined
FROM readings GROUP BY source_key;

-- name: audit_arrivals
-- Events that came in, by source.
SELECT a.source_key, count(*) AS events
FROM arrivals AS a JOIN events AS e ON e.key = a.event_key
GROUP BY a.source_key;

-- name: audit_repeats
-- Events that came again, by source.
SELECT source_key, count(*) AS events FROM repeats GROUP BY source_key;

-- name: audit_quarantine
-- What is or was in quarantine by source: whole requests in it or given up there, all events, events in it or given up
-- there.
SELECT
    source_key,
    count(*) FILTER (WHERE position = -1 AND (resolution IS NULL OR resolution = 'discarded')) AS requests,
    count(*) FILTER (WHERE position >= 0) AS events,
    count(*) FILTER (WHERE position >= 0 AND (resolution IS NULL OR resolution = 'discarded')) AS doubted
FROM quarantine GROUP BY source_key;

-- name: audit_bygone_requests
-- What retention dropped of sources: source key, figure, count.
SELECT source_key, figure, count FROM bygone_requests WHERE day = 0;
