-- The first schema.

-- -- events and what recognises their repeats ------------------------------------------------

-- An accepted event, for ever as it came. `owed` is the JSON array of the endpoint keys that it
-- was owed to at acceptance: the audit counts debts from here and from nowhere else.
-- `data` stands last, so that reading the rest never touches the pages that a long one spills to.
CREATE TABLE events (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    occurred_at INTEGER,
    ordering_key TEXT,
    owed TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- Where to look for the events of an environment, or of a tenant: the periods (event key >> 36: 16.4 s)
-- in which there are some. Real indexes would cost a scattered page for nearly every event; these rows
-- cost one per period at most, and a reader scans the events of the periods that it is led to.
CREATE TABLE environment_periods (
    environment TEXT NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (environment, period)
) WITHOUT ROWID, STRICT;

CREATE TABLE tenant_periods (
    environment TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (environment, tenant, period)
) WITHOUT ROWID, STRICT;

-- What makes a repeat of an event recognisable. The tenant stands last in the key, so that an id
-- is found without knowing whose it is.
CREATE TABLE identities (
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    tenant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    event_key INTEGER NOT NULL,
    PRIMARY KEY (environment, kind, value, tenant)
) WITHOUT ROWID, STRICT;

-- -- deliveries ------------------------------------------------------------------------------

-- The open deliveries and only those: waiting (no attempts in this round) or retrying. Hot and small.
CREATE TABLE obligations (
    event_key INTEGER NOT NULL,
    endpoint_key INTEGER NOT NULL,
    lane INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 2),
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    round INTEGER NOT NULL CHECK (round >= 1),
    last_number INTEGER NOT NULL CHECK (last_number >= attempts),
    opened_at INTEGER NOT NULL,
    PRIMARY KEY (event_key, endpoint_key)
) WITHOUT ROWID, STRICT;

CREATE INDEX obligations_by_due ON obligations (endpoint_key, lane, due_at, event_key);

-- Settled rounds. Append-only: a round that is opened again keeps its row here.
CREATE TABLE history (
    event_key INTEGER NOT NULL,
    endpoint_key INTEGER NOT NULL,
    round INTEGER NOT NULL CHECK (round >= 1),
    state TEXT NOT NULL CHECK (state = 'delivered' OR state = 'exhausted' OR state = 'discarded'),
    reason TEXT,
    lane INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 2),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    opened_at INTEGER NOT NULL,
    settled_at INTEGER NOT NULL,
    PRIMARY KEY (event_key, endpoint_key, round),
    CHECK (state <> 'delivered' OR (reason IS NULL AND attempts > 0)),
    CHECK (state <> 'discarded' OR reason IS NOT NULL)
) WITHOUT ROWID, STRICT;

CREATE INDEX history_undelivered ON history (state, event_key, endpoint_key) WHERE state <> 'delivered';
CREATE INDEX history_undelivered_by_endpoint ON history (endpoint_key, state, event_key) WHERE state <> 'delivered';

-- Where to look for the settled deliveries of an endpoint; as tenant_periods.
CREATE TABLE endpoint_periods (
    endpoint_key INTEGER NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (endpoint_key, period)
) WITHOUT ROWID, STRICT;

-- Settled rounds that an operator opened again. Append-only: what is settled now is `history`
-- minus `reopened`, so the books are a sum over rows that never change.
CREATE TABLE reopened (
    event_key INTEGER NOT NULL,
    endpoint_key INTEGER NOT NULL,
    round INTEGER NOT NULL,
    previous_state TEXT NOT NULL CHECK (previous_state IN ('delivered', 'exhausted', 'discarded')),
    previous_reason TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (event_key, endpoint_key, round)
) WITHOUT ROWID, STRICT;

-- One HTTP request each, numbered over all rounds. Append-only.
CREATE TABLE attempts (
    event_key INTEGER NOT NULL,
    endpoint_key INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 1),
    started_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    error TEXT,
    peer TEXT,
    dns_us INTEGER,
    connect_us INTEGER,
    tls_us INTEGER,
    first_byte_us INTEGER,
    total_us INTEGER NOT NULL,
    reused INTEGER NOT NULL CHECK (reused BETWEEN 0 AND 1),
    response_headers TEXT NOT NULL,
    response_body BLOB NOT NULL,
    PRIMARY KEY (event_key, endpoint_key, number)
) WITHOUT ROWID, STRICT;

-- -- catalogue -------------------------------------------------------------------------------

-- The version of everything in this part; one row.
CREATE TABLE catalogue (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO catalogue (one, version) VALUES (1, 0);

-- Endpoints, deleted ones included. `events`, `headers` and `secrets` are JSON arrays.
CREATE TABLE endpoints (
    key INTEGER PRIMARY KEY,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT NOT NULL CHECK (json_valid(events)),
    state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'disabled', 'deleted')),
    state_reason TEXT,
    description TEXT NOT NULL,
    headers TEXT NOT NULL CHECK (json_valid(headers)),
    secrets TEXT NOT NULL CHECK (json_valid(secrets)),
    retry TEXT NOT NULL,
    connect_timeout_ms INTEGER NOT NULL CHECK (connect_timeout_ms > 0),
    timeout_ms INTEGER NOT NULL CHECK (timeout_ms > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (environment, id)
) WITHOUT ROWID, STRICT;

CREATE TABLE api_keys (
    key INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    scope TEXT NOT NULL CHECK (scope IN ('admin', 'publish', 'read')),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- Idempotency keys of management calls, and the key of what each call made.
CREATE TABLE remembered (
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    ref INTEGER NOT NULL,
    PRIMARY KEY (environment, key)
) WITHOUT ROWID, STRICT;

-- An endpoint as one JSON document with the names of core.model.Endpoint: one row, one step to read.
CREATE VIEW endpoint_documents AS
SELECT key, state, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'url', url, 'events', json(events),
    'state', state, 'state_reason', state_reason, 'description', description, 'headers', json(headers),
    'secrets', json(secrets), 'retry', retry, 'connect_timeout_ms', connect_timeout_ms,
    'timeout_ms', timeout_ms, 'created_at', created_at, 'updated_at', updated_at
) AS document
FROM endpoints;

-- -- ownership and the node itself -----------------------------------------------------------

-- The hash slots of endpoints: who leases each, and the epoch that fences late writers.
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    owner TEXT,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    lease_until INTEGER NOT NULL
) STRICT;

WITH RECURSIVE numbers (slot) AS (VALUES (0) UNION ALL SELECT slot + 1 FROM numbers WHERE slot < 255)
INSERT INTO slots (slot, owner, epoch, lease_until) SELECT slot, NULL, 0, 0 FROM numbers;

-- The row that a readiness probe writes; one row.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at INTEGER NOT NULL
) STRICT;

INSERT INTO probe (one, at) VALUES (1, 0);

-- The migrations that made this database.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
