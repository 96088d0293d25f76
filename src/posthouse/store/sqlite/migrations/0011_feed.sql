-- The order in which events were committed: a row a transaction, not one an event. What was accepted before has a row
-- for each second of keys (key >> 32: 1.02 s), in their order.

CREATE TABLE feed_commits (
    place INTEGER PRIMARY KEY,
    first_key INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (size > 0),
    keys TEXT NOT NULL
) STRICT;

INSERT INTO feed_commits (place, first_key, last_key, size, keys)
SELECT row_number() OVER (ORDER BY first_key), first_key, last_key, size, keys FROM (
    SELECT min(key) AS first_key, max(key) AS last_key, count(*) AS size, json_group_array(key ORDER BY key) AS keys
    FROM events GROUP BY key >> 32
);

CREATE TABLE feed_floor (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    place INTEGER NOT NULL,
    first_key INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    size INTEGER NOT NULL
) STRICT;

INSERT INTO feed_floor (one, place, first_key, last_key, size) VALUES (1, 0, 0, 0, 0);

CREATE TABLE feed_consumers (
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    name TEXT NOT NULL,
    place INTEGER NOT NULL,
    first_key INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    acknowledged_at INTEGER NOT NULL,
    PRIMARY KEY (environment, name)
) WITHOUT ROWID, STRICT;
