-- Order, parked work, rules of endpoints and tenants, health, jobs.

-- Open deliveries keep their ordering key where their endpoint keeps order, and may stand behind another one.
ALTER TABLE obligations RENAME TO moved;

CREATE TABLE obligations (
    event_key INTEGER NOT NULL,
    endpoint_key INTEGER NOT NULL,
    lane INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    round INTEGER NOT NULL CHECK (round >= 1),
    last_number INTEGER NOT NULL CHECK (last_number >= attempts),
    opened_at INTEGER NOT NULL,
    ordering_key TEXT,
    behind INTEGER NOT NULL CHECK (behind = 0 OR (behind = 1 AND ordering_key IS NOT NULL)),
    PRIMARY KEY (event_key, endpoint_key)
) WITHOUT ROWID, STRICT;

INSERT INTO obligations (
    event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, ordering_key, behind
)
SELECT event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, NULL, 0 FROM moved;
DROP TABLE moved;

CREATE INDEX obligations_by_due ON obligations (endpoint_key, lane, due_at, event_key) WHERE behind = 0;
CREATE UNIQUE INDEX obligations_ahead ON obligations (endpoint_key, ordering_key)
    WHERE behind = 0 AND ordering_key IS NOT NULL;
CREATE INDEX obligations_behind ON obligations (endpoint_key, ordering_key, event_key) WHERE behind = 1;

CREATE INDEX events_by_ordering_key ON events (environment, tenant, ordering_key, key) WHERE ordering_key IS NOT NULL;

DROP VIEW endpoint_documents;
ALTER TABLE endpoints ADD COLUMN rules TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(rules));
ALTER TABLE tenants ADD COLUMN rules TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(rules));

CREATE VIEW endpoint_documents AS
SELECT key, state, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'url', url, 'events', json(events),
    'state', state, 'state_reason', state_reason, 'description', description, 'headers', json(headers),
    'secrets', json(secrets), 'retry', retry, 'connect_timeout_ms', connect_timeout_ms,
    'timeout_ms', timeout_ms, 'created_at', created_at, 'updated_at', updated_at, 'rules', json(rules)
) AS document
FROM endpoints;

CREATE TABLE health (
    endpoint_key INTEGER PRIMARY KEY,
    failing_since INTEGER NOT NULL,
    opened_at INTEGER,
    probes INTEGER NOT NULL CHECK (probes >= 0),
    warned INTEGER NOT NULL CHECK (warned >= 0),
    usual_rate REAL NOT NULL CHECK (usual_rate >= 0)
) STRICT;

CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    kind TEXT NOT NULL CHECK (kind IN ('retry', 'replay', 'cancel', 'park', 'drain', 'promote')),
    filter TEXT NOT NULL CHECK (json_valid(filter)),
    mode TEXT NOT NULL CHECK (mode IN ('all', 'latest')),
    dry_run INTEGER NOT NULL CHECK (dry_run BETWEEN 0 AND 1),
    rate TEXT,
    state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'completed', 'cancelled', 'failed')),
    total INTEGER,
    counted INTEGER NOT NULL CHECK (counted >= 0),
    done INTEGER NOT NULL CHECK (done >= 0),
    skipped INTEGER NOT NULL CHECK (skipped >= 0),
    cursor_event INTEGER NOT NULL,
    cursor_endpoint INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    error TEXT,
    trail TEXT NOT NULL CHECK (json_valid(trail))
) STRICT;

CREATE INDEX jobs_unfinished ON jobs (key) WHERE state = 'running' OR state = 'paused';
