-- name: retention
-- What was accepted before which time may be gone, and how far the round through all tables is.
SELECT retained_from, lap FROM retention;

-- name: put_retention
-- It is so far from now on.
UPDATE retention SET retained_from = ?1, lap = ?2 WHERE one = 1;

-- name: raise_key_floor
-- Keys up to this one were used, also if nothing is left that has them.
UPDATE custody SET key_floor = max(key_floor, ?1) WHERE one = 1;

-- name: jobs_that_open_again
-- Unfinished jobs that open settled deliveries: the event key of each one's cursor, and the earliest time of its filter.
SELECT cursor_event, filter ->> 'since' FROM jobs
WHERE (state = 'running' OR state = 'paused') AND kind IN ('retry', 'replay') AND key > 0;

-- name: next_events
-- How many events lie next behind a key and before another, at most so many, and the last of them.
SELECT count(*), max(key) FROM (SELECT key FROM events WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3);

-- name: book_owed
-- What the events behind ?1 up to ?2 owed that are to go: those that owe nothing any more.
INSERT INTO bygone_deliveries (environment, tenant, endpoint_key, state, reason, deliveries)
SELECT g.environment, g.tenant, j.value, 'owed', '', sum(g.events)
FROM (
    SELECT environment, tenant, owed, count(*) AS events
    FROM events AS e
    WHERE e.key > ?1 AND e.key <= ?2 AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = e.key)
    GROUP BY environment, tenant, owed
) AS g
CROSS JOIN json_each(g.owed) AS j
GROUP BY g.environment, g.tenant, j.value
ON CONFLICT (environment, tenant, endpoint_key, state, reason)
DO UPDATE SET deliveries = bygone_deliveries.deliveries + excluded.deliveries;

-- name: book_settled
-- What paid for it: settled rounds without those that were opened again.
INSERT INTO bygone_deliveries (environment, tenant, endpoint_key, state, reason, deliveries)
SELECT '', '', r.endpoint_key, r.state, r.reason, sum(r.rounds)
FROM (
    SELECT h.endpoint_key, h.state, coalesce(h.reason, '') AS reason, 1 AS rounds
    FROM history AS h
    WHERE h.event_key > ?1 AND h.event_key <= ?2
        AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = h.event_key)
    UNION ALL
    SELECT r.endpoint_key, r.previous_state, coalesce(r.previous_reason, ''), -1
    FROM reopened AS r
    WHERE r.event_key > ?1 AND r.event_key <= ?2
        AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = r.event_key)
) AS r
GROUP BY r.endpoint_key, r.state, r.reason
HAVING sum(r.rounds) <> 0
ON CONFLICT (environment, tenant, endpoint_key, state, reason)
DO UPDATE SET deliveries = bygone_deliveries.deliveries + excluded.deliveries;

-- name: book_arrived
-- Which of the events that are to go came in, by source.
INSERT INTO bygone_requests (source_key, figure, count)
SELECT a.source_key, 'events', count(*)
FROM arrivals AS a CROSS JOIN events AS e ON e.key = a.event_key
WHERE a.event_key > ?1 AND a.event_key <= ?2
    AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = a.event_key)
GROUP BY a.source_key
ON CONFLICT (source_key, figure) DO UPDATE SET count = bygone_requests.count + excluded.count;

-- name: drop_events
-- The events behind ?1 up to ?2 that owe nothing are gone.
DELETE FROM events
WHERE key > ?1 AND key <= ?2 AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = events.key);

-- name: drop_history
-- With their settled rounds.
DELETE FROM history
WHERE event_key > ?1 AND event_key <= ?2
    AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = history.event_key);

-- name: drop_reopened
-- With what was opened again of those.
DELETE FROM reopened
WHERE event_key > ?1 AND event_key <= ?2
    AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = reopened.event_key);

-- name: drop_attempts
-- With their attempts.
DELETE FROM attempts
WHERE event_key > ?1 AND event_key <= ?2
    AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = attempts.event_key);

-- name: old_requests
-- The next requests behind a key and before another, and whether each may go: it is read or given up, and no event is
-- left that came with it.
SELECT
    r.key,
    NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.source_key = r.source_key AND i.request_key = r.key)
    AND NOT EXISTS (SELECT 1 FROM quarantine AS q WHERE q.request_key = r.key AND coalesce(q.resolution, '') = '')
    AND NOT EXISTS (
        SELECT 1
        FROM readings AS d
        CROSS JOIN json_each(d.found) AS f
        CROSS JOIN arrivals AS a ON a.event_key = f.value ->> 1 AND a.request_key = r.key
        CROSS JOIN events AS e ON e.key = a.event_key
        WHERE d.request_key = r.key
    )
FROM requests AS r WHERE r.key > ?1 AND r.key < ?2 ORDER BY r.key LIMIT ?3;

-- name: book_requests
-- What the books of sources say of requests that are to go, a JSON array of keys, figure by figure.
WITH g (key, source_key) AS (
    SELECT r.key, r.source_key FROM json_each(?1) AS j CROSS JOIN requests AS r ON r.key = j.value
),
d (source_key, whole, events, duplicates, quarantined) AS (
    SELECT g.source_key, d.position = -1, d.events, d.duplicates, d.quarantined
    FROM g CROSS JOIN readings AS d ON d.request_key = g.key
),
q (source_key, whole, given_up) AS (
    SELECT g.source_key, q.position = -1, coalesce(q.resolution, '') = 'discarded'
    FROM g CROSS JOIN quarantine AS q ON q.request_key = g.key
),
figures (source_key, figure, count) AS (
    SELECT source_key, 'received', 1 FROM g
    UNION ALL SELECT source_key, 'read', whole FROM d
    UNION ALL SELECT source_key, 'readings', whole FROM d
    UNION ALL SELECT source_key, 'read_events', events FROM d
    UNION ALL SELECT source_key, 'read_duplicates', duplicates FROM d
    UNION ALL SELECT source_key, 'read_doubts', quarantined FROM d
    UNION ALL SELECT source_key, 'quarantined', whole AND given_up FROM q
    UNION ALL SELECT source_key, 'in_quarantine', whole AND given_up FROM q
    UNION ALL SELECT source_key, 'doubts', NOT whole FROM q
    UNION ALL SELECT source_key, 'doubted', given_up AND NOT whole FROM q
    UNION ALL
    SELECT g.source_key, 'astray', (
        (SELECT count(*) FROM readings AS d WHERE d.request_key = g.key AND d.position = -1)
        + (
            SELECT count(*) FROM quarantine AS q
            WHERE q.request_key = g.key AND q.position = -1 AND coalesce(q.resolution, '') = 'discarded'
        )
    ) <> 1
    FROM g
    UNION ALL
    SELECT g.source_key, 'duplicates', 1
    FROM g
    CROSS JOIN readings AS d ON d.request_key = g.key
    CROSS JOIN json_each(d.found) AS f
    CROSS JOIN repeats AS p ON p.event_key = f.value ->> 1 AND p.request_key = g.key AND p.position = f.value ->> 0
)
INSERT INTO bygone_requests (source_key, figure, count)
SELECT source_key, figure, sum(count) FROM figures WHERE true GROUP BY source_key, figure HAVING sum(count) <> 0
ON CONFLICT (source_key, figure) DO UPDATE SET count = bygone_requests.count + excluded.count;

-- name: drop_arrivals
-- Where the events of some requests came from, a JSON array of keys; the events are gone already.
DELETE FROM arrivals WHERE event_key IN (
    SELECT a.event_key
    FROM json_each(?1) AS j
    CROSS JOIN readings AS d ON d.request_key = j.value
    CROSS JOIN json_each(d.found) AS f
    CROSS JOIN arrivals AS a ON a.event_key = f.value ->> 1 AND a.request_key = j.value
);

-- name: drop_repeats
-- What came again in them.
DELETE FROM repeats WHERE (event_key, request_key, position) IN (
    SELECT p.event_key, p.request_key, p.position
    FROM json_each(?1) AS j
    CROSS JOIN readings AS d ON d.request_key = j.value
    CROSS JOIN json_each(d.found) AS f
    CROSS JOIN repeats AS p ON p.event_key = f.value ->> 1 AND p.request_key = j.value
);

-- name: drop_readings
-- What was found in them: the last of what leads to the others.
DELETE FROM readings WHERE request_key IN (SELECT value FROM json_each(?1));

-- name: drop_quarantine
-- What had left the quarantine.
DELETE FROM quarantine WHERE request_key IN (SELECT value FROM json_each(?1));

-- name: drop_requests
-- The requests are gone.
DELETE FROM requests WHERE key IN (SELECT value FROM json_each(?1));
