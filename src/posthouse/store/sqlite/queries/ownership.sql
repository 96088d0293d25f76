-- name: node_number
-- The number of a registered node.
SELECT number FROM nodes WHERE name = ?1;

-- name: latest_number
-- The number that was given out last.
SELECT latest FROM node_numbers WHERE one = 1;

-- name: all_numbers
-- The numbers of all registered nodes, as one JSON document.
SELECT json_group_array(number) FROM nodes;

-- name: set_latest_number
-- This number was given out last.
UPDATE node_numbers SET latest = ?1 WHERE one = 1;

-- name: insert_node
-- A node joins; the columns but the number and the beat stand in the order of store.protocol.Joining.
INSERT INTO nodes (name, role, version, host, process_id, url, joined_at, number, beat, beat_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?7);

-- name: update_node
-- A node says anew what it is; the columns as for insert_node.
UPDATE nodes SET role = ?2, version = ?3, host = ?4, process_id = ?5, url = ?6, joined_at = ?7 WHERE name = ?1;

-- name: raise_beat
-- A node lives.
UPDATE nodes SET beat = beat + 1, beat_at = ?2 WHERE name = ?1;

-- name: all_nodes
-- Everybody on the register by name, as one JSON document with the names of store.protocol.NodeRecord.
SELECT json_group_array(
    json_object(
        'name', n.name, 'role', n.role, 'version', n.version, 'host', n.host, 'process_id', n.process_id, 'url', n.url,
        'joined_at', n.joined_at, 'number', n.number, 'beat', n.beat, 'beat_at', n.beat_at,
        'slots', (SELECT count(*) FROM slots AS s WHERE s.owner = n.name)
    )
    ORDER BY n.name
)
FROM nodes AS n;

-- name: slots_for_node
-- What a registered node owns, and those of the wanted slots (a JSON array, or NULL: all) that are free or whose owner is
-- not registered, as one JSON document.
SELECT json_group_array(json_array(slot, epoch, unquiet, owner IS ?1)) FROM slots
WHERE EXISTS (SELECT 1 FROM nodes WHERE name = ?1) AND (
    owner = ?1
    OR (?2 IS NULL OR slot IN (SELECT value FROM json_each(?2)))
    AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.name = slots.owner)
);

-- name: take_slots
-- A node takes those of the wanted slots (a JSON array, or NULL: all) that are free or whose owner is not registered.
UPDATE slots SET
    owner = ?1, epoch = epoch + 1, unquiet = max(unquiet, owner IS NOT NULL),
    lease_until = (SELECT n.beat_at FROM nodes AS n WHERE n.name = ?1) + ?3
WHERE EXISTS (SELECT 1 FROM nodes WHERE name = ?1)
    AND (?2 IS NULL OR slot IN (SELECT value FROM json_each(?2)))
    AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.name = slots.owner);

-- name: release_slots
-- A node gives up some of what it owns (a JSON array, or NULL: all); the epochs stay, and the ends of the leases tell
-- when it was there.
UPDATE slots SET
    owner = NULL,
    lease_until = coalesce((SELECT n.beat_at + ?3 FROM nodes AS n WHERE n.name = ?1), lease_until)
WHERE owner = ?1 AND (?2 IS NULL OR slot IN (SELECT value FROM json_each(?2)));

-- name: calm_slot
-- Nothing of earlier owners is on its way any more, if the slot is still held so.
UPDATE slots SET unquiet = 0 WHERE slot = ?1 AND owner = ?2 AND epoch = ?3;

-- name: strike_off
-- A node is registered no more.
DELETE FROM nodes WHERE name = ?1;

-- name: bury_node
-- A node whose beat is still this one is registered no more.
DELETE FROM nodes WHERE name = ?1 AND beat = ?2 RETURNING name, beat_at;

-- name: orphan_slots
-- The slots of one that did not give them up have no owner; its leases would have ended then.
UPDATE slots SET owner = NULL, unquiet = 1, lease_until = ?2 WHERE owner = ?1;

-- name: all_slots
-- Every slot, as one JSON document.
SELECT json_group_array(json_array(slot, owner, epoch, lease_until)) FROM slots;
