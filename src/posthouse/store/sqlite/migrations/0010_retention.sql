-- What is old may be dropped; the books keep its sums.

-- What retention dropped, in the books for ever: debts by whose they were, with the state 'owed', and what paid them by
-- endpoint alone, with '' as the tenant.
CREATE TABLE bygone_deliveries (
    environment TEXT NOT NULL,
    tenant TEXT NOT NULL,
    endpoint_key INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (environment, tenant, endpoint_key, state, reason)
) WITHOUT ROWID, STRICT;

-- The same of sources: the figures of store.shared.source_books.
CREATE TABLE bygone_requests (
    source_key INTEGER NOT NULL,
    figure TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (source_key, figure)
) WITHOUT ROWID, STRICT;

-- One row. What was accepted before `retained_from` may be gone; `lap` is how far the round through all tables is.
CREATE TABLE retention (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    retained_from INTEGER NOT NULL,
    lap TEXT
) STRICT;

INSERT INTO retention (one, retained_from, lap) VALUES (1, 0, NULL);
