-- name: ordering_keys
-- Those of some deliveries whose events have an ordering key, and that key. Event keys, endpoint keys.
WITH found AS MATERIALIZED (  -- or the planner could look for keys in the index of those that have one
    SELECT d.event_key, d.endpoint_key, e.ordering_key
    FROM unnest($1::bigint[], $2::bigint[]) AS d(event_key, endpoint_key) JOIN events AS e ON e.key = d.event_key
)
SELECT event_key, endpoint_key, ordering_key FROM found WHERE ordering_key IS NOT NULL;

-- name: insert_ordered
-- Deliveries that are owed from now on and keep their events' ordering keys, in their sequence: each stands behind, if
-- another one of its key is open by then. Ask only under the guards of those keys.
INSERT INTO obligations (
    event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
)
SELECT
    o.event_key, o.endpoint_key, o.due_at, o.opened_at, 0, 1, 0, o.slot, o.lane,
    row_number() OVER (PARTITION BY o.endpoint_key, o.ordering_key ORDER BY o.n) > 1 OR (
        SELECT true FROM obligations AS a
        WHERE NOT a.behind AND a.endpoint_key = o.endpoint_key AND a.ordering_key = o.ordering_key LIMIT 1
    ) IS NOT NULL,  -- EXISTS could be answered by reading all that is open
    o.ordering_key
FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::text[], $7::smallint[])
    WITH ORDINALITY AS o(event_key, endpoint_key, lane, due_at, opened_at, ordering_key, slot, n);

-- name: newest_open
-- The newest of what is open at some places, of those where anything is: endpoint, ordering key, event key.
SELECT k.endpoint_key, k.ordering_key, n.event_key
FROM unnest($1::bigint[], $2::text[]) AS k(endpoint_key, ordering_key)
CROSS JOIN LATERAL (
    SELECT greatest(
        (
            SELECT a.event_key FROM obligations AS a
            WHERE NOT a.behind AND a.endpoint_key = k.endpoint_key AND a.ordering_key = k.ordering_key LIMIT 1
        ),
        (
            SELECT b.event_key FROM obligations AS b
            WHERE b.behind AND b.endpoint_key = k.endpoint_key AND b.ordering_key = k.ordering_key
            ORDER BY b.event_key DESC LIMIT 1
        )
    ) AS event_key
) AS n
WHERE n.event_key IS NOT NULL;

-- name: kept_ordering_key
-- The ordering key of an event, if an endpoint keeps order.
SELECT e.ordering_key FROM endpoints AS p JOIN events AS e ON e.key = $1
WHERE p.key = $2 AND p.rules::jsonb ->> 'order' IN ('fifo', 'latest');

-- name: let_out
-- The oldest that stands behind, of each ordering key of which none stands ahead, is sent next: due, and its span
-- opened, at a given time. Endpoints, ordering keys, times.
WITH next AS MATERIALIZED (
    SELECT k.endpoint_key, k.at, (
        SELECT b.event_key FROM obligations AS b
        WHERE b.behind AND b.endpoint_key = k.endpoint_key AND b.ordering_key = k.ordering_key
        ORDER BY b.event_key LIMIT 1
    ) AS event_key
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS k(endpoint_key, ordering_key, at)
    WHERE NOT EXISTS (
        SELECT 1 FROM obligations AS a
        WHERE NOT a.behind AND a.endpoint_key = k.endpoint_key AND a.ordering_key = k.ordering_key
    )
)
UPDATE obligations AS o SET behind = false, due_at = n.at, opened_at = n.at
FROM next AS n WHERE o.event_key = n.event_key AND o.endpoint_key = n.endpoint_key;

-- name: discard_all_but_newest
-- Of those that stand behind others of an ordering key all but the newest are given up, at most $4 of them, oldest
-- first. Endpoints, ordering keys, times; the number of them.
WITH old AS MATERIALIZED (
    SELECT o.event_key, k.endpoint_key, k.at
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS k(endpoint_key, ordering_key, at)
    CROSS JOIN LATERAL (
        SELECT b.event_key FROM obligations AS b
        WHERE b.behind AND b.endpoint_key = k.endpoint_key AND b.ordering_key = k.ordering_key AND b.event_key < (
            SELECT n.event_key FROM obligations AS n
            WHERE n.behind AND n.endpoint_key = k.endpoint_key AND n.ordering_key = k.ordering_key
            ORDER BY n.event_key DESC LIMIT 1
        )
        ORDER BY b.event_key LIMIT $4
    ) AS o
    LIMIT $4
),
gone AS (
    DELETE FROM obligations AS o USING old
    WHERE o.event_key = old.event_key AND o.endpoint_key = old.endpoint_key
    RETURNING o.event_key, o.endpoint_key, o.round, o.lane, o.attempts, o.opened_at, old.at
),
noted AS (
    INSERT INTO endpoint_periods (endpoint_key, period)
    SELECT DISTINCT endpoint_key, event_key >> 36 FROM gone ORDER BY 1, 2
    ON CONFLICT (endpoint_key, period) DO NOTHING
)
INSERT INTO history (event_key, endpoint_key, round, state, reason, lane, attempts, opened_at, settled_at)
SELECT event_key, endpoint_key, round, 'discarded', $5::text, least(lane, 2), attempts, opened_at, at FROM gone;

-- name: out_of_date
-- Those of some deliveries that stand ahead of a newer one of their ordering key: which, and that key.
WITH found AS MATERIALIZED (  -- by their primary key, whatever other index the conditions below would fit
    SELECT o.event_key, o.endpoint_key, o.ordering_key, o.behind
    FROM unnest($1::bigint[], $2::bigint[]) AS d(event_key, endpoint_key)
    JOIN obligations AS o ON o.event_key = d.event_key AND o.endpoint_key = d.endpoint_key
)
SELECT f.event_key, f.endpoint_key, f.ordering_key FROM found AS f
WHERE NOT f.behind AND f.ordering_key IS NOT NULL AND (
    SELECT true FROM obligations AS n
    WHERE n.behind AND n.endpoint_key = f.endpoint_key AND n.ordering_key = f.ordering_key AND n.event_key > f.event_key
    LIMIT 1
) IS NOT NULL;

-- name: behind_of_endpoint
-- Some open deliveries of an endpoint that stand behind others.
SELECT event_key FROM obligations
WHERE behind AND endpoint_key = $1 ORDER BY ordering_key, event_key LIMIT $2;

-- name: ahead_of_endpoint
-- Some open deliveries of an endpoint that keep an ordering key and stand behind none.
SELECT event_key FROM obligations
WHERE NOT behind AND endpoint_key = $1 AND ordering_key IS NOT NULL ORDER BY ordering_key LIMIT $2;

-- name: give_up_order
-- Open deliveries of an endpoint keep no order any more; what stood behind is due, and its span opened, now.
-- Which ordering keys they had.
WITH given AS MATERIALIZED (
    SELECT l.event_key, l.endpoint_key, l.ordering_key
    FROM unnest($1::bigint[]) AS d(event_key)
    CROSS JOIN LATERAL (
        SELECT o.event_key, o.endpoint_key, o.ordering_key FROM obligations AS o
        WHERE o.event_key = d.event_key AND o.endpoint_key = $2 FOR UPDATE
    ) AS l
)
UPDATE obligations AS o
SET ordering_key = NULL, behind = false,
    due_at = CASE WHEN o.behind THEN $3::bigint ELSE o.due_at END,
    opened_at = CASE WHEN o.behind THEN $3::bigint ELSE o.opened_at END
FROM given AS g
WHERE o.event_key = g.event_key AND o.endpoint_key = g.endpoint_key AND g.ordering_key IS NOT NULL
RETURNING g.ordering_key;

-- name: not_in_order
-- Open deliveries of an endpoint ($2; $1: its slot) that keep no order although their events have an ordering key, from
-- a given place in the queues on: where each stands, and that key.
SELECT
    o.lane, o.due_at, o.event_key, (SELECT e.ordering_key FROM events AS e WHERE e.key = o.event_key) AS ordering_key
FROM obligations AS o
WHERE NOT o.behind AND o.slot = $1 AND o.endpoint_key = $2 AND (o.lane, o.due_at, o.event_key) > ($3, $4, $5)
    AND o.ordering_key IS NULL AND (SELECT e.ordering_key FROM events AS e WHERE e.key = o.event_key) IS NOT NULL
ORDER BY o.lane, o.due_at, o.event_key LIMIT $6;

-- name: lock_unordered
-- Those of some deliveries of an endpoint that are open and keep no order, locked in the sequence given: by event key.
SELECT l.event_key
FROM unnest($1::bigint[]) AS d(event_key)
CROSS JOIN LATERAL (
    SELECT o.event_key, o.ordering_key FROM obligations AS o
    WHERE o.event_key = d.event_key AND o.endpoint_key = $2 FOR UPDATE
) AS l
WHERE l.ordering_key IS NULL;

-- name: keep_order
-- Open deliveries of an endpoint keep their events' ordering keys from now on; behind, if they are not the first of
-- their key or another one keeps it already. Event keys, endpoint keys, ordering keys, whether they are the first.
UPDATE obligations AS o
SET ordering_key = f.ordering_key,
    behind = NOT f.first OR (
        SELECT true FROM obligations AS a
        WHERE NOT a.behind AND a.endpoint_key = f.endpoint_key AND a.ordering_key = f.ordering_key LIMIT 1
    ) IS NOT NULL
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[]) AS f(event_key, endpoint_key, ordering_key, first)
WHERE o.event_key = f.event_key AND o.endpoint_key = f.endpoint_key;

-- name: step_back
-- Those of some ordering keys that are sent stand behind, where an older one does; their ordering keys.
UPDATE obligations AS o SET behind = true
WHERE NOT o.behind AND o.endpoint_key = $1 AND o.ordering_key = ANY($2::text[]) AND o.event_key > (
    SELECT min(b.event_key) FROM obligations AS b
    WHERE b.behind AND b.endpoint_key = $1 AND b.ordering_key = o.ordering_key
)
RETURNING o.ordering_key;

-- name: step_forward
-- The oldest of each ordering key of which none stands ahead is sent next, when it is due by its own schedule.
WITH next AS MATERIALIZED (
    SELECT $1::bigint AS endpoint_key, (
        SELECT b.event_key FROM obligations AS b
        WHERE b.behind AND b.endpoint_key = $1 AND b.ordering_key = k.ordering_key ORDER BY b.event_key LIMIT 1
    ) AS event_key
    FROM unnest($2::text[]) AS k(ordering_key)
)
UPDATE obligations AS o SET behind = false
FROM next AS n WHERE o.event_key = n.event_key AND o.endpoint_key = n.endpoint_key;
