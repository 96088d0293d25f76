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

-- name: hold_registration
-- A node stays registered until the transaction has ended; no row: it is not registered. With this lock the commit waits
-- for standbys, so that nobody reads what it owns on a server that others have left.
SELECT name FROM nodes WHERE name = $1::text FOR KEY SHARE;

-- name: lock_registration
-- Nobody else changes the row of a node.
SELECT name FROM nodes WHERE name = $1::text FOR UPDATE;

-- name: lock_dead
-- Those nodes by name whose beat is still the one that is named.
SELECT n.name, n.beat_at FROM nodes AS n JOIN unnest($1::text[], $2::bigint[]) AS d(name, beat)
    ON n.name = d.name AND n.beat = d.beat
ORDER BY n.name FOR UPDATE OF n;

-- name: lock_slots
-- These slots, always in the same order: two nodes that take some at once wait for each other here.
SELECT slot FROM slots WHERE slot = ANY($1::smallint[]) ORDER BY slot FOR UPDATE;

-- name: lock_slots_of
-- The slots of these owners, in that order.
SELECT slot FROM slots WHERE owner = ANY($1::text[]) ORDER BY slot FOR UPDATE;

-- name: slots_for_node
-- What a node owns, and those of the wanted slots ($2; NULL: all) that are free or whose owner is not registered.
SELECT s.slot, s.epoch, s.unquiet, s.owner IS NOT DISTINCT FROM $1::text AS mine FROM slots AS s
WHERE s.owner = $1::text
    OR ($2::smallint[] IS NULL OR s.slot = ANY($2::smallint[]))
    AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.name = s.owner);

-- name: take_slots
-- A node takes those of these slots, which it has locked, that are free or whose owner is not registered.
UPDATE slots AS s SET
    owner = $1::text, epoch = s.epoch + 1, unquiet = s.unquiet OR s.owner IS NOT NULL,
    lease_until = (SELECT n.beat_at FROM nodes AS n WHERE n.name = $1::text) + $3::bigint
WHERE s.slot = ANY($2::smallint[]) AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.name = s.owner)
RETURNING s.slot, s.epoch, s.unquiet;

-- name: release_slots
-- A node gives up some of what it owns ($2; NULL: all); the epochs stay, and the ends of the leases tell when it was
-- there.
UPDATE slots AS s SET
    owner = NULL,
    lease_until = coalesce((SELECT n.beat_at + $3::bigint FROM nodes AS n WHERE n.name = $1::text), s.lease_until)
WHERE s.owner = $1::text AND ($2::smallint[] IS NULL OR s.slot = ANY($2::smallint[]));

-- name: calm_slots
-- Nothing of earlier owners is on its way any more for those of the slots $2 that are still held at the epochs $3.
UPDATE slots AS s SET unquiet = false
FROM unnest($2::smallint[], $3::bigint[]) AS g(slot, epoch)
WHERE s.slot = g.slot AND s.owner = $1::text AND s.epoch = g.epoch;

-- name: strike_off
-- These nodes are registered no more.
DELETE FROM nodes WHERE name = ANY($1::text[]);

-- name: orphan_slots
-- The slots of those that did not give them up have no owner; their leases would have ended then.
UPDATE slots AS s SET owner = NULL, unquiet = true, lease_until = d.lease_until
FROM unnest($1::text[], $2::bigint[]) AS d(name, lease_until)
WHERE s.owner = d.name;

-- name: all_slots
-- Every slot.
SELECT slot, owner, epoch, lease_until FROM slots ORDER BY slot;

-- name: notify
-- A notice on a channel.
SELECT pg_notify($1::text, $2::text);
