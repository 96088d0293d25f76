-- name: survey
-- Every (endpoint, lane) with open work of up to $3 endpoints in the slots $1 (ascending), and the delivery that stands
-- first in it: when it is due, and its event. In the first of the slots only endpoints behind $2. A skip scan: one seek
-- for an endpoint and one for a slot, and three for the heads of an endpoint, however much waits for it. The parked lane
-- is no work: an endpoint that has nothing else gets one row with nothing in it.
WITH RECURSIVE steps (i, endpoint_key, found) AS (
    SELECT 1, f.endpoint_key, (f.endpoint_key IS NOT NULL)::integer
    FROM (
        SELECT (
            SELECT o.endpoint_key FROM obligations AS o
            WHERE NOT o.behind AND o.slot = ($1::smallint[])[1] AND o.endpoint_key > $2::bigint
            ORDER BY o.endpoint_key LIMIT 1
        ) AS endpoint_key
    ) AS f
    UNION ALL
    SELECT n.i, n.endpoint_key, n.found + (n.endpoint_key IS NOT NULL)::integer
    FROM (
        SELECT
            s.i + (s.endpoint_key IS NULL)::integer AS i, s.found, (
                SELECT o.endpoint_key FROM obligations AS o
                WHERE NOT o.behind AND o.slot = ($1::smallint[])[s.i + (s.endpoint_key IS NULL)::integer]
                    AND o.endpoint_key > coalesce(s.endpoint_key, -1)
                ORDER BY o.endpoint_key LIMIT 1
            ) AS endpoint_key
        FROM steps AS s
        WHERE s.found < $3::integer AND s.i + (s.endpoint_key IS NULL)::integer <= cardinality($1::smallint[])
    ) AS n
)
SELECT s.endpoint_key, l.lane, f.due_at, f.event_key
FROM steps AS s
CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint)) AS l(lane)
LEFT JOIN LATERAL (
    SELECT o.due_at, o.event_key FROM obligations AS o
    WHERE NOT o.behind AND o.slot = ($1::smallint[])[s.i] AND o.endpoint_key = s.endpoint_key AND o.lane = l.lane
    ORDER BY o.due_at, o.event_key LIMIT 1
) AS f ON true
WHERE s.endpoint_key IS NOT NULL AND (f.due_at IS NOT NULL OR l.lane = 0)
ORDER BY s.i, s.endpoint_key, l.lane;

-- name: fetch_heads
-- The head of one queue, or what follows a given place in it, beside when the first that is not due yet becomes due: in
-- every row, so there is one row at least. Slot, endpoint, lane, now, place, limit.
SELECT
    n.next_due_at, h.event_key, h.due_at, h.opened_at, h.attempts, h.round, h.last_number, h.ordering_key,
    h.ordering_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM obligations AS b
        WHERE b.behind AND b.endpoint_key = $2 AND b.ordering_key = h.ordering_key AND b.event_key > h.event_key
    ) AS newer
FROM (
    SELECT (
        SELECT w.due_at FROM obligations AS w
        WHERE NOT w.behind AND w.slot = $1 AND w.endpoint_key = $2 AND w.lane = $3 AND w.due_at > $4
        ORDER BY w.due_at LIMIT 1
    ) AS next_due_at
) AS n
LEFT JOIN (
    SELECT o.event_key, o.due_at, o.opened_at, o.attempts, o.round, o.last_number, o.ordering_key
    FROM obligations AS o
    WHERE NOT o.behind AND o.slot = $1 AND o.endpoint_key = $2 AND o.lane = $3 AND o.due_at <= $4
        AND (o.due_at, o.event_key) > ($5, $6)
    ORDER BY o.due_at, o.event_key LIMIT $7
) AS h ON true;

-- name: events_by_key
-- Those events; the columns stand in the order of core.model.Event.
SELECT key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key
FROM events WHERE key = ANY($1::bigint[]);

-- name: settle
-- The outcomes of attempts on deliveries that keep no order, if the slots $1 (ascending) are held at the epochs $2;
-- which of them are held, at which epochs, and which outcomes were written, by number. The others' deliveries were
-- changed meanwhile, or keep order now: the rows themselves say so. What was parked meanwhile stays parked. Outcomes come
-- by event and endpoint, as everybody locks deliveries; if some go on and some end ($28), all are locked before.
WITH fence AS MATERIALIZED (
    SELECT slot, epoch FROM slots WHERE slot = ANY($1::smallint[]) AND owner IS NOT NULL ORDER BY slot FOR SHARE
),
held AS MATERIALIZED (
    SELECT array_agg(slot ORDER BY slot) AS slots, array_agg(epoch ORDER BY slot) AS epochs FROM fence
),
locked AS MATERIALIZED (
    SELECT l.event_key
    FROM held, unnest($4::bigint[], $5::bigint[]) AS d(event_key, endpoint_key)
    CROSS JOIN LATERAL (
        SELECT o.event_key FROM obligations AS o
        WHERE o.event_key = d.event_key AND o.endpoint_key = d.endpoint_key FOR UPDATE
    ) AS l
    WHERE $28::boolean AND held.slots = $1::smallint[] AND held.epochs = $2::bigint[]
),
given AS MATERIALIZED (
    SELECT
        g.n, g.event_key, g.endpoint_key, g.round, g.attempts, g.state, g.reason, g.at, g.lane, g.opened_at, g.made,
        g.number, g.started_at, g.outcome, g.status, g.error, g.peer, g.dns_us, g.connect_us, g.tls_us, g.first_byte_us,
        g.total_us, g.reused, g.response_headers, g.response_body
    FROM held, unnest(
        $3::integer[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[], $8::text[], $9::text[], $10::bigint[],
        $11::smallint[], $12::bigint[], $13::integer[],
        $14::integer[], $15::bigint[], $16::text[], $17::integer[], $18::text[], $19::text[], $20::integer[],
        $21::integer[], $22::integer[], $23::integer[], $24::integer[], $25::boolean[], $26::text[], $27::bytea[]
    ) AS g(
        n, event_key, endpoint_key, round, attempts, state, reason, at, lane, opened_at, made,
        number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us, first_byte_us, total_us, reused,
        response_headers, response_body
    )
    WHERE held.slots = $1::smallint[] AND held.epochs = $2::bigint[] AND (SELECT count(*) FROM locked) >= 0
),
moved AS (
    UPDATE obligations AS o
    SET lane = CASE o.lane WHEN 3 THEN 3 ELSE g.lane END, due_at = g.at, attempts = g.made, last_number = g.number
    FROM given AS g
    WHERE g.state = 'retrying' AND o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key
        AND o.round = g.round AND o.attempts = g.attempts AND o.ordering_key IS NULL
    RETURNING
        g.n, g.event_key, g.endpoint_key, g.number, g.started_at, g.outcome, g.status, g.error, g.peer, g.dns_us,
        g.connect_us, g.tls_us, g.first_byte_us, g.total_us, g.reused, g.response_headers, g.response_body
),
gone AS (
    DELETE FROM obligations AS o USING given AS g
    WHERE g.state <> 'retrying' AND o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key
        AND o.round = g.round AND o.attempts = g.attempts AND o.ordering_key IS NULL
    RETURNING
        g.n, g.event_key, g.endpoint_key, g.number, g.started_at, g.outcome, g.status, g.error, g.peer, g.dns_us,
        g.connect_us, g.tls_us, g.first_byte_us, g.total_us, g.reused, g.response_headers, g.response_body,
        g.round, g.state, g.reason, g.lane, g.made, g.opened_at, g.at
),
kept AS (
    INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
    SELECT event_key, endpoint_key, round, state, reason, lane, made, opened_at, at FROM gone
),
noted AS (
    INSERT INTO endpoint_periods (endpoint_key, period)
    SELECT DISTINCT endpoint_key, event_key >> 36 FROM gone ORDER BY 1, 2
    ON CONFLICT (endpoint_key, period) DO NOTHING
),
told AS (
    INSERT INTO attempts (
        event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us,
        first_byte_us, total_us, reused, response_headers, response_body
    )
    SELECT
        event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us,
        first_byte_us, total_us, reused, response_headers, response_body
    FROM moved
    UNION ALL
    SELECT
        event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us,
        first_byte_us, total_us, reused, response_headers, response_body
    FROM gone WHERE number IS NOT NULL
)
SELECT
    coalesce(held.slots, '{}') AS slots, coalesce(held.epochs, '{}') AS epochs,
    ARRAY(SELECT n FROM moved UNION ALL SELECT n FROM gone) AS written
FROM held;

-- name: held_epochs
-- The epochs of those slots that have an owner; locked, so that they stay so until this is durable.
SELECT slot, epoch FROM slots WHERE slot = ANY($1::smallint[]) AND owner IS NOT NULL ORDER BY slot FOR SHARE;

-- name: lock_obligations
-- Those of some deliveries that are open, locked in the sequence given: by event and endpoint, as everybody does.
SELECT l.event_key
FROM unnest($1::bigint[], $2::bigint[]) AS d(event_key, endpoint_key)
CROSS JOIN LATERAL (
    SELECT o.event_key FROM obligations AS o
    WHERE o.event_key = d.event_key AND o.endpoint_key = d.endpoint_key FOR UPDATE
) AS l;

-- name: events_there
-- Which of these events there are; an outcome may be of one that a failover forgot.
SELECT key FROM events WHERE key = ANY ($1::bigint[]);

-- name: attempt_numbers
-- When the attempt of a delivery with a given number started, if there is one, and the greatest number of it so far.
SELECT g.n, a.started_at, a.greatest
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[]) AS g(n, event_key, endpoint_key, number)
CROSS JOIN LATERAL (
    SELECT max(t.started_at) FILTER (WHERE t.number = g.number) AS started_at, coalesce(max(t.number), 0) AS greatest
    FROM attempts AS t WHERE t.event_key = g.event_key AND t.endpoint_key = g.endpoint_key
) AS a;

-- name: settle_in_turn
-- What outcomes make of their deliveries, whether these keep order or not; none of them twice, and none that lets
-- another one out. 'probing': an attempt that spends none of the round. Which outcomes were written, by number, the
-- ordering key that the delivery kept, and whether it was ahead of others and is gone.
WITH given AS MATERIALIZED (
    SELECT
        g.n, g.event_key, g.endpoint_key, g.round, g.attempts, g.state, g.reason, g.at, g.lane, g.opened_at, g.made,
        g.number
    FROM unnest(
        $1::integer[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::bigint[],
        $9::smallint[], $10::bigint[], $11::integer[], $12::integer[]
    ) AS g(n, event_key, endpoint_key, round, attempts, state, reason, at, lane, opened_at, made, number)
),
moved AS (
    UPDATE obligations AS o
    SET lane = CASE WHEN o.lane = 3 OR g.state = 'probing' THEN o.lane ELSE g.lane END,
        due_at = CASE g.state WHEN 'probing' THEN o.due_at ELSE g.at END,
        attempts = CASE g.state WHEN 'probing' THEN o.attempts ELSE g.made END,
        last_number = CASE g.state WHEN 'probing' THEN greatest(o.last_number, g.number) ELSE g.number END
    FROM given AS g
    WHERE g.state IN ('retrying', 'probing') AND o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key
        AND o.round = g.round AND o.attempts = g.attempts
    RETURNING g.n
),
gone AS (
    DELETE FROM obligations AS o USING given AS g
    WHERE g.state NOT IN ('retrying', 'probing') AND o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key
        AND o.round = g.round AND o.attempts = g.attempts
    RETURNING
        g.n, g.event_key, g.endpoint_key, g.round, g.state, g.reason, g.lane, g.made, g.opened_at, g.at,
        o.ordering_key, NOT o.behind AS ahead
),
kept AS (
    INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
    SELECT event_key, endpoint_key, round, state, reason, lane, made, opened_at, at FROM gone
),
noted AS (
    INSERT INTO endpoint_periods (endpoint_key, period)
    SELECT DISTINCT endpoint_key, event_key >> 36 FROM gone ORDER BY 1, 2
    ON CONFLICT (endpoint_key, period) DO NOTHING
)
SELECT n, NULL::text AS ordering_key, false AS ahead FROM moved
UNION ALL
SELECT n, ordering_key, ahead FROM gone;

-- name: insert_attempts
-- Attempts; after the two keys the columns stand in the order of core.model.Attempt.
INSERT INTO attempts (
    event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us,
    first_byte_us, total_us, reused, response_headers, response_body
)
SELECT
    a.event_key, a.endpoint_key, a.number, a.started_at, a.outcome, a.status, a.error, a.peer, a.dns_us, a.connect_us,
    a.tls_us, a.first_byte_us, a.total_us, a.reused, a.response_headers, a.response_body
FROM unnest(
    $1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $6::integer[], $7::text[], $8::text[],
    $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::boolean[], $15::text[],
    $16::bytea[]
) AS a(
    event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us, first_byte_us,
    total_us, reused, response_headers, response_body
);

-- name: hasten_obligation
-- An open delivery becomes due now; its counts stay, and a parked one goes into the backlog.
UPDATE obligations SET due_at = $3, lane = least(lane, 2) WHERE event_key = $1 AND endpoint_key = $2
RETURNING lane, due_at, opened_at, attempts, round, last_number, ordering_key;

-- name: latest_history
-- The latest settled round of a delivery, and the greatest number of its attempts.
SELECT h.round, h.state, h.reason, (
    SELECT coalesce(max(a.number), 0) FROM attempts AS a WHERE a.event_key = $1 AND a.endpoint_key = $2
) AS last_number
FROM history AS h WHERE h.event_key = $1 AND h.endpoint_key = $2 ORDER BY h.round DESC LIMIT 1;

-- name: insert_reopened
-- A settled round is opened again; the second who tries fails.
INSERT INTO reopened (event_key, endpoint_key, round, previous_state, previous_reason, at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: reopen_obligation
-- The next round of a delivery, in the backlog; behind, if it keeps an ordering key of which another one is open.
INSERT INTO obligations (
    event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
)
VALUES (
    $1, $2, $3, $3, 0, $4, $5, $6, 2,
    EXISTS (SELECT 1 FROM obligations WHERE NOT behind AND endpoint_key = $2 AND ordering_key = $7),
    $7
);

-- name: timed_ahead
-- When those open deliveries of the slots $5 are due by $1, now, that a clock ahead of it has timed; in key order, behind
-- a given one.
SELECT
    CASE WHEN o.attempts = 0 THEN $1::bigint ELSE $1 + greatest(o.due_at - a.started_at, 0) END AS due_at,
    o.event_key, o.endpoint_key, o.round, o.attempts
FROM obligations AS o
LEFT JOIN attempts AS a
    ON a.event_key = o.event_key AND a.endpoint_key = o.endpoint_key AND a.number = o.last_number
WHERE (o.event_key, o.endpoint_key) > ($2, $3) AND o.slot = ANY($5::smallint[]) AND o.due_at > $1
    AND (o.attempts = 0 OR a.started_at > $1)
ORDER BY o.event_key, o.endpoint_key LIMIT $4;

-- name: retime_obligations
-- Open deliveries are due at other times; guarded by round and attempts.
UPDATE obligations AS o SET due_at = g.due_at
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[])
    AS g(due_at, event_key, endpoint_key, round, attempts)
WHERE o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key AND o.round = g.round AND o.attempts = g.attempts;

-- name: discard_obligations
-- Open deliveries are given up, whatever their counts, and history says so; of a parked one that it was in the backlog.
-- Which they were, which ordering keys they kept, and whether they stood behind.
WITH gone AS (
    DELETE FROM obligations AS o USING unnest($1::bigint[], $2::bigint[]) AS d(event_key, endpoint_key)
    WHERE o.event_key = d.event_key AND o.endpoint_key = d.endpoint_key
    RETURNING
        o.event_key, o.endpoint_key, o.round, o.lane, o.attempts, o.opened_at, o.ordering_key, o.behind
),
kept AS (
    INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
    SELECT event_key, endpoint_key, round, 'discarded', $3::text, least(lane, 2), attempts, opened_at, $4 FROM gone
),
noted AS (
    INSERT INTO endpoint_periods (endpoint_key, period)
    SELECT DISTINCT endpoint_key, event_key >> 36 FROM gone ORDER BY 1, 2
    ON CONFLICT (endpoint_key, period) DO NOTHING
)
SELECT event_key, endpoint_key, ordering_key, behind FROM gone;

-- name: open_of_endpoint
-- Some open deliveries of an endpoint ($2; $1: its slot) that stand behind none, the first due ones of each lane first.
SELECT event_key FROM obligations
WHERE NOT behind AND slot = $1 AND endpoint_key = $2 ORDER BY lane, due_at, event_key LIMIT $3;

-- name: health_in_slots
-- Every endpoint in some slots that is not well; the columns stand in the order of core.model.Health.
SELECT endpoint_key, failing_since, opened_at, probes, warned, usual_rate
FROM health WHERE slot = ANY($1::smallint[]);

-- name: put_health
-- Insert or replace what is known of an endpoint that is not well, if its slot is held at this epoch; whether it is.
WITH fence AS MATERIALIZED (
    SELECT slot FROM slots WHERE slot = $1::smallint AND epoch = $2::bigint AND owner IS NOT NULL FOR SHARE
),
put AS (
    INSERT INTO health (endpoint_key, slot, failing_since, opened_at, probes, warned, usual_rate)
    SELECT $3::bigint, slot, $4::bigint, $5::bigint, $6::integer, $7::integer, $8::double precision FROM fence
    ON CONFLICT (endpoint_key) DO UPDATE SET
        failing_since = excluded.failing_since, opened_at = excluded.opened_at, probes = excluded.probes,
        warned = excluded.warned, usual_rate = excluded.usual_rate
)
SELECT EXISTS (SELECT 1 FROM fence) AS held;

-- name: delete_health
-- An endpoint is well, if its slot is held at this epoch; whether it is.
WITH fence AS MATERIALIZED (
    SELECT slot FROM slots WHERE slot = $1::smallint AND epoch = $2::bigint AND owner IS NOT NULL FOR SHARE
),
gone AS (
    DELETE FROM health WHERE endpoint_key = $3::bigint AND EXISTS (SELECT 1 FROM fence)
)
SELECT EXISTS (SELECT 1 FROM fence) AS held;
