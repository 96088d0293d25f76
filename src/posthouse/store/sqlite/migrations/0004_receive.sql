-- Sources, what they are sent, and what is known about it. The reasons stand in schema.sql.

CREATE TABLE sources (
    key INTEGER PRIMARY KEY,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    secrets TEXT NOT NULL CHECK (json_valid(secrets)),
    state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'deleted')),
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    rules TEXT NOT NULL CHECK (json_valid(rules))
) STRICT;

CREATE VIEW source_documents AS
SELECT key, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'name', name, 'provider', provider, 'token', token,
    'secrets', json(secrets), 'state', state, 'description', description, 'created_at', created_at,
    'updated_at', updated_at, 'rules', json(rules)
) AS document
FROM sources;

CREATE TABLE requests (
    key INTEGER PRIMARY KEY,
    source_key INTEGER NOT NULL,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    tenant TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    headers TEXT NOT NULL,
    verdict TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE inbound_environment_periods (
    environment TEXT NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (environment, period)
) WITHOUT ROWID, STRICT;

CREATE TABLE inbound_tenant_periods (
    environment TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (environment, tenant, period)
) WITHOUT ROWID, STRICT;

CREATE TABLE source_periods (
    source_key INTEGER NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (source_key, period)
) WITHOUT ROWID, STRICT;

CREATE TABLE inbox (
    source_key INTEGER NOT NULL,
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= -1),
    waived TEXT,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    due_at INTEGER NOT NULL,
    PRIMARY KEY (source_key, request_key, position)
) WITHOUT ROWID, STRICT;

CREATE INDEX inbox_by_due ON inbox (source_key, due_at);

CREATE TABLE readings (
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    source_key INTEGER NOT NULL,
    at INTEGER NOT NULL,
    events INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL CHECK (heartbeat BETWEEN 0 AND 1),
    delivery TEXT,
    found TEXT NOT NULL,
    PRIMARY KEY (request_key, position)
) WITHOUT ROWID, STRICT;

CREATE TABLE arrivals (
    event_key INTEGER PRIMARY KEY,
    source_key INTEGER NOT NULL,
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    digest BLOB,
    at INTEGER NOT NULL,
    unchecked INTEGER NOT NULL CHECK (unchecked BETWEEN 0 AND 1)
) STRICT;

CREATE TABLE repeats (
    event_key INTEGER NOT NULL,
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    source_key INTEGER NOT NULL,
    PRIMARY KEY (event_key, request_key, position)
) WITHOUT ROWID, STRICT;

CREATE TABLE seen (
    source_key INTEGER NOT NULL,
    digest BLOB NOT NULL,
    event_key INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (source_key, digest)
) WITHOUT ROWID, STRICT;

CREATE INDEX seen_by_time ON seen (at);

INSERT INTO seen (source_key, digest, event_key, at) VALUES (0, x'00', 0, 9223372036854775807);

CREATE TABLE quarantine (
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= -1),
    source_key INTEGER NOT NULL,
    environment TEXT NOT NULL,
    tenant TEXT NOT NULL,
    objection TEXT NOT NULL,
    detail TEXT NOT NULL,
    type TEXT,
    at INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL CHECK (acknowledged BETWEEN 0 AND 1),
    bytes INTEGER NOT NULL,
    resolution TEXT,
    resolved_at INTEGER,
    PRIMARY KEY (request_key, position),
    CHECK ((resolution IS NULL) = (resolved_at IS NULL))
) WITHOUT ROWID, STRICT;

CREATE INDEX quarantine_by_source ON quarantine (source_key, request_key, position) WHERE resolution IS NULL;
CREATE INDEX quarantine_by_environment ON quarantine (environment, request_key, position, tenant)
    WHERE resolution IS NULL;
CREATE INDEX quarantine_refused ON quarantine (at, request_key, position, source_key, bytes)
    WHERE resolution IS NULL AND acknowledged = 0;

CREATE TABLE streams (
    source_key INTEGER NOT NULL,
    stream TEXT NOT NULL,
    high INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    PRIMARY KEY (source_key, stream)
) WITHOUT ROWID, STRICT;

CREATE TABLE incidents (
    key INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    source_key INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    detail TEXT NOT NULL,
    stream TEXT,
    first INTEGER,
    last INTEGER,
    missing INTEGER
) STRICT;

CREATE INDEX incidents_open ON incidents (kind, source_key, stream, first) WHERE closed_at IS NULL;

CREATE TABLE rhythms (
    source_key INTEGER PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    pauses TEXT NOT NULL CHECK (json_valid(pauses)),
    day INTEGER NOT NULL
) STRICT;
