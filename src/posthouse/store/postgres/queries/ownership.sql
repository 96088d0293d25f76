-- name: lock_slots
-- All slots, always in the same order: two nodes that take some at once wait for each other here.
SELECT slot FROM slots ORDER BY slot FOR UPDATE;

-- name: acquire_slots
-- A node takes what is free, expired or of a dead node, and prolongs what it holds.
UPDATE slots SET owner = $1::text, epoch = epoch + (owner IS DISTINCT FROM $1::text)::integer, lease_until = $3::bigint
WHERE owner IS NULL OR owner = $1::text OR lease_until <= $2::bigint OR owner = ANY($4::text[])
RETURNING slot, epoch;

-- name: release_slots
-- A node gives up what it holds; the epochs stay, and the ends of the leases tell when it was there.
UPDATE slots SET owner = NULL WHERE owner = $1::text;

-- name: all_slots
-- Every slot.
SELECT slot, owner, epoch, lease_until FROM slots ORDER BY slot;
