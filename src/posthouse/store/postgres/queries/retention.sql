-- name: take_retention
-- How far retention is, for the one who drops now; nothing while another node does.
SELECT retained_from, lap FROM retention WHERE one = 1 FOR UPDATE SKIP LOCKED;

-- name: put_retention
-- It is so far from now on.
UPDATE retention SET retained_from = $1::bigint, lap = $2::text WHERE one = 1;

-- name: retained_from
-- What was accepted before this time may be gone.
SELECT retained_from FROM retention WHERE one = 1;

-- name: raise_key_floor
-- Keys up to this one were used, also if nothing is left that has them.
UPDATE custody SET key_floor = greatest(key_floor, $1::bigint) WHERE one = 1;

-- name: jobs_that_open_again
-- Unfinished jobs that open settled deliveries: the event key of each one's cursor, and the earliest time of its filter.
SELECT cursor_event, (filter::jsonb ->> 'since')::bigint AS since
FROM jobs WHERE (state = 'running' OR state = 'paused') AND kind IN ('retry', 'replay') AND key > 0;

-- name: oldest_day
-- The oldest day before a given one that is to go at once, and how far it is counted.
SELECT day, state, counted, reopened FROM days
WHERE day > 0 AND day < $1::integer AND state IN ('made', 'counted') ORDER BY day LIMIT 1;

-- name: move_day
-- A day stands so from now on.
UPDATE days SET state = $2::text, counted = $3::bigint, reopened = $4::bigint WHERE day = $1::integer;

-- name: next_day
-- The first day behind one and before another, and how it stands.
SELECT day, state FROM days WHERE day > $1::integer AND day < $2::integer ORDER BY day LIMIT 1;

-- name: forget_day
-- A day has no tables any more.
DELETE FROM days WHERE day = $1::integer;

-- name: hold_reopening
-- Nobody opens anything again meanwhile; who wants to has taken its lock before it looked at what is settled.
LOCK TABLE ONLY reopened IN SHARE MODE;

-- name: begin_reopening
-- What is settled stays where it is until this is done.
LOCK TABLE ONLY reopened IN ROW EXCLUSIVE MODE;

-- name: next_events
-- How many events lie next behind a key and before another, at most so many, and the last of them.
SELECT count(*) AS events, max(key) AS last
FROM (SELECT key FROM events WHERE key > $1::bigint AND key < $2::bigint ORDER BY key LIMIT $3::integer) AS n;

-- name: note_survivors
-- The events behind $1 up to $2 that owe something still.
INSERT INTO survivors (event_key)
SELECT DISTINCT event_key FROM obligations WHERE event_key > $1::bigint AND event_key <= $2::bigint
ON CONFLICT (event_key) DO NOTHING;

-- name: forget_survivors
-- Whoever they were.
DELETE FROM survivors WHERE event_key > $1::bigint AND event_key <= $2::bigint;

-- name: count_survivors
-- How many there are, counted up to a bound.
SELECT count(*) AS events
FROM (
    SELECT event_key FROM survivors WHERE event_key > $1::bigint AND event_key <= $2::bigint LIMIT $3::integer
) AS s;

-- name: book_owed
-- What the events behind $1 up to $2 owed that are to go, in the books of day $3.
INSERT INTO bygone_deliveries (day, environment, tenant, endpoint_key, state, reason, deliveries)
SELECT $3::integer, g.environment, g.tenant, o.endpoint_key, 'owed', '', sum(g.events)
FROM (
    SELECT environment, tenant, owed, count(*) AS events
    FROM events AS e
    WHERE e.key > $1::bigint AND e.key <= $2::bigint
        AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = e.key) IS NULL
    GROUP BY environment, tenant, owed
) AS g
CROSS JOIN LATERAL unnest(g.owed) AS o (endpoint_key)
GROUP BY g.environment, g.tenant, o.endpoint_key
ON CONFLICT (day, environment, tenant, endpoint_key, state, reason)
DO UPDATE SET deliveries = bygone_deliveries.deliveries + excluded.deliveries;

-- name: book_settled
-- What paid for it, in the books of day $3: settled rounds without those that were opened again.
INSERT INTO bygone_deliveries (day, environment, tenant, endpoint_key, state, reason, deliveries)
SELECT $3::integer, '', '', r.endpoint_key, r.state, r.reason, sum(r.rounds)
FROM (
    SELECT endpoint_key, state, coalesce(reason, '') AS reason, count(*) AS rounds
    FROM history AS h
    WHERE h.event_key > $1::bigint AND h.event_key <= $2::bigint
        AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = h.event_key) IS NULL
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT endpoint_key, previous_state, coalesce(previous_reason, ''), -count(*)
    FROM reopened AS a
    WHERE a.event_key > $1::bigint AND a.event_key <= $2::bigint
        AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = a.event_key) IS NULL
    GROUP BY 1, 2, 3
) AS r
GROUP BY r.endpoint_key, r.state, r.reason
HAVING sum(r.rounds) <> 0
ON CONFLICT (day, environment, tenant, endpoint_key, state, reason)
DO UPDATE SET deliveries = bygone_deliveries.deliveries + excluded.deliveries;

-- name: book_arrived
-- Which of the events that are to go came in, by source, in the books of day $3.
INSERT INTO bygone_requests (day, source_key, figure, count)
SELECT $3::integer, a.source_key, 'events', count(*)
FROM arrivals AS a
WHERE a.event_key > $1::bigint AND a.event_key <= $2::bigint
    AND (SELECT e.key FROM events AS e WHERE e.key = a.event_key) IS NOT NULL
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = a.event_key) IS NULL
GROUP BY a.source_key
ON CONFLICT (day, source_key, figure) DO UPDATE SET count = bygone_requests.count + excluded.count;

-- name: reopened_rounds
-- How many rounds of what is to go, behind $1 up to $2, were opened again.
SELECT count(*) AS rounds
FROM reopened AS a
WHERE a.event_key > $1::bigint AND a.event_key <= $2::bigint
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = a.event_key) IS NULL;

-- name: owes_anew
-- Whether something behind $1 up to $2 is open that is to go.
SELECT EXISTS (
    SELECT FROM obligations AS o
    WHERE o.event_key > $1::bigint AND o.event_key <= $2::bigint
        AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = o.event_key) IS NULL
) AS owes;

-- name: close_deliveries
-- The sums of a day count from now on.
INSERT INTO bygone_deliveries (day, environment, tenant, endpoint_key, state, reason, deliveries)
SELECT 0, environment, tenant, endpoint_key, state, reason, deliveries FROM bygone_deliveries WHERE day = $1::integer
ON CONFLICT (day, environment, tenant, endpoint_key, state, reason)
DO UPDATE SET deliveries = bygone_deliveries.deliveries + excluded.deliveries;

-- name: close_requests
-- Those of its sources, too.
INSERT INTO bygone_requests (day, source_key, figure, count)
SELECT 0, source_key, figure, count FROM bygone_requests WHERE day = $1::integer
ON CONFLICT (day, source_key, figure) DO UPDATE SET count = bygone_requests.count + excluded.count;

-- name: forget_deliveries
-- A day has no sums of its own.
DELETE FROM bygone_deliveries WHERE day = $1::integer;

-- name: forget_requests
-- Nor of its sources.
DELETE FROM bygone_requests WHERE day = $1::integer;

-- name: drop_events
-- The events behind $1 up to $2 that owe nothing are gone.
DELETE FROM events AS e
WHERE e.key > $1::bigint AND e.key <= $2::bigint
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = e.key) IS NULL;

-- name: drop_history
-- With their settled rounds.
DELETE FROM history AS e
WHERE e.event_key > $1::bigint AND e.event_key <= $2::bigint
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = e.event_key) IS NULL;

-- name: drop_reopened
-- With what was opened again of those.
DELETE FROM reopened AS e
WHERE e.event_key > $1::bigint AND e.event_key <= $2::bigint
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = e.event_key) IS NULL;

-- name: drop_attempts
-- With their attempts.
DELETE FROM attempts AS e
WHERE e.event_key > $1::bigint AND e.event_key <= $2::bigint
    AND (SELECT s.event_key FROM survivors AS s WHERE s.event_key = e.event_key) IS NULL;

-- name: old_requests
-- The next requests behind a key and before another, and whether each may go: it is read or given up, and no event is
-- left that came with it. That stays so.
SELECT n.key, NOT EXISTS (
    SELECT FROM inbox AS i WHERE i.source_key = n.source_key AND i.request_key = n.key
) AND NOT EXISTS (
    SELECT FROM quarantine AS q WHERE q.request_key = n.key AND coalesce(q.resolution, '') = ''
) AND NOT EXISTS (
    SELECT FROM arrivals AS a
    WHERE a.request_key = n.key AND (SELECT e.key FROM events AS e WHERE e.key = a.event_key) IS NOT NULL
) AS goes
FROM (
    SELECT key, source_key FROM requests
    WHERE key > $1::bigint AND key < $2::bigint ORDER BY key LIMIT $3::integer
) AS n;

-- name: book_requests
-- What the books of sources say of requests that are to go, figure by figure.
INSERT INTO bygone_requests (day, source_key, figure, count)
SELECT 0, f.source_key, f.figure, f.count
FROM (
    SELECT r.source_key, c.figure, sum(c.count) AS count
    FROM unnest($1::bigint[]) AS g (key)
    JOIN requests AS r ON r.key = g.key
    CROSS JOIN LATERAL (
        SELECT
            (SELECT count(*) FROM readings AS d WHERE d.request_key = g.key AND d.position = -1) AS read,
            (
                SELECT count(*) FROM quarantine AS q
                WHERE q.request_key = g.key AND q.position = -1 AND q.resolution = 'discarded'
            ) AS quarantined,
            (
                SELECT count(*) FROM quarantine AS q
                WHERE q.request_key = g.key AND q.position >= 0
            ) AS doubts,
            (
                SELECT count(*) FROM quarantine AS q
                WHERE q.request_key = g.key AND q.position >= 0 AND q.resolution = 'discarded'
            ) AS doubted,
            (SELECT coalesce(sum(d.events), 0) FROM readings AS d WHERE d.request_key = g.key) AS events,
            (SELECT coalesce(sum(d.duplicates), 0) FROM readings AS d WHERE d.request_key = g.key) AS duplicates,
            (SELECT coalesce(sum(d.quarantined), 0) FROM readings AS d WHERE d.request_key = g.key) AS doubts_read,
            (SELECT count(*) FROM repeats AS p WHERE p.request_key = g.key) AS repeats
    ) AS s
    CROSS JOIN LATERAL (
        VALUES
            ('received', 1), ('read', s.read), ('readings', s.read), ('quarantined', s.quarantined),
            ('in_quarantine', s.quarantined), ('astray', (s.read + s.quarantined <> 1)::integer),
            ('read_events', s.events), ('read_duplicates', s.duplicates), ('read_doubts', s.doubts_read),
            ('duplicates', s.repeats), ('doubts', s.doubts), ('doubted', s.doubted)
    ) AS c (figure, count)
    WHERE c.count <> 0
    GROUP BY r.source_key, c.figure
) AS f
ON CONFLICT (day, source_key, figure) DO UPDATE SET count = bygone_requests.count + excluded.count;

-- name: drop_requests
-- These requests are gone.
DELETE FROM requests WHERE key = ANY ($1::bigint[]);

-- name: drop_readings
-- With what was found in them.
DELETE FROM readings WHERE request_key = ANY ($1::bigint[]);

-- name: drop_arrivals
-- With where their events came from, which are gone already.
DELETE FROM arrivals WHERE request_key = ANY ($1::bigint[]);

-- name: drop_repeats
-- With what came again in them.
DELETE FROM repeats WHERE request_key = ANY ($1::bigint[]);

-- name: drop_quarantine
-- With what had left the quarantine.
DELETE FROM quarantine WHERE request_key = ANY ($1::bigint[]);

-- name: blocks_of
-- How many blocks a table has.
SELECT pg_relation_size(to_regclass($1::text)) / current_setting('block_size')::bigint AS blocks;

-- name: walk_identities
-- In some blocks, what recognises repeats of events before $3 that owe nothing.
DELETE FROM identities AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.event_key < $3::bigint
    AND NOT EXISTS (SELECT FROM obligations AS o WHERE o.event_key = i.event_key);

-- name: walk_remembered
-- In some blocks, Idempotency-Keys of calls that made something before $3.
DELETE FROM remembered AS i WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.ref < $3::bigint;

-- name: walk_quarantine
-- In some blocks, refused requests before $3 that expired: nothing else is left of them.
DELETE FROM quarantine AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.request_key < $3::bigint AND i.resolution = 'expired';

-- name: walk_environment_periods
-- In some blocks, periods before $3 that are in no day, without an event; the same below.
DELETE FROM environment_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM events AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: walk_tenant_periods
-- As above.
DELETE FROM tenant_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM events AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: walk_endpoint_periods
-- As above.
DELETE FROM endpoint_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM events AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: walk_inbound_environment_periods
-- As above, without a request.
DELETE FROM inbound_environment_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM requests AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: walk_inbound_tenant_periods
-- As above.
DELETE FROM inbound_tenant_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM requests AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: walk_source_periods
-- As above.
DELETE FROM source_periods_rest AS i
WHERE i.ctid >= $1::tid AND i.ctid < $2::tid AND i.period < $3::bigint >> 36
    AND NOT EXISTS (SELECT FROM requests AS e WHERE e.key >= i.period << 36 AND e.key < (i.period + 1) << 36);

-- name: left_in_day
-- How many events and requests have keys behind $1 up to $2, each counted up to a bound.
SELECT
    (SELECT count(*) FROM (SELECT FROM events WHERE key > $1::bigint AND key <= $2::bigint LIMIT $3::integer) AS e)
    + (SELECT count(*) FROM (SELECT FROM requests WHERE key > $1::bigint AND key <= $2::bigint LIMIT $3::integer) AS r)
    AS rows;

-- name: has_part
-- Whether there is a table of this name.
SELECT to_regclass($1::text) IS NOT NULL AS present;

-- name: keep_environment_periods
-- Where to look for what is left with keys behind $1 up to $2; the same below.
INSERT INTO environment_periods (environment, period)
SELECT DISTINCT environment, key >> 36 FROM events WHERE key > $1::bigint AND key <= $2::bigint
ON CONFLICT DO NOTHING;

-- name: keep_tenant_periods
-- As above.
INSERT INTO tenant_periods (environment, tenant, period)
SELECT DISTINCT environment, tenant, key >> 36 FROM events WHERE key > $1::bigint AND key <= $2::bigint
ON CONFLICT DO NOTHING;

-- name: keep_endpoint_periods
-- As above.
INSERT INTO endpoint_periods (endpoint_key, period)
SELECT DISTINCT endpoint_key, event_key >> 36 FROM history WHERE event_key > $1::bigint AND event_key <= $2::bigint
ON CONFLICT DO NOTHING;

-- name: keep_inbound_environment_periods
-- As above.
INSERT INTO inbound_environment_periods (environment, period)
SELECT DISTINCT environment, key >> 36 FROM requests WHERE key > $1::bigint AND key <= $2::bigint
ON CONFLICT DO NOTHING;

-- name: keep_inbound_tenant_periods
-- As above.
INSERT INTO inbound_tenant_periods (environment, tenant, period)
SELECT DISTINCT environment, tenant, key >> 36 FROM requests WHERE key > $1::bigint AND key <= $2::bigint
ON CONFLICT DO NOTHING;

-- name: keep_source_periods
-- As above.
INSERT INTO source_periods (source_key, period)
SELECT DISTINCT source_key, key >> 36 FROM requests WHERE key > $1::bigint AND key <= $2::bigint
ON CONFLICT DO NOTHING;
