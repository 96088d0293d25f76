-- Many nodes: their register, and which slots were taken from a node that did not give them up. Which version of the
-- schema is the oldest whose code may work on what a later step makes is written beside each step.

ALTER TABLE slots ADD COLUMN unquiet INTEGER NOT NULL DEFAULT 0 CHECK (unquiet IN (0, 1));

CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE CHECK (number BETWEEN 1 AND 1023),
    role TEXT NOT NULL CHECK (role IN ('all', 'engine', 'edge')),
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    process_id INTEGER NOT NULL,
    url TEXT,
    joined_at INTEGER NOT NULL,
    beat INTEGER NOT NULL,
    beat_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE node_numbers (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    latest INTEGER NOT NULL
) STRICT;

INSERT INTO node_numbers (one, latest) VALUES (1, 0);

ALTER TABLE migrations ADD COLUMN readable_from INTEGER NOT NULL DEFAULT 0;
