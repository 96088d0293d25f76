-- name: survey
-- Every (endpoint, lane) with open work of up to ?2 endpoints behind ?1: when its first delivery is due, and that
-- delivery's event. One JSON document by endpoint. A skip scan: four index seeks for an endpoint, however much waits for
-- it. The parked lane is no work: an endpoint that has nothing else stands there with nothing due.
WITH RECURSIVE
    heads (n, endpoint_key) AS (
        SELECT 1, min(endpoint_key) FROM obligations WHERE behind = 0 AND endpoint_key > ?1
        UNION ALL
        SELECT heads.n + 1, (
            SELECT min(o.endpoint_key) FROM obligations AS o
            WHERE o.behind = 0 AND o.endpoint_key > heads.endpoint_key
        )
        FROM heads WHERE heads.endpoint_key IS NOT NULL AND heads.n < ?2
    ),
    lanes (lane) AS (VALUES (0), (1), (2)),
    backlogs (endpoint_key, lane, backlog) AS (
        SELECT heads.endpoint_key, lanes.lane, (
            SELECT json_array(o.endpoint_key, o.lane, o.due_at, o.event_key)
            FROM obligations AS o
            WHERE o.behind = 0 AND o.endpoint_key = heads.endpoint_key AND o.lane = lanes.lane
            ORDER BY o.due_at, o.event_key LIMIT 1
        )
        FROM heads CROSS JOIN lanes
        WHERE heads.endpoint_key IS NOT NULL
    )
SELECT json_group_array(json(coalesce(backlog, json_array(endpoint_key, 0, NULL, NULL))) ORDER BY endpoint_key, lane)
FROM backlogs WHERE backlog IS NOT NULL OR lane = 0;

-- name: fetch_due
-- The head of one queue, or what follows a given place in it, with the events; the columns of the event stand last.
SELECT
    o.event_key, o.due_at, o.opened_at, o.attempts, o.round, o.last_number, o.ordering_key,
    o.ordering_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM obligations AS n
        WHERE n.behind = 1 AND n.endpoint_key = ?1 AND n.ordering_key = o.ordering_key AND n.event_key > o.event_key
    ),
    e.id, e.environment, e.tenant, e.type, e.accepted_at, e.data, e.occurred_at, e.ordering_key
FROM obligations AS o CROSS JOIN events AS e ON e.key = o.event_key
WHERE o.behind = 0 AND o.endpoint_key = ?1 AND o.lane = ?2 AND o.due_at <= ?3 AND (o.due_at, o.event_key) > (?4, ?5)
ORDER BY o.due_at, o.event_key
LIMIT ?6;

-- name: next_due_at
-- When the first delivery of a queue that is not due at a given time becomes due.
SELECT min(due_at) FROM obligations WHERE behind = 0 AND endpoint_key = ?1 AND lane = ?2 AND due_at > ?3;

-- name: held_epochs
-- The epochs of those slots, out of a JSON array, that have an owner.
SELECT slot, epoch FROM slots WHERE slot IN (SELECT value FROM json_each(?1)) AND owner IS NOT NULL;

-- name: postpone_obligation
-- Another attempt is due later; guarded by round and attempts. What was parked meanwhile stays parked.
UPDATE obligations SET lane = iif(lane = 3, 3, ?1), due_at = ?2, attempts = attempts + 1, last_number = ?3
WHERE event_key = ?4 AND endpoint_key = ?5 AND round = ?6 AND attempts = ?7;

-- name: note_probe
-- An attempt took place that spends none of the round; guarded by round and attempts.
UPDATE obligations SET last_number = max(last_number, ?1)
WHERE event_key = ?2 AND endpoint_key = ?3 AND round = ?4 AND attempts = ?5;

-- name: close_obligation
-- Nothing more is owed in this round; guarded by round and attempts.
DELETE FROM obligations WHERE event_key = ?1 AND endpoint_key = ?2 AND round = ?3 AND attempts = ?4;

-- name: close_ordered
-- As close_obligation; tells which ordering key it kept, if any, and whether it stood behind.
DELETE FROM obligations WHERE event_key = ?1 AND endpoint_key = ?2 AND round = ?3 AND attempts = ?4
RETURNING ordering_key, behind;

-- name: insert_history
-- One settled round.
INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: note_endpoint_period
-- An endpoint has a settled delivery of an event of this period.
INSERT INTO endpoint_periods (endpoint_key, period) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: insert_attempt
-- One attempt; after the two keys the columns stand in the order of core.model.Attempt.
INSERT INTO attempts (
    event_key, endpoint_key, number, started_at, outcome, status, error, peer, dns_us, connect_us, tls_us,
    first_byte_us, total_us, reused, response_headers, response_body
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: is_owed
-- Whether there is an event; an outcome may be of one that the store has forgotten.
SELECT EXISTS (SELECT 1 FROM events WHERE key = ?1);

-- name: attempt_numbers
-- When the attempt with this number started, if there is one, and the greatest number so far.
SELECT max(started_at) FILTER (WHERE number = ?3), coalesce(max(number), 0)
FROM attempts WHERE event_key = ?1 AND endpoint_key = ?2;

-- name: hasten_obligation
-- An open delivery becomes due now; its counts stay, and a parked one goes into the backlog.
UPDATE obligations SET due_at = ?3, lane = min(lane, 2) WHERE event_key = ?1 AND endpoint_key = ?2
RETURNING lane, due_at, opened_at, attempts, round, last_number, ordering_key;

-- name: latest_history
-- The latest settled round of a delivery.
SELECT round, state, reason FROM history WHERE event_key = ?1 AND endpoint_key = ?2 ORDER BY round DESC LIMIT 1;

-- name: insert_reopened
-- A settled round is opened again.
INSERT INTO reopened (event_key, endpoint_key, round, previous_state, previous_reason, at) VALUES (?, ?, ?, ?, ?, ?);

-- name: timed_ahead
-- When those open deliveries are due by :now that a clock ahead of it has timed; in key order, behind a given one.
SELECT
    CASE WHEN o.attempts = 0 THEN :now ELSE :now + max(o.due_at - a.started_at, 0) END,
    o.event_key, o.endpoint_key, o.round, o.attempts
FROM obligations AS o
LEFT JOIN attempts AS a
    ON a.event_key = o.event_key AND a.endpoint_key = o.endpoint_key AND a.number = o.last_number
WHERE (o.event_key, o.endpoint_key) > (:event, :endpoint)
    AND o.due_at > :now AND (o.attempts = 0 OR a.started_at > :now)
ORDER BY o.event_key, o.endpoint_key LIMIT :limit;

-- name: retime_obligation
-- An open delivery is due at another time; guarded by round and attempts.
UPDATE obligations SET due_at = ?1 WHERE event_key = ?2 AND endpoint_key = ?3 AND round = ?4 AND attempts = ?5;

-- name: reopen_obligation
-- The next round of a delivery; behind, if it keeps an ordering key of which another one is open.
INSERT INTO obligations (
    event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, ordering_key, behind
)
VALUES (
    ?1, ?2, ?3, ?4, 0, ?5, ?6, ?4, ?7,
    EXISTS (SELECT 1 FROM obligations WHERE behind = 0 AND endpoint_key = ?2 AND ordering_key = ?7)
);

-- name: discard_into_history
-- The record that an open delivery was given up; of a parked one that it was in the backlog.
INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
SELECT event_key, endpoint_key, round, 'discarded', ?3, min(lane, 2), attempts, opened_at, ?4
FROM obligations WHERE event_key = ?1 AND endpoint_key = ?2;

-- name: delete_obligation
-- An open delivery is gone, whatever its counts; which, which ordering key it kept, if any, and whether it stood behind.
DELETE FROM obligations WHERE event_key = ?1 AND endpoint_key = ?2
RETURNING event_key, endpoint_key, ordering_key, behind;

-- name: open_of_endpoint
-- Some open deliveries of an endpoint that stand behind none, the first due ones of each lane first.
SELECT event_key, endpoint_key FROM obligations WHERE behind = 0 AND endpoint_key = ?1 ORDER BY lane, due_at, event_key LIMIT ?2;

-- name: all_health
-- Every endpoint that is not well, as one JSON document.
SELECT json_group_array(
    json_object(
        'endpoint_key', endpoint_key, 'failing_since', failing_since, 'opened_at', opened_at, 'probes', probes,
        'warned', warned, 'usual_rate', usual_rate
    )
    ORDER BY endpoint_key
)
FROM health;

-- name: is_held
-- Whether a slot has an owner, at this epoch.
SELECT EXISTS (SELECT 1 FROM slots WHERE slot = ?1 AND epoch = ?2 AND owner IS NOT NULL);

-- name: put_health
-- Insert or replace what is known of an endpoint that is not well; the columns stand in the order of core.model.Health.
INSERT OR REPLACE INTO health (endpoint_key, failing_since, opened_at, probes, warned, usual_rate)
VALUES (?, ?, ?, ?, ?, ?);

-- name: delete_health
-- An endpoint is well.
DELETE FROM health WHERE endpoint_key = ?1;
