-- name: node_number
-- The number of a registered node.
SELECT number FROM nodes WHERE name = $1::text;

-- name: latest_number
-- The number that was given out last. Two who join at once wait for each other here.
SELECT latest FROM node_numbers WHERE one = 1 FOR UPDATE;

-- name: all_numbers
-- The numbers of all registered nodes.
SELECT number FROM nodes;

-- name: set_latest_number
-- This number was given out last.
UPDATE node_numbers SET latest = $1::integer WHERE one = 1;

-- name: insert_node
-- A node joins; the columns but the number and the beat stand in the order of store.protocol.Joining.
INSERT INTO nodes (name, role, version, host, process_id, url, joined_at, number, beat, beat_at)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::text, $7::bigint, $8::integer, 0, $7::bigint);

-- name: update_node
-- A node says anew what it is; the columns as for insert_node.
UPDATE nodes SET
    role = $2::text, version = $3::text, host = $4::text, process_id = $5::bigint, url = $6::text,
    joined_at = $7::bigint
WHERE name = $1::text;

-- name: raise_beat
-- A node lives.
UPDATE nodes SET beat = beat + 1, beat_at = $2::bigint WHERE name = $1::text;

-- name: all_nodes
-- Everybody on the register by name; the columns have the names of store.protocol.NodeRecord.
SELECT
    n.name, n.role, n.version, n.host, n.process_id, n.url, n.joined_at, n.number, n.beat, n.beat_at,
    coalesce(h.slots, 0) AS slots
FROM nodes AS n
LEFT JOIN (SELECT s.owner, count(*) AS slots FROM slots AS s GROUP BY s.owner) AS h ON h.owner = n.name
ORDER BY n.name;

-- name: lock_slots
-- All slots, always in the same order: two nodes that take some at once wait for each other here.
SELECT slot FROM slots ORDER BY slot FOR UPDATE;

-- name: acquire_slots
-- A registered node prolongs what it owns, and takes of the wanted slots ($3; NULL: all) those that are free, and those
-- whose owner is not registered or still has the beat with which it is called dead ($4, $5). What it owns then.
UPDATE slots AS s SET
    owner = $1::text, epoch = s.epoch + (s.owner IS DISTINCT FROM $1::text)::integer, lease_until = $2::bigint,
    unquiet = s.unquiet OR (s.owner IS NOT NULL AND s.owner <> $1::text)
WHERE EXISTS (SELECT 1 FROM nodes WHERE name = $1::text) AND (
    s.owner = $1::text
    OR ($3::smallint[] IS NULL OR s.slot = ANY($3::smallint[])) AND (
        s.owner IS NULL
        OR NOT EXISTS (
            SELECT 1 FROM nodes AS n
            WHERE n.name = s.owner AND NOT EXISTS (
                SELECT 1 FROM unnest($4::text[], $5::bigint[]) AS d(name, beat)
                WHERE d.name = n.name AND d.beat = n.beat
            )
        )
    )
)
RETURNING s.slot, s.epoch, s.unquiet;

-- name: release_slots
-- A node gives up some of what it owns ($2; NULL: all); the epochs stay, and the ends of the leases tell when it was
-- there.
UPDATE slots SET owner = NULL
WHERE owner = $1::text AND ($2::smallint[] IS NULL OR slot = ANY($2::smallint[]));

-- name: calm_slots
-- Nothing of earlier owners is on its way any more for those of the slots $2 that are still held at the epochs $3.
UPDATE slots AS s SET unquiet = false
FROM unnest($2::smallint[], $3::bigint[]) AS g(slot, epoch)
WHERE s.slot = g.slot AND s.owner = $1::text AND s.epoch = g.epoch;

-- name: strike_off
-- A node is registered no more.
DELETE FROM nodes WHERE name = $1::text;

-- name: bury_nodes
-- Those nodes are registered no more whose beat is still the one that is named; their names.
DELETE FROM nodes AS n USING unnest($1::text[], $2::bigint[]) AS d(name, beat)
WHERE n.name = d.name AND n.beat = d.beat
RETURNING n.name;

-- name: orphan_slots
-- The slots of those that did not give them up have no owner.
UPDATE slots SET owner = NULL, unquiet = true WHERE owner = ANY($1::text[]);

-- name: all_slots
-- Every slot.
SELECT slot, owner, epoch, lease_until FROM slots ORDER BY slot;

-- name: notify
-- A notice on a channel.
SELECT pg_notify($1::text, $2::text);
