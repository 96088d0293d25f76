-- name: put_job
-- A new bulk job.
INSERT INTO jobs (
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: one_job
-- One job; the columns stand in the order of core.jobs.Job, the two of a place side by side.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs WHERE key = ?1;

-- name: jobs_newest_first
-- Jobs behind a given one, as one_job; NULL: of every environment, or in every state.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs
WHERE key < :after AND (:environment IS NULL OR environment = :environment) AND (:state IS NULL OR state = :state)
ORDER BY key DESC LIMIT :limit;

-- name: jobs_unfinished_newest_first
-- Jobs that run or are paused, behind a given one, as one_job; NULL: of every environment.
SELECT
    key, environment, kind, filter, mode, dry_run, rate, state, total, counted, counted_event,
    counted_endpoint, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error, trail
FROM jobs
WHERE key < :after AND (state = 'running' OR state = 'paused') AND state = :state
    AND (:environment IS NULL OR environment = :environment)
ORDER BY key DESC LIMIT :limit;

-- name: change_job
-- What people and the node decide about a job; its counts and its cursor stay.
UPDATE jobs SET state = ?2, rate = ?3, started_at = ?4, finished_at = ?5, error = ?6, trail = ?7 WHERE key = ?1;

-- name: move_job
-- How far a job is.
UPDATE jobs SET
    total = ?2, counted = ?3, counted_event = ?4, counted_endpoint = ?5, done = ?6, skipped = ?7, cursor_event = ?8,
    cursor_endpoint = ?9
WHERE key = ?1;

-- name: candidates_open
-- Open deliveries behind a cursor, ascending, as one JSON document: how many were looked at, the event and the endpoint
-- of the last of them, and those that a job selects: [event key, endpoint key, 0, type, tenant, ordering key].
WITH looked AS MATERIALIZED (
    SELECT event_key, endpoint_key, lane, attempts FROM obligations
    WHERE (event_key, endpoint_key) > (:event, :endpoint) AND event_key <= :newest
    ORDER BY event_key, endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, 0, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE (:of_endpoint IS NULL OR l.endpoint_key = :of_endpoint)
            AND l.lane BETWEEN :lane_min AND :lane_max AND l.attempts BETWEEN :attempts_min AND :attempts_max
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
    ))
);

-- name: candidates_settled_of_environment
-- Settled deliveries of an environment, as candidates_open; the third of each is its round.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round, h.state, h.reason
    FROM environment_periods AS p
    CROSS JOIN history AS h
        ON (h.event_key, h.endpoint_key) > (
            max(p.period << 36, :event), iif(p.period << 36 > :event, 0, :endpoint)
        )
        AND h.event_key <= min((p.period << 36) + 68719476735, :newest)
    WHERE p.environment = :environment
        AND p.period BETWEEN :event >> 36 AND :newest >> 36
    GROUP BY p.period, h.event_key, h.endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, l.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE l.state IN (SELECT value FROM json_each(:states))
            AND (:reasons IS NULL OR l.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = l.event_key AND r.endpoint_key = l.endpoint_key AND r.round = l.round
            )
    ))
);

-- name: candidates_settled_of_tenant
-- Settled deliveries of a tenant, as candidates_open; the third of each is its round.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round, h.state, h.reason
    FROM tenant_periods AS p
    CROSS JOIN history AS h
        ON (h.event_key, h.endpoint_key) > (
            max(p.period << 36, :event), iif(p.period << 36 > :event, 0, :endpoint)
        )
        AND h.event_key <= min((p.period << 36) + 68719476735, :newest)
    WHERE p.environment = :environment AND p.tenant = :tenant
        AND p.period BETWEEN :event >> 36 AND :newest >> 36
    GROUP BY p.period, h.event_key, h.endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, l.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE l.state IN (SELECT value FROM json_each(:states))
            AND (:reasons IS NULL OR l.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = l.event_key AND r.endpoint_key = l.endpoint_key AND r.round = l.round
            )
    ))
);

-- name: candidates_settled_of_endpoint
-- Settled deliveries of an endpoint, as candidates_open; the third of each is its round.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round, h.state, h.reason
    FROM endpoint_periods AS p
    CROSS JOIN history AS h
        ON (h.event_key, h.endpoint_key) > (
            max(p.period << 36, :event), iif(p.period << 36 > :event, 0, :endpoint)
        )
        AND h.event_key <= min((p.period << 36) + 68719476735, :newest)
    WHERE p.endpoint_key = :of_endpoint
        AND p.period BETWEEN :event >> 36 AND :newest >> 36
    GROUP BY p.period, h.event_key, h.endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, l.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE l.endpoint_key = :of_endpoint AND l.state IN (SELECT value FROM json_each(:states))
            AND (:reasons IS NULL OR l.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = l.event_key AND r.endpoint_key = l.endpoint_key AND r.round = l.round
            )
    ))
);

-- name: candidates_undelivered
-- Exhausted or discarded deliveries, as candidates_open; the third of each is its round.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round, h.reason
    FROM history AS h INDEXED BY history_undelivered
    WHERE h.state = :state AND h.state <> 'delivered'
        AND (h.event_key, h.endpoint_key) > (:event, :endpoint) AND h.event_key <= :newest
    GROUP BY h.event_key, h.endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, l.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE (:reasons IS NULL OR l.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = l.event_key AND r.endpoint_key = l.endpoint_key AND r.round = l.round
            )
    ))
);

-- name: candidates_undelivered_of_endpoint
-- Exhausted or discarded deliveries of an endpoint, as candidates_open; the third of each is its round.
WITH looked AS MATERIALIZED (
    SELECT h.event_key, h.endpoint_key, max(h.round) AS round, h.reason
    FROM history AS h INDEXED BY history_undelivered_by_endpoint
    WHERE h.endpoint_key = :of_endpoint AND h.state = :state AND h.state <> 'delivered'
        AND h.event_key > iif(:endpoint < :of_endpoint, :event - 1, :event) AND h.event_key <= :newest
    GROUP BY h.event_key, h.endpoint_key LIMIT :look
)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(l.event_key, l.endpoint_key, l.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l CROSS JOIN events AS e ON e.key = l.event_key
        WHERE (:reasons IS NULL OR l.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = l.event_key AND r.endpoint_key = l.endpoint_key AND r.round = l.round
            )
    ))
);

-- name: source_candidates_open
-- Open deliveries of events that came in through a source, as candidates_open. It leaps from a place to the next
-- delivery of the same event or, if there is none, before the source's first event that is not older than the next open
-- one (endpoint 0). So it costs by the smaller of the two: by the source's events, or by what is open.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    SELECT start.event_key, iif(start.event_key = :event, :endpoint, 0)
    FROM (
        SELECT event_key FROM arrivals
        WHERE source_key = :of_source AND event_key BETWEEN :event AND :newest
        ORDER BY event_key LIMIT 1
    ) AS start
    UNION ALL
    SELECT
        iif(
            EXISTS (
                SELECT 1 FROM obligations AS n
                WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
            ),
            l.event_key,
            (
                SELECT min(a.event_key) FROM arrivals AS a
                WHERE a.source_key = :of_source AND a.event_key <= :newest
                    AND a.event_key >= (SELECT min(n.event_key) FROM obligations AS n WHERE n.event_key > l.event_key)
            )
        ),
        coalesce((
            SELECT min(n.endpoint_key) FROM obligations AS n
            WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ), 0)
    FROM leaps AS l WHERE l.event_key IS NOT NULL LIMIT :look
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(o.event_key, o.endpoint_key, 0, e.type, e.tenant, e.ordering_key))
        FROM looked AS l
        CROSS JOIN obligations AS o ON o.event_key = l.event_key AND o.endpoint_key = l.endpoint_key
        CROSS JOIN events AS e ON e.key = o.event_key
        WHERE (l.event_key, l.endpoint_key) > (:event, :endpoint)
            AND (:of_endpoint IS NULL OR o.endpoint_key = :of_endpoint)
            AND o.lane BETWEEN :lane_min AND :lane_max AND o.attempts BETWEEN :attempts_min AND :attempts_max
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
    ))
);

-- name: source_candidates_settled
-- Settled deliveries of events that came in through a source, as source_candidates_open; the third of each is its round.
-- Nearly all of its events have some, so it goes through all of them.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    SELECT start.event_key, iif(start.event_key = :event, :endpoint, 0)
    FROM (
        SELECT event_key FROM arrivals
        WHERE source_key = :of_source AND event_key BETWEEN :event AND :newest
        ORDER BY event_key LIMIT 1
    ) AS start
    UNION ALL
    SELECT
        iif(
            EXISTS (
                SELECT 1 FROM history AS n
                WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
            ),
            l.event_key,
            (
                SELECT min(a.event_key) FROM arrivals AS a
                WHERE a.source_key = :of_source AND a.event_key > l.event_key AND a.event_key <= :newest
            )
        ),
        coalesce((
            SELECT min(n.endpoint_key) FROM history AS n
            WHERE n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ), 0)
    FROM leaps AS l WHERE l.event_key IS NOT NULL LIMIT :look
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(h.event_key, h.endpoint_key, h.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l
        CROSS JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key
        CROSS JOIN events AS e ON e.key = h.event_key
        WHERE (l.event_key, l.endpoint_key) > (:event, :endpoint)
            AND (:of_endpoint IS NULL OR h.endpoint_key = :of_endpoint)
            AND h.state IN (SELECT value FROM json_each(:states))
            AND (:reasons IS NULL OR h.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
            )
    ))
);

-- name: source_candidates_undelivered
-- Exhausted or discarded deliveries of events that came in through a source, as source_candidates_open; the third of
-- each is its round.
WITH RECURSIVE leaps (event_key, endpoint_key) AS (
    SELECT start.event_key, iif(start.event_key = :event, :endpoint, 0)
    FROM (
        SELECT event_key FROM arrivals
        WHERE source_key = :of_source AND event_key BETWEEN :event AND :newest
        ORDER BY event_key LIMIT 1
    ) AS start
    UNION ALL
    SELECT
        iif(
            EXISTS (
                SELECT 1 FROM history AS n INDEXED BY history_undelivered
                WHERE n.state = :state AND n.state <> 'delivered' AND n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
            ),
            l.event_key,
            (
                SELECT min(a.event_key) FROM arrivals AS a
                WHERE a.source_key = :of_source AND a.event_key <= :newest
                    AND a.event_key >= (SELECT min(n.event_key) FROM history AS n INDEXED BY history_undelivered WHERE n.state = :state AND n.state <> 'delivered' AND n.event_key > l.event_key)
            )
        ),
        coalesce((
            SELECT min(n.endpoint_key) FROM history AS n INDEXED BY history_undelivered
            WHERE n.state = :state AND n.state <> 'delivered' AND n.event_key = l.event_key AND n.endpoint_key > l.endpoint_key
        ), 0)
    FROM leaps AS l WHERE l.event_key IS NOT NULL LIMIT :look
),
looked AS MATERIALIZED (SELECT event_key, endpoint_key FROM leaps WHERE event_key IS NOT NULL)
SELECT json_array(
    (SELECT count(*) FROM looked),
    (SELECT max(event_key) FROM looked),
    (SELECT max(endpoint_key) FROM looked WHERE event_key = (SELECT max(event_key) FROM looked)),
    json((
        SELECT json_group_array(json_array(h.event_key, h.endpoint_key, h.round, e.type, e.tenant, e.ordering_key))
        FROM looked AS l
        CROSS JOIN history AS h ON h.event_key = l.event_key AND h.endpoint_key = l.endpoint_key
        CROSS JOIN events AS e ON e.key = h.event_key
        WHERE (l.event_key, l.endpoint_key) > (:event, :endpoint)
            AND (:of_endpoint IS NULL OR h.endpoint_key = :of_endpoint)
            AND h.state = :state
            AND (:reasons IS NULL OR h.reason IN (SELECT value FROM json_each(:reasons)))
            AND e.environment = :environment AND (:tenant IS NULL OR e.tenant = :tenant)
            AND (:ordering_key IS NULL OR e.ordering_key = :ordering_key)
            AND e.accepted_at >= :since AND e.accepted_at < :until
            AND coalesce(e.occurred_at, e.accepted_at) < :older_than
            AND NOT EXISTS (
                SELECT 1 FROM reopened AS r
                WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
            )
    ))
);

-- name: newest_owed
-- Of ordering keys, as a JSON array of [tenant, ordering key, endpoint key]: the newest event that the endpoint is owed.
SELECT json_group_array(json_array(j.key, (
    SELECT n.key FROM events AS n
    WHERE n.environment = ?2 AND n.tenant = j.value ->> 0 AND n.ordering_key = j.value ->> 1
        AND EXISTS (SELECT 1 FROM json_each(n.owed) AS w WHERE w.value = j.value ->> 2)
    ORDER BY n.key DESC LIMIT 1
)))
FROM json_each(?1) AS j;

-- name: candidates_still_open
-- How those out of a JSON array of [event key, endpoint key] are that are open: [event key, endpoint key, lane, attempts,
-- behind, whether the endpoint is deleted].
SELECT json_group_array(json_array(
    o.event_key, o.endpoint_key, o.lane, o.attempts, o.behind,
    EXISTS (SELECT 1 FROM endpoints AS t WHERE t.key = o.endpoint_key AND t.state = 'deleted')
))
FROM json_each(?1) AS j
CROSS JOIN obligations AS o ON o.event_key = j.value ->> 0 AND o.endpoint_key = j.value ->> 1;

-- name: candidates_still_settled
-- Those out of a JSON array of [event key, endpoint key, round] that are settled with that round: [event key, endpoint
-- key, whether the endpoint is deleted].
SELECT json_group_array(json_array(
    h.event_key, h.endpoint_key,
    EXISTS (SELECT 1 FROM endpoints AS t WHERE t.key = h.endpoint_key AND t.state = 'deleted')
))
FROM json_each(?1) AS j
CROSS JOIN history AS h
    ON h.event_key = j.value ->> 0 AND h.endpoint_key = j.value ->> 1 AND h.round = j.value ->> 2
WHERE NOT EXISTS (
    SELECT 1 FROM reopened AS r
    WHERE r.event_key = h.event_key AND r.endpoint_key = h.endpoint_key AND r.round = h.round
);

-- name: park_obligation
-- An open delivery is put aside.
UPDATE obligations SET lane = 3 WHERE event_key = ?1 AND endpoint_key = ?2;

-- name: drain_obligation
-- A parked delivery goes back into its lane; when it is due stays.
UPDATE obligations SET lane = iif(attempts > 0, 1, 2) WHERE event_key = ?1 AND endpoint_key = ?2;

-- name: promote_obligation
-- An open delivery goes into the live lane, due now.
UPDATE obligations SET lane = 0, due_at = ?3 WHERE event_key = ?1 AND endpoint_key = ?2;
