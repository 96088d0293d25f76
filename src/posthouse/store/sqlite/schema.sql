-- The embedded store as it is after the last migration. A test compares the two.
-- Checks on hot tables are comparisons: IN with three values builds a small tree for every row.
-- Times are Unix milliseconds. Keys are 63-bit integers that grow with time (core.ids).

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

-- Which is the newest event of an ordering key: a replay of the latest states asks.
CREATE INDEX events_by_ordering_key ON events (environment, tenant, ordering_key, key) WHERE ordering_key IS NOT NULL;

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
-- Where the endpoint keeps order, `ordering_key` is the event's; of those with one key a single one is not
-- behind, and only that one is ever sent. Lane 3 is parked: nobody sends from it.
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

CREATE INDEX obligations_by_due ON obligations (endpoint_key, lane, due_at, event_key) WHERE behind = 0;
-- Of each ordering key the one that is sent, and those that stand behind it.
CREATE UNIQUE INDEX obligations_ahead ON obligations (endpoint_key, ordering_key)
    WHERE behind = 0 AND ordering_key IS NOT NULL;
CREATE INDEX obligations_behind ON obligations (endpoint_key, ordering_key, event_key) WHERE behind = 1;

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

-- Endpoints, deleted ones included. `events`, `headers` and `secrets` are JSON arrays; `rules` is the JSON object
-- of core.rules.Rules without what has its default.
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
    updated_at INTEGER NOT NULL,
    rules TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(rules)),
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX endpoints_by_revision ON endpoints (revision);

CREATE TABLE tenants (
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    rules TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(rules)),
    revision INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (environment, id)
) WITHOUT ROWID, STRICT;

CREATE INDEX tenants_by_revision ON tenants (revision);

CREATE TABLE api_keys (
    key INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    scope TEXT NOT NULL CHECK (scope IN ('admin', 'publish', 'read')),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX api_keys_by_revision ON api_keys (revision);

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
SELECT key, state, revision, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'url', url, 'events', json(events),
    'state', state, 'state_reason', state_reason, 'description', description, 'headers', json(headers),
    'secrets', json(secrets), 'retry', retry, 'connect_timeout_ms', connect_timeout_ms,
    'timeout_ms', timeout_ms, 'created_at', created_at, 'updated_at', updated_at, 'rules', json(rules),
    'revision', revision
) AS document
FROM endpoints;

-- -- health and jobs -------------------------------------------------------------------------

-- Endpoints that are not well: since when, and whether their breaker is open. One that is well has no row.
CREATE TABLE health (
    endpoint_key INTEGER PRIMARY KEY,
    failing_since INTEGER NOT NULL,
    opened_at INTEGER,
    probes INTEGER NOT NULL CHECK (probes >= 0),
    warned INTEGER NOT NULL CHECK (warned >= 0),
    usual_rate REAL NOT NULL CHECK (usual_rate >= 0)
) STRICT;

-- Bulk jobs: what they are to do (`filter` is core.jobs.JobFilter as JSON), how far they are, and who did what.
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
    trail TEXT NOT NULL CHECK (json_valid(trail)),
    counted_event INTEGER NOT NULL DEFAULT 0,
    counted_endpoint INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX jobs_unfinished ON jobs (key) WHERE state = 'running' OR state = 'paused';

-- -- what comes in ---------------------------------------------------------------------------

-- Inbound URLs, deleted ones included; part of the catalogue. `secrets` is a JSON array, `rules` the JSON object
-- of core.inbound.SourceRules without what has its default.
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
    rules TEXT NOT NULL CHECK (json_valid(rules)),
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX sources_by_revision ON sources (revision);

-- A source as one JSON document with the names of core.inbound.Source.
CREATE VIEW source_documents AS
SELECT key, revision, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'name', name, 'provider', provider, 'token', token,
    'secrets', json(secrets), 'state', state, 'description', description, 'created_at', created_at,
    'updated_at', updated_at, 'rules', json(rules), 'revision', revision
) AS document
FROM sources;

-- Requests to sources, byte for byte as they came; `head` is their headers (core.head). Only a refused one that nobody
-- asked for is ever deleted. Each is in exactly one place: inbox, readings or quarantine, at position -1.
-- `body` stands last, so that reading the rest never touches the pages that a long one spills to.
CREATE TABLE requests (
    key INTEGER PRIMARY KEY,
    source_key INTEGER NOT NULL,
    environment TEXT NOT NULL CHECK (environment = 'live' OR environment = 'test'),
    tenant TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    head TEXT NOT NULL,
    verdict TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Where to look for the requests of an environment, a tenant or a source; as tenant_periods.
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

-- What is kept and not read yet: whole requests (position -1), and single events that left quarantine. Hot and small.
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

-- What was found in each item of the inbox. Append-only. `found` is a JSON array of [position, event key, whether it
-- is a repetition], and the counts are of that moment: the audit compares them with the rows that they speak of.
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

-- Where each event came from that came in through a source. Append-only. `at` is when its request was received;
-- `digest` is NULL if nothing is a repetition of it.
CREATE TABLE arrivals (
    event_key INTEGER PRIMARY KEY,
    source_key INTEGER NOT NULL,
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    digest BLOB,
    at INTEGER NOT NULL,
    unchecked INTEGER NOT NULL CHECK (unchecked BETWEEN 0 AND 1)
) STRICT;

-- The events of a source by their keys: a job for one source asks, also for one with few events among very many. It
-- grows at the end of each source's part, so a page for each busy source is written to.
CREATE INDEX arrivals_by_source ON arrivals (source_key);

-- Events that came again. Append-only.
CREATE TABLE repeats (
    event_key INTEGER NOT NULL,
    request_key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    source_key INTEGER NOT NULL,
    PRIMARY KEY (event_key, request_key, position)
) WITHOUT ROWID, STRICT;

-- Which event a digest stands for. Nothing but a copy of what `arrivals` holds: while it is missing or in part, events
-- pass unchecked, and it is made anew. Rows of source 0 are marks, with a time that nothing prunes: with digest x'00'
-- it is whole, with x'01' it is being made, and complete from that event key on.
CREATE TABLE seen (
    source_key INTEGER NOT NULL,
    digest BLOB NOT NULL,
    event_key INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (source_key, digest)
) WITHOUT ROWID, STRICT;

CREATE INDEX seen_by_time ON seen (at);

INSERT INTO seen (source_key, digest, event_key, at) VALUES (0, x'00', 0, 9223372036854775807);

-- What is kept and not passed on: requests (position -1) and single events; also what left it, with a resolution.
-- What comes back is open again in the same row. `bytes` counts the body of a request that was refused.
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

-- The numbers that senders count their events with (core.gaps).
CREATE TABLE streams (
    source_key INTEGER NOT NULL,
    stream TEXT NOT NULL,
    high INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    PRIMARY KEY (source_key, stream)
) WITHOUT ROWID, STRICT;

-- What may be wrong with what comes in.
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

-- How each source usually speaks; `pauses` is a JSON array.
CREATE TABLE rhythms (
    source_key INTEGER PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    pauses TEXT NOT NULL CHECK (json_valid(pauses)),
    day INTEGER NOT NULL
) STRICT;

-- -- ownership and the node itself -----------------------------------------------------------

-- The hash slots of endpoints: who owns each, and the epoch that fences late writers. `unquiet`: it was taken from a
-- node that did not give it up, and what that one sent may still be on its way. Nothing is decided by `lease_until`.
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    owner TEXT,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    lease_until INTEGER NOT NULL,
    unquiet INTEGER NOT NULL DEFAULT 0 CHECK (unquiet IN (0, 1))
) STRICT;

WITH RECURSIVE numbers (slot) AS (VALUES (0) UNION ALL SELECT slot + 1 FROM numbers WHERE slot < 255)
INSERT INTO slots (slot, owner, epoch, lease_until) SELECT slot, NULL, 0, 0 FROM numbers;

-- The register of nodes. `beat` grows while one lives; times are by its own clock, for people.
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

-- The number that was given to a node last; one row.
CREATE TABLE node_numbers (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    latest INTEGER NOT NULL
) STRICT;

INSERT INTO node_numbers (one, latest) VALUES (1, 0);

-- The row that a readiness probe writes; one row.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at INTEGER NOT NULL
) STRICT;

INSERT INTO probe (one, at) VALUES (1, 0);

-- Whether nodes may run on this store; one row. `arriving`: it is being filled from `place`; `moved`: its contents went
-- to `place`. No new key may be below `key_floor`: the store that this is a copy of may have used it.
CREATE TABLE custody (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    state TEXT NOT NULL CHECK (state IN ('here', 'arriving', 'moved')),
    place TEXT NOT NULL,
    since INTEGER NOT NULL,
    key_floor INTEGER NOT NULL
) STRICT;

INSERT INTO custody (one, state, place, since, key_floor) VALUES (1, 'here', '', 0, 0);

-- The migrations that made this database; `readable_from` is the oldest of them whose code may go on, 0: only its own.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    readable_from INTEGER NOT NULL DEFAULT 0
) STRICT;
