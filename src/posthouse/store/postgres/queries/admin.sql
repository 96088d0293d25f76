-- name: begin_session
-- How the server serves a new connection; where it is to wait for disk and standbys and would not, from now on it does.
SELECT
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('plan_cache_mode') AS plans,
    current_setting('search_path') AS search_path,
    pg_backend_pid() AS pid,
    set_config('synchronous_commit', CASE
        WHEN $1::boolean AND current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN 'on'
        ELSE current_setting('synchronous_commit')
    END, false) AS durability;

-- name: describe_session
-- How the server serves a transaction of a pooler's, and to whom that belongs.
SELECT
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('synchronous_commit') AS durability,
    current_user::text AS role,
    current_database()::text AS database,
    $1::text[] AS names,
    ARRAY(SELECT current_setting(name) FROM unnest($1::text[]) WITH ORDINALITY AS c (name, n) ORDER BY n) AS values;

-- name: describe_server
-- What the server is, and what it promises to keep.
SELECT
    current_setting('server_version') AS version,
    current_setting('server_version_num')::integer AS number,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('server_encoding') AS encoding,
    current_setting('synchronous_commit') AS synchronous_commit,
    (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit_given,
    current_setting('synchronous_standby_names') AS standbys,
    current_setting('autovacuum') AS autovacuum;

-- name: long_transactions
-- Transactions that have been open for so many seconds, the oldest ones, and what can be seen of them.
SELECT t.seconds, t.holder
FROM (
    SELECT extract(epoch FROM clock_timestamp() - p.prepared)::bigint AS seconds,
        format('prepared transaction %s in database %s', p.gid, p.database) AS holder
    FROM pg_prepared_xacts AS p
    UNION ALL
    SELECT extract(epoch FROM clock_timestamp() - a.xact_start)::bigint,
        format('process %s (%s) in database %s', a.pid, a.application_name, a.datname)
    FROM pg_stat_activity AS a
    WHERE a.backend_type = 'client backend' AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
) AS t
WHERE t.seconds >= $1::bigint ORDER BY t.seconds DESC LIMIT 5;

-- name: is_gone
-- Whether a connection's backend has ended, or the server takes no writes any more: nothing it was asked is under way.
SELECT pg_is_in_recovery() OR NOT EXISTS (
    SELECT FROM pg_stat_activity WHERE pid = $1::integer AND application_name = $2::text
) AS gone;

-- name: probe
-- A write that means nothing but is as durable as any; a row for each connection, so that no two wait for each other.
INSERT INTO probe (lane, at) VALUES ($1::integer, $2::bigint)
ON CONFLICT (lane) DO UPDATE SET at = excluded.at RETURNING at;

-- name: key_floor
-- The greatest key of anything, also of a refused request that is not kept any more.
SELECT greatest(
    coalesce((SELECT max(key) FROM events), 0),
    coalesce((SELECT max(key) FROM endpoints), 0),
    coalesce((SELECT max(key) FROM api_keys), 0),
    coalesce((SELECT max(key) FROM jobs), 0),
    coalesce((SELECT max(key) FROM sources), 0),
    coalesce((SELECT max(key) FROM requests), 0),
    coalesce((SELECT max(request_key) FROM quarantine), 0),
    coalesce((SELECT max(key) FROM incidents), 0),
    coalesce((SELECT key_floor FROM custody), 0)
) AS key;

-- name: describe_store
-- How large the store's tables and indexes are, and which migration was the last.
SELECT
    coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes,
    (SELECT max(number) FROM migrations) AS schema_version,
    current_setting('server_version') AS version
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind = 'r';

-- name: has_schema
-- Whether there is a schema of that name.
SELECT to_regnamespace($1::text) IS NOT NULL AS present;

-- name: has_migrations
-- Whether the schema holds a store.
SELECT to_regclass('migrations') IS NOT NULL AS present;

-- name: one_migrates
-- Let one node at a time go on, until the end of the transaction.
SELECT pg_advisory_xact_lock($1::bigint);

-- name: insert_migration
-- A migration took place.
INSERT INTO migrations (number, name, checksum, applied_at, readable_from)
VALUES ($1::integer, $2::text, $3::text, $4::bigint, $5::integer);

-- name: all_migrations
-- The migrations that took place, in order.
SELECT number, name, checksum, readable_from FROM migrations ORDER BY number;

-- name: join_catalogue
-- Rows for the connections of a node, at the present version. The lock on the first row is held.
INSERT INTO catalogue (lane, version)
SELECT lane, (SELECT version FROM catalogue WHERE lane = 0) FROM unnest($1::integer[]) AS lane
ON CONFLICT (lane) DO NOTHING;

-- name: lock_catalogue
-- The catalogue stands still for everybody, and nobody else holds it; what is to change it locks it so.
SELECT lane, version FROM catalogue ORDER BY lane FOR UPDATE;

-- name: share_catalogue
-- The catalogue stands still while this connection's transaction lasts. Waits like a write for its standbys.
SELECT version FROM catalogue WHERE lane = $1::integer FOR SHARE;

-- name: share_slots
-- The slots stay with whom they are with while the transaction lasts; their epochs, of those that have an owner.
-- Here and below rows are locked in the order of the array.
SELECT o.slot, o.epoch, o.owned
FROM unnest($1::smallint[]) AS c (slot) CROSS JOIN LATERAL (
    SELECT s.slot, s.epoch, s.owner IS NOT NULL AS owned FROM slots AS s WHERE s.slot = c.slot FOR SHARE
) AS o;

-- name: lock_jobs
-- Nobody else works on these jobs meanwhile.
SELECT o.key
FROM unnest($1::bigint[]) AS c (key) CROSS JOIN LATERAL (SELECT j.key FROM jobs AS j WHERE j.key = c.key FOR UPDATE) AS o;

-- name: make_source_guards
-- A row to lock for each source.
INSERT INTO source_guards (source_key) SELECT s FROM unnest($1::bigint[]) AS s ON CONFLICT DO NOTHING;

-- name: lock_sources
-- Nobody else touches streams, digests or incidents of these sources meanwhile.
SELECT o.source_key
FROM unnest($1::bigint[]) AS c (source_key) CROSS JOIN LATERAL (
    SELECT g.source_key FROM source_guards AS g WHERE g.source_key = c.source_key FOR UPDATE
) AS o;

-- name: lock_orders
-- Nobody else changes meanwhile which delivery of these ordering keys is sent.
SELECT o.bucket
FROM unnest($1::smallint[]) AS c (bucket) CROSS JOIN LATERAL (
    SELECT g.bucket FROM order_guards AS g WHERE g.bucket = c.bucket FOR UPDATE
) AS o;

-- name: custody
-- Whether nodes may run here, where the contents come from or went, since when, and the keys that may have been used.
SELECT state, place, since, key_floor FROM custody;

-- name: put_custody
-- From now on it is so.
UPDATE custody SET state = $1::text, place = $2::text, since = $3::bigint, key_floor = $4::bigint WHERE one = 1;

-- name: void_leases
-- Nobody holds a slot: who did so held it in another store. The epochs stay.
UPDATE slots SET owner = NULL, lease_until = 0, unquiet = false;

-- name: all_columns
-- Every table with the names of its columns, in their order; partitions are part of their tables.
SELECT c.relname AS "table", array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname ORDER BY c.relname;

-- name: one_copies
-- Whether this connection is from now on the only one that fills or empties a store here; until it ends.
SELECT pg_try_advisory_lock($1::bigint) AS granted;

-- name: nodes_here
-- How many connections nodes have to this database.
SELECT count(*) AS connections FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^posthouse:[0-9a-f]{8}:';
