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
    coalesce((SELECT max(key) FROM incidents), 0)
);

-- name: count_tables
-- How many things a database holds; 0 for a new one.
SELECT count(*) FROM sqlite_schema;

-- name: insert_migration
-- A migration took place.
INSERT INTO migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?);

-- name: all_migrations
-- The migrations that took place, in order.
SELECT number, name, checksum FROM migrations ORDER BY number;
