-- Where the contents of this store belong, and which keys may have been used by the store that they were copied from.
CREATE TABLE custody (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    state TEXT NOT NULL CHECK (state IN ('here', 'arriving', 'moved')),
    place TEXT NOT NULL,
    since INTEGER NOT NULL,
    key_floor INTEGER NOT NULL
) STRICT;

INSERT INTO custody (one, state, place, since, key_floor) VALUES (1, 'here', '', 0, 0);
