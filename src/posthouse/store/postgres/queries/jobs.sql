-- name: put_job
-- A new bulk job.
INSERT INTO jobs (
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: one_job
-- One job; the columns stand in the order of core.jobs.Job, the two of a place side by side.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs WHERE key = $1;

-- name: jobs_newest_first
-- Jobs behind a given one, as one_job; NULL: of every environment, or in every state.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs
WHERE key < $1 AND ($2::text IS NULL OR environment = $2::text) AND ($3::text IS NULL OR state = $3::text)
ORDER BY key DESC LIMIT $4;

-- name: jobs_unfinished_newest_first
-- Jobs that run or are paused, behind a given one, as one_job; NULL: of every environment.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs
WHERE key < $1 AND (state = 'running' OR state = 'paused') AND state = $3::text
    AND ($2::text IS NULL OR environment = $2::text)
ORDER BY key DESC LIMIT $4;

-- name: change_job
-- What people and the node decide about a job; its counts and its cursor stay.
UPDATE jobs SET state = $2, rate = $3, started_at = $4, finished_at = $5, error = $6, trail = $7 WHERE key = $1;

-- name: move_job
-- How far a job is.
UPDATE jobs SET
    total = $2, counted = $3, counted_event = $4, counted_endpoint = $5, done = $6, skipped = $7, cursor_event = $8,
    cursor_endpoint = $9
WHERE key = $1;

-- name: candidates_open
-- Open deliveries behind a cursor ($1, $2), ascending: how many were looked at ($4 at most), the event and the endpoint
-- of the last of them, and in each row one of those that a job selects, as store.shared.candidates.Candidate; one row
-- with NULLs there if it selects none. $3: the newest event. Asked of events ($5 to $10): environment, tenant, ordering
-- key, accepted at or after, accepted before, occurred before; of deliveries ($11 to $15): endpoint, lanes from and to,
-- attempts from and to. NULL: any.
WITH looked AS MATERIALIZED (
    SELECT event_key, endpoint_key, lane, attempts FROM obligations
    WHERE (event_key, endpoint_key) > ($1::bigint, $2::bigint) AND event_key <= $3::bigint
    ORDER BY event_key, endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT l.event_key, l.endpoint_key, 0 AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l JOIN events AS e ON e.key = l.event_key
    WHERE ($11::bigint IS NULL OR l.endpoint_key = $11::bigint)
        AND l.lane BETWEEN $12::smallint AND $13::smallint
        AND l.attempts BETWEEN $14::bigint AND $15::bigint
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
) AS c ON true;

-- name: candidates_settled_of_environment
-- Settled deliveries of an environment, as candidates_open; asked of deliveries ($11, $12): reasons, states.
WITH looked AS MATERIALIZED (
    SELECT s.event_key, s.endpoint_key, s.round
    FROM environment_periods AS p
    CROSS JOIN LATERAL (
        SELECT h.event_key, h.endpoint_key, max(h.round) AS round FROM history AS h
        WHERE (h.event_key, h.endpoint_key) > (
                greatest(p.period << 36, $1::bigint), CASE WHEN p.period << 36 > $1::bigint THEN 0 ELSE $2::bigint END
            )
            AND h.event_key <= least((p.period << 36) + 68719476735, $3::bigint)
        GROUP BY h.event_key, h.endpoint_key ORDER BY h.event_key, h.endpoint_key LIMIT $4::bigint
    ) AS s
    WHERE p.environment = $5::text AND p.period BETWEEN $1::bigint >> 36 AND $3::bigint >> 36
    ORDER BY p.period, s.event_key, s.endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key AND h.round = l.round
    JOIN events AS e ON e.key = h.event_key
    WHERE h.state = ANY($12::text[])
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: candidates_settled_of_tenant
-- Settled deliveries of a tenant, as candidates_settled_of_environment.
WITH looked AS MATERIALIZED (
    SELECT s.event_key, s.endpoint_key, s.round
    FROM tenant_periods AS p
    CROSS JOIN LATERAL (
        SELECT h.event_key, h.endpoint_key, max(h.round) AS round FROM history AS h
        WHERE (h.event_key, h.endpoint_key) > (
                greatest(p.period << 36, $1::bigint), CASE WHEN p.period << 36 > $1::bigint THEN 0 ELSE $2::bigint END
            )
            AND h.event_key <= least((p.period << 36) + 68719476735, $3::bigint)
        GROUP BY h.event_key, h.endpoint_key ORDER BY h.event_key, h.endpoint_key LIMIT $4::bigint
    ) AS s
    WHERE p.environment = $5::text AND p.tenant = $6::text AND p.period BETWEEN $1::bigint >> 36 AND $3::bigint >> 36
    ORDER BY p.period, s.event_key, s.endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key AND h.round = l.round
    JOIN events AS e ON e.key = h.event_key
    WHERE h.state = ANY($12::text[])
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: candidates_settled_of_endpoint
-- Settled deliveries of an endpoint ($13), as candidates_settled_of_environment.
WITH looked AS MATERIALIZED (
    SELECT s.event_key, s.endpoint_key, s.round
    FROM endpoint_periods AS p
    CROSS JOIN LATERAL (
        SELECT h.event_key, h.endpoint_key, max(h.round) AS round FROM history AS h
        WHERE (h.event_key, h.endpoint_key) > (
                greatest(p.period << 36, $1::bigint), CASE WHEN p.period << 36 > $1::bigint THEN 0 ELSE $2::bigint END
            )
            AND h.event_key <= least((p.period << 36) + 68719476735, $3::bigint)
        GROUP BY h.event_key, h.endpoint_key ORDER BY h.event_key, h.endpoint_key LIMIT $4::bigint
    ) AS s
    WHERE p.endpoint_key = $13::bigint AND p.period BETWEEN $1::bigint >> 36 AND $3::bigint >> 36
    ORDER BY p.period, s.event_key, s.endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key AND h.round = l.round
    JOIN events AS e ON e.key = h.event_key
    WHERE h.endpoint_key = $13::bigint AND h.state = ANY($12::text[])
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: candidates_undelivered
-- Exhausted or discarded deliveries, as candidates_open; asked of deliveries ($11, $12): reasons, one state.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round FROM history AS h
    WHERE h.state = $12::text AND h.state <> 'delivered'
        AND (h.event_key, h.endpoint_key) > ($1::bigint, $2::bigint) AND h.event_key <= $3::bigint
    GROUP BY h.event_key, h.endpoint_key ORDER BY h.event_key, h.endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key AND h.round = l.round
    JOIN events AS e ON e.key = h.event_key
    WHERE h.state = $12::text
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: candidates_undelivered_of_endpoint
-- Exhausted or discarded deliveries of an endpoint ($13), as candidates_undelivered.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round FROM history AS h
    WHERE h.endpoint_key = $13::bigint AND h.state = $12::text AND h.state <> 'delivered'
        AND h.event_key > CASE WHEN $2::bigint < $13::bigint THEN $1::bigint - 1 ELSE $1::bigint END
        AND h.event_key <= $3::bigint
    GROUP BY h.event_key, h.endpoint_key ORDER BY h.event_key, h.endpoint_key LIMIT $4::bigint
)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key AND h.round = l.round
    JOIN events AS e ON e.key = h.event_key
    WHERE h.state = $12::text
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: source_candidates_open
-- Open deliveries of events that came in through a source ($16), as candidates_open. It leaps from a place to the next
-- delivery of the same event or, if there is none, before the source's first event that is not older than the next open
-- one (endpoint 0). So it costs by the smaller of the two: by the source's events, or by what is open.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    (
        SELECT a.event_key, CASE WHEN a.event_key = $1::bigint THEN $2::bigint ELSE 0 END
        FROM arrivals AS a
        WHERE a.source_key = $16::bigint AND a.event_key BETWEEN $1::bigint AND $3::bigint
        ORDER BY a.event_key LIMIT 1
    )
    UNION ALL
    SELECT coalesce(o.event_key, a.event_key), coalesce(o.endpoint_key, 0)
    FROM leaps AS l
    LEFT JOIN LATERAL (
        SELECT n.event_key, n.endpoint_key FROM obligations AS n
        WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ORDER BY n.endpoint_key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT a.event_key FROM arrivals AS a
        WHERE o.event_key IS NULL AND a.source_key = $16::bigint AND a.event_key <= $3::bigint
            AND a.event_key >= (
                SELECT n.event_key FROM obligations AS n
                WHERE n.event_key > l.event_key ORDER BY n.event_key LIMIT 1
            )
        ORDER BY a.event_key LIMIT 1
    ) AS a ON true
    WHERE l.event_key IS NOT NULL
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL LIMIT $4::bigint)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT o.event_key, o.endpoint_key, 0 AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN obligations AS o ON o.event_key = l.event_key AND o.endpoint_key = l.endpoint_key
    JOIN events AS e ON e.key = o.event_key
    WHERE (l.event_key, l.endpoint_key) > ($1::bigint, $2::bigint)
        AND ($11::bigint IS NULL OR o.endpoint_key = $11::bigint)
        AND o.lane BETWEEN $12::smallint AND $13::smallint
        AND o.attempts BETWEEN $14::bigint AND $15::bigint
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
) AS c ON true;

-- name: source_candidates_settled
-- Settled deliveries of events that came in through a source ($14), as source_candidates_open; $11 to $13: reasons,
-- states, endpoint. Nearly all of its events have some, so it goes through all of them.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    (
        SELECT a.event_key, CASE WHEN a.event_key = $1::bigint THEN $2::bigint ELSE 0 END
        FROM arrivals AS a
        WHERE a.source_key = $14::bigint AND a.event_key BETWEEN $1::bigint AND $3::bigint
        ORDER BY a.event_key LIMIT 1
    )
    UNION ALL
    SELECT coalesce(o.event_key, a.event_key), coalesce(o.endpoint_key, 0)
    FROM leaps AS l
    LEFT JOIN LATERAL (
        SELECT n.event_key, n.endpoint_key FROM history AS n
        WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ORDER BY n.endpoint_key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT a.event_key FROM arrivals AS a
        WHERE o.event_key IS NULL AND a.source_key = $14::bigint AND a.event_key <= $3::bigint
            AND a.event_key > l.event_key
        ORDER BY a.event_key LIMIT 1
    ) AS a ON true
    WHERE l.event_key IS NOT NULL
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL LIMIT $4::bigint)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key
    JOIN events AS e ON e.key = h.event_key
    WHERE (l.event_key, l.endpoint_key) > ($1::bigint, $2::bigint)
        AND h.state = ANY($12::text[])
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND ($13::bigint IS NULL OR h.endpoint_key = $13::bigint)
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: source_candidates_undelivered
-- Exhausted or discarded deliveries of events that came in through a source ($14), as source_candidates_open; $11 to
-- $13: reasons, one state, endpoint.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    (
        SELECT a.event_key, CASE WHEN a.event_key = $1::bigint THEN $2::bigint ELSE 0 END
        FROM arrivals AS a
        WHERE a.source_key = $14::bigint AND a.event_key BETWEEN $1::bigint AND $3::bigint
        ORDER BY a.event_key LIMIT 1
    )
    UNION ALL
    SELECT coalesce(o.event_key, a.event_key), coalesce(o.endpoint_key, 0)
    FROM leaps AS l
    LEFT JOIN LATERAL (
        SELECT n.event_key, n.endpoint_key FROM history AS n
        WHERE n.state = $12::text AND n.state <> 'delivered'
            AND n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ORDER BY n.endpoint_key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT a.event_key FROM arrivals AS a
        WHERE o.event_key IS NULL AND a.source_key = $14::bigint AND a.event_key <= $3::bigint
            AND a.event_key >= (
                SELECT n.event_key FROM history AS n
                WHERE n.state = $12::text AND n.state <> 'delivered' AND n.event_key > l.event_key
                ORDER BY n.event_key LIMIT 1
            )
        ORDER BY a.event_key LIMIT 1
    ) AS a ON true
    WHERE l.event_key IS NOT NULL
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL LIMIT $4::bigint)
SELECT
    n.looked, t.event_key AS last_event, t.endpoint_key AS last_endpoint,
    c.event_key, c.endpoint_key, c.round, c.type, c.tenant, c.ordering_key
FROM (SELECT count(*) AS looked FROM looked) AS n
LEFT JOIN (
    SELECT event_key, endpoint_key FROM looked ORDER BY event_key DESC, endpoint_key DESC LIMIT 1
) AS t ON true
LEFT JOIN (
    SELECT h.event_key, h.endpoint_key, h.round AS round, e.type, e.tenant, e.ordering_key
    FROM looked AS l
    JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key
    JOIN events AS e ON e.key = h.event_key
    WHERE (l.event_key, l.endpoint_key) > ($1::bigint, $2::bigint)
        AND h.state = $12::text
        AND ($11::text[] IS NULL OR h.reason = ANY($11::text[]))
        AND ($13::bigint IS NULL OR h.endpoint_key = $13::bigint)
        AND e.environment = $5::text AND ($6::text IS NULL OR e.tenant = $6::text)
        AND ($7::text IS NULL OR e.ordering_key = $7::text)
        AND e.accepted_at >= $8::bigint AND e.accepted_at < $9::bigint
        AND coalesce(e.occurred_at, e.accepted_at) < $10::bigint
        AND NOT EXISTS (
            SELECT FROM reopened AS r
            WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
        )
) AS c ON true;

-- name: newest_owed
-- The newest event that an endpoint is owed of each of some ordering keys ($2 to $4: tenants, ordering keys, endpoint
-- keys), if there is one; $1: the environment.
SELECT w.tenant, w.ordering_key, w.endpoint_key, e.key
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS w (tenant, ordering_key, endpoint_key)
CROSS JOIN LATERAL (
    SELECT n.key FROM events AS n
    WHERE n.environment = $1::text AND n.tenant = w.tenant AND n.ordering_key = w.ordering_key
        AND w.endpoint_key = ANY(n.owed)
    ORDER BY n.key DESC LIMIT 1
) AS e;

-- name: hold_candidates
-- Nobody else changes those of some deliveries that are open before this transaction ends. They are locked one by one,
-- in the order in which they are given.
SELECT FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
CROSS JOIN LATERAL (
    SELECT FROM obligations AS o WHERE o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key FOR UPDATE
) AS o;

-- name: candidates_still_open
-- How those of some deliveries are that are open, as store.shared.job_steps.OpenNow.
SELECT
    o.event_key, o.endpoint_key, o.lane, o.attempts, o.behind,
    coalesce((
        SELECT t.state = 'deleted' FROM endpoints AS t WHERE t.key = o.endpoint_key
    ), false) AS deleted
FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
JOIN obligations AS o ON o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key;

-- name: candidates_still_settled
-- Those of some deliveries that are settled with the given round, as store.shared.job_steps.SettledNow.
SELECT
    h.event_key, h.endpoint_key,
    coalesce((
        SELECT t.state = 'deleted' FROM endpoints AS t WHERE t.key = h.endpoint_key
    ), false) AS deleted
FROM unnest($1::bigint[], $2::bigint[], $3::integer[]) AS c (event_key, endpoint_key, round)
JOIN history AS h ON h.event_key = c.event_key AND h.endpoint_key = c.endpoint_key AND h.round = c.round
WHERE NOT EXISTS (
    SELECT FROM reopened AS r
    WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
);

-- name: note_reopened
-- The given rounds are opened again. Who comes second is refused.
INSERT INTO reopened (event_key, endpoint_key, round, previous_state, previous_reason, at)
SELECT h.event_key, h.endpoint_key, h.round, h.state, h.reason, $4::bigint
FROM unnest($1::bigint[], $2::bigint[], $3::integer[]) AS c (event_key, endpoint_key, round)
JOIN history AS h ON h.event_key = c.event_key AND h.endpoint_key = c.endpoint_key AND h.round = c.round;

-- name: reopen_candidates
-- The next rounds of some deliveries, due at $7 in lane $8: their latest rounds, the slots of their endpoints, their
-- events' ordering keys, and whether each is the first of its ordering key among these. Where the endpoint keeps order
-- one stands behind if another one of its key is open, or before it among these. Ask only under the guards of those
-- keys, and while the catalogue stands still.
INSERT INTO obligations (
    event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
)
SELECT
    k.event_key, k.endpoint_key, $7::bigint, $7::bigint, 0, k.round + 1,
    coalesce((
        SELECT a.number FROM attempts AS a
        WHERE a.event_key = k.event_key AND a.endpoint_key = k.endpoint_key ORDER BY a.number DESC LIMIT 1
    ), 0),
    k.slot, $8::smallint, k.ordering_key IS NOT NULL AND (
        NOT k.first OR (
            SELECT a.event_key FROM obligations AS a
            WHERE NOT a.behind AND a.endpoint_key = k.endpoint_key AND a.ordering_key = k.ordering_key
        ) IS NOT NULL
    ),
    k.ordering_key
FROM (
    SELECT
        c.event_key, c.endpoint_key, c.round, c.slot, c.first,
        CASE WHEN p.rules::jsonb ->> 'order' IN ('fifo', 'latest') THEN c.ordering_key END AS ordering_key
    FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[], $5::text[], $6::boolean[])
        AS c (event_key, endpoint_key, round, slot, ordering_key, first)
    LEFT JOIN endpoints AS p ON p.key = c.endpoint_key
) AS k;

-- name: hasten_candidates
-- Open deliveries become due now; their counts stay, and a parked one goes into the backlog. Their endpoints, and the
-- lane that each is in now.
UPDATE obligations AS o SET due_at = $3, lane = least(o.lane, 2)
FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
WHERE o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key
RETURNING o.endpoint_key, o.lane;

-- name: park_candidates
-- Open deliveries are put aside.
UPDATE obligations AS o SET lane = 3
FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
WHERE o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key;

-- name: drain_candidates
-- Parked deliveries go back into their lanes; when they are due stays.
UPDATE obligations AS o SET lane = CASE WHEN o.attempts > 0 THEN 1 ELSE 2 END
FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
WHERE o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key;

-- name: promote_candidates
-- Open deliveries go into the live lane, due now.
UPDATE obligations AS o SET lane = 0, due_at = $3
FROM unnest($1::bigint[], $2::bigint[]) AS c (event_key, endpoint_key)
WHERE o.event_key = c.event_key AND o.endpoint_key = c.endpoint_key;
