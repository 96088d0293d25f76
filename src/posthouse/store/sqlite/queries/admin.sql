-- name: probe
-- A write that means nothing but is as durable as any.
UPDATE probe SET at = ?1 WHERE one = 1;

-- name: key_floor
-- The greatest key of anything, also of a refused request that is not kept any more.
SELECT max(
    coalesce((SELECT max(key) FROM events), 0),
    coalesce((SELECT max(key) FROM endpoints), 0),
    coalesce((SELECT max(key) FROM api_keys), 0),
    coalesce((SELECT max(key) FROM jobs), 0),
    coalesce((SELECT max(key) FROM sources), 0),
    coalesce((SELECT max(key) FROM requests), 0),
    coalesce((SELECT max(request_key) FROM quarantine), 0),
    coalesce((SELECT max(key) FROM incidents), 0),
    coalesce((SELECT key_floor FROM custody), 0)
);

-- name: count_tables
-- How many things a database holds; 0 for a new one.
SELECT count(*) FROM sqlite_schema;

-- name: insert_migration
-- A migration took place.
INSERT INTO migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?);

-- name: set_readable
-- The code of this version and of later ones may go on after a migration.
UPDATE migrations SET readable_from = ?2 WHERE number = ?1;

-- name: oldest_reader
-- The oldest version whose code may go on after all migrations behind one.
SELECT max(iif(readable_from = 0, number, readable_from)) FROM migrations WHERE number > ?1;

-- name: all_migrations
-- The migrations that took place, in order.
SELECT number, name, checksum FROM migrations ORDER BY number;

-- name: custody
-- Whether nodes may run here, where the contents come from or went, since when, and the keys that may have been used.
SELECT state, place, since, key_floor FROM custody;

-- name: put_custody
-- From now on it is so.
UPDATE custody SET state = ?, place = ?, since = ?, key_floor = ? WHERE one = 1;

-- name: void_leases
-- Nobody holds a slot: who did so held it in another store. The epochs stay.
UPDATE slots SET owner = NULL, lease_until = 0, unquiet = 0;

-- name: forget_nodes
-- Nobody is registered: who was so is a node of another store.
DELETE FROM nodes;

-- name: all_columns
-- Every table with the names of its columns, in their order.
SELECT t.name, c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' ORDER BY t.name, c.cid;
