-- name: insert_ordered
-- One delivery that is owed from now on and keeps its event's ordering key; behind, if another one of that key is open.
INSERT INTO obligations (
    event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, ordering_key, behind
)
VALUES (
    ?1, ?2, ?3, ?4, 0, 1, 0, ?5, ?6,
    EXISTS (SELECT 1 FROM obligations WHERE behind = 0 AND endpoint_key = ?2 AND ordering_key = ?6)
);

-- name: newest_open
-- The newest of what is open at some places, out of a JSON array of [endpoint key, ordering key]: the place in the
-- array, and the event's key, or nothing.
SELECT j.key, max(
    ifnull((
        SELECT event_key FROM obligations
        WHERE behind = 0 AND endpoint_key = j.value ->> 0 AND ordering_key = j.value ->> 1
    ), 0),
    ifnull((
        SELECT max(event_key) FROM obligations
        WHERE behind = 1 AND endpoint_key = j.value ->> 0 AND ordering_key = j.value ->> 1
    ), 0)
)
FROM json_each(?1) AS j;

-- name: kept_ordering_key
-- The ordering key of an event, if an endpoint keeps order.
SELECT e.ordering_key FROM endpoints AS p CROSS JOIN events AS e ON e.key = ?1
WHERE p.key = ?2 AND p.rules ->> 'order' IN ('fifo', 'latest');

-- name: ordered_endpoints
-- Those endpoints, out of a JSON array, of which an open delivery keeps an ordering key.
SELECT value FROM json_each(?1)
WHERE EXISTS (SELECT 1 FROM obligations WHERE behind = 0 AND endpoint_key = value AND ordering_key IS NOT NULL);

-- name: let_out
-- The oldest that stands behind, of an ordering key of which none stands ahead, is sent next: due, and its span
-- opened, now.
UPDATE obligations SET behind = 0, due_at = ?3, opened_at = ?3
WHERE endpoint_key = ?1 AND event_key = (
    SELECT min(event_key) FROM obligations WHERE behind = 1 AND endpoint_key = ?1 AND ordering_key = ?2
);

-- name: newest_behind
-- The newest that stands behind others of its ordering key.
SELECT max(event_key) FROM obligations WHERE behind = 1 AND endpoint_key = ?1 AND ordering_key = ?2;

-- name: behind_before
-- Some that stand behind others of their ordering key and are older than a given event, oldest first.
SELECT event_key, endpoint_key FROM obligations
WHERE behind = 1 AND endpoint_key = ?1 AND ordering_key = ?2 AND event_key < ?3
ORDER BY event_key LIMIT ?4;

-- name: stands_ahead
-- The ordering key of a delivery, if it is open, keeps one and does not stand behind.
SELECT ordering_key FROM obligations
WHERE event_key = ?1 AND endpoint_key = ?2 AND behind = 0 AND ordering_key IS NOT NULL;

-- name: behind_of_endpoint
-- Some open deliveries of an endpoint that stand behind others.
SELECT event_key, endpoint_key FROM obligations
WHERE behind = 1 AND endpoint_key = ?1 ORDER BY ordering_key, event_key LIMIT ?2;

-- name: ahead_of_endpoint
-- Some open deliveries of an endpoint that keep an ordering key and stand behind none.
SELECT event_key, endpoint_key FROM obligations
WHERE behind = 0 AND endpoint_key = ?1 AND ordering_key IS NOT NULL ORDER BY ordering_key LIMIT ?2;

-- name: give_up_order
-- An open delivery keeps no order any more; what stood behind is due, and its span opened, now.
UPDATE obligations
SET ordering_key = NULL, behind = 0, due_at = iif(behind = 1, ?3, due_at), opened_at = iif(behind = 1, ?3, opened_at)
WHERE event_key = ?1 AND endpoint_key = ?2;

-- name: not_in_order
-- Open deliveries of an endpoint that keep no order although their events have an ordering key, from a given place
-- in the queues on: where each stands, and that key.
SELECT o.lane, o.due_at, o.event_key, e.ordering_key
FROM obligations AS o CROSS JOIN events AS e ON e.key = o.event_key
WHERE o.behind = 0 AND o.endpoint_key = ?1 AND (o.lane, o.due_at, o.event_key) > (?2, ?3, ?4)
    AND o.ordering_key IS NULL AND e.ordering_key IS NOT NULL
ORDER BY o.lane, o.due_at, o.event_key LIMIT ?5;

-- name: keep_order
-- An open delivery keeps its event's ordering key from now on; behind, if another one of that key keeps it already.
UPDATE obligations
SET ordering_key = ?3,
    behind = EXISTS (SELECT 1 FROM obligations WHERE behind = 0 AND endpoint_key = ?2 AND ordering_key = ?3)
WHERE event_key = ?1 AND endpoint_key = ?2 AND ordering_key IS NULL;

-- name: step_back
-- The one of an ordering key that is sent stands behind, if an older one does.
UPDATE obligations SET behind = 1
WHERE behind = 0 AND endpoint_key = ?1 AND ordering_key = ?2 AND event_key > (
    SELECT min(event_key) FROM obligations WHERE behind = 1 AND endpoint_key = ?1 AND ordering_key = ?2
);

-- name: step_forward
-- The oldest of an ordering key of which none stands ahead is sent next, when it is due by its own schedule.
UPDATE obligations SET behind = 0
WHERE endpoint_key = ?1 AND event_key = (
    SELECT min(event_key) FROM obligations WHERE behind = 1 AND endpoint_key = ?1 AND ordering_key = ?2
);
