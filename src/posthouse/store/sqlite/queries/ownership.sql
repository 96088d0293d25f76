-- name: acquire_slots
-- A node takes what is free, expired or of a dead node (a JSON array of names), and prolongs what it holds.
UPDATE slots SET owner = ?1, epoch = epoch + (owner IS NOT ?1), lease_until = ?3
WHERE owner IS NULL OR owner = ?1 OR lease_until <= ?2 OR owner IN (SELECT value FROM json_each(?4));

-- name: release_slots
-- A node gives up what it holds; the epochs stay, and the ends of the leases tell when it was there.
UPDATE slots SET owner = NULL WHERE owner = ?1;

-- name: slots_of_node
-- What a node holds, as one JSON document.
SELECT json_group_array(json_array(slot, epoch)) FROM slots WHERE owner = ?1;

-- name: all_slots
-- Every slot, as one JSON document.
SELECT json_group_array(json_array(slot, owner, epoch, lease_until)) FROM slots;
