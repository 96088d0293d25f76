-- The PostgreSQL store as it is after the last migration. Times are Unix milliseconds by the nodes' clocks. Keys are
-- 63-bit integers that grow with time (core.ids); a key >> 22 is its millisecond. Text that is compared or sorted is
-- COLLATE "C": by bytes, so that both engines and core sort alike. No foreign keys: each would be a look-up and a
-- share lock a row. Columns stand from wide to narrow where rows are many.

-- == whose the slots are ==========================================================================

-- The hash slots of endpoints: who owns each, and the epoch that fences late writers. Who settles holds a share lock on
-- the slots it settles for, who takes or gives up slots locks all of them. `unquiet`: it was taken from a node that did
-- not give it up, and what that one sent may still be on its way. Nothing is decided by `lease_until`.
CREATE TABLE slots (
    slot smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    owner text COLLATE "C",
    epoch bigint NOT NULL CHECK (epoch >= 0),
    lease_until bigint NOT NULL,
    unquiet boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
INSERT INTO slots (slot, owner, epoch, lease_until) SELECT s, NULL, 0, 0 FROM generate_series(0, 255) AS s;

-- The register of nodes. `beat` grows while one lives; times are by its own clock, for people.
CREATE TABLE nodes (
    name text COLLATE "C" PRIMARY KEY, number integer NOT NULL UNIQUE CHECK (number BETWEEN 1 AND 1023),
    role text NOT NULL CHECK (role IN ('all', 'engine', 'edge')), version text NOT NULL, host text NOT NULL,
    process_id bigint NOT NULL, url text, joined_at bigint NOT NULL, beat bigint NOT NULL, beat_at bigint NOT NULL
) WITH (fillfactor = 50);
-- The number that was given to a node last; one row. Whoever joins holds it.
CREATE TABLE node_numbers (one smallint PRIMARY KEY CHECK (one = 1), latest integer NOT NULL) WITH (fillfactor = 50);
INSERT INTO node_numbers (one, latest) VALUES (1, 0);

-- == the catalogue ================================================================================

-- A few rows, shared out to writing connections (lanes): who accepts holds a share lock on its row, who changes the
-- catalogue locks all of them. Lane 0 exists always and is the one that everybody who changes the catalogue locks first.
CREATE TABLE catalogue (
    lane integer PRIMARY KEY,             -- 0: the master; a connection picks one of the others when it is made
    version bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO catalogue (lane, version) VALUES (0, 0);

-- Endpoints, deleted ones included. `events`, `headers` and `secrets` are JSON arrays; `rules` is the JSON object of
-- core.rules.Rules without what has its default. JSON stands as text: nothing is ever asked about what is in it.
-- `revision`, here and below: the catalogue's version that the latest change of the row made.
CREATE TABLE endpoints (
    key bigint PRIMARY KEY,
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test')),
    tenant text COLLATE "C" NOT NULL, url text NOT NULL,
    events text NOT NULL, state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled', 'deleted')),
    state_reason text, description text NOT NULL, headers text NOT NULL, secrets text NOT NULL, retry text NOT NULL,
    connect_timeout_ms integer NOT NULL CHECK (connect_timeout_ms > 0),
    timeout_ms integer NOT NULL CHECK (timeout_ms > 0),
    created_at bigint NOT NULL, updated_at bigint NOT NULL, rules text NOT NULL DEFAULT '{}', revision bigint NOT NULL
);
CREATE INDEX endpoints_by_revision ON endpoints (revision, key);

CREATE TABLE tenants (
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test')),
    id text COLLATE "C" NOT NULL, name text NOT NULL, created_at bigint NOT NULL, rules text NOT NULL DEFAULT '{}',
    revision bigint NOT NULL,
    PRIMARY KEY (environment, id)
);
CREATE INDEX tenants_by_revision ON tenants (revision, environment, id);

CREATE TABLE api_keys (
    key bigint PRIMARY KEY, hash bytea NOT NULL UNIQUE, prefix text NOT NULL,
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test')),
    scope text NOT NULL CHECK (scope IN ('admin', 'publish', 'read')), name text NOT NULL,
    created_at bigint NOT NULL, revoked_at bigint, revision bigint NOT NULL
);
CREATE INDEX api_keys_by_revision ON api_keys (revision, key);

-- Inbound URLs, deleted ones included. `secrets` is a JSON array, `rules` the JSON object of core.inbound.SourceRules
-- without what has its default.
CREATE TABLE sources (
    key bigint PRIMARY KEY,
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test')),
    tenant text COLLATE "C" NOT NULL, name text NOT NULL, provider text NOT NULL,
    token text COLLATE "C" NOT NULL UNIQUE,
    secrets text NOT NULL, state text NOT NULL CHECK (state IN ('active', 'paused', 'deleted')),
    description text NOT NULL, created_at bigint NOT NULL, updated_at bigint NOT NULL, rules text NOT NULL,
    revision bigint NOT NULL
);
CREATE INDEX sources_by_revision ON sources (revision, key);

-- Idempotency keys of management calls, and the key of what each call made.
CREATE TABLE remembered (
    environment text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, fingerprint bytea NOT NULL,
    ref bigint NOT NULL,
    PRIMARY KEY (environment, key)
);

-- == events and what recognises their repeats =====================================================

-- An accepted event, for ever as it came. `owed` are the endpoint keys that it was owed to at acceptance: the audit
-- counts debts from here and from nowhere else.
CREATE TABLE events (
    key bigint NOT NULL,
    id text COLLATE "C" NOT NULL, environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL, accepted_at bigint NOT NULL, occurred_at bigint, ordering_key text COLLATE "C",
    owed bigint[] NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (key)
) PARTITION BY RANGE (key);
ALTER TABLE events ALTER COLUMN data SET STORAGE EXTERNAL;  -- nothing is compressed on the way to a 202
-- Which is the newest event of an ordering key: a replay of the latest states asks.
CREATE INDEX events_by_ordering_key ON events (environment, tenant, ordering_key, key) WHERE ordering_key IS NOT NULL;

-- What makes a repeat of an event recognisable. The tenant stands last in the key, so that an id is found without
-- knowing whose it is. The event's id and how many it is owed to stand here too: a repeat is answered without the
-- event.
CREATE TABLE identities (
    environment text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL, fingerprint bytea NOT NULL, event_key bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL, owed integer NOT NULL,
    PRIMARY KEY (environment, kind, value, tenant)
);
CREATE INDEX identities_by_event ON identities USING brin (event_key) WITH (pages_per_range = 32, autosummarize = on);

-- Where to look for the events of an environment or a tenant, and for the settled deliveries of an endpoint: the
-- periods (event key >> 36: 16.4 s) in which there are some. Real indexes would cost a scattered page for nearly
-- every event.
CREATE TABLE environment_periods (
    environment text COLLATE "C" NOT NULL, period bigint NOT NULL, PRIMARY KEY (environment, period)
) PARTITION BY RANGE (period);
CREATE TABLE tenant_periods (
    environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL, period bigint NOT NULL,
    PRIMARY KEY (environment, tenant, period)
) PARTITION BY RANGE (period);
CREATE TABLE endpoint_periods (
    endpoint_key bigint NOT NULL, period bigint NOT NULL, PRIMARY KEY (endpoint_key, period)
) PARTITION BY RANGE (period);

-- == deliveries ===================================================================================

-- The open deliveries and only those: waiting (no attempts in this round) or retrying. Hot and small; vacuumed
-- whenever a fiftieth is dead. Where the endpoint keeps order, `ordering_key` is the event's; of those with one key a
-- single one is not behind, and only that one is ever sent. Lane 3 is parked: nobody sends from it. `slot` is the
-- endpoint's.
CREATE TABLE obligations (
    event_key bigint NOT NULL, endpoint_key bigint NOT NULL,
    due_at bigint NOT NULL, opened_at bigint NOT NULL,
    attempts integer NOT NULL CHECK (attempts >= 0), round integer NOT NULL CHECK (round >= 1),
    last_number integer NOT NULL CHECK (last_number >= attempts),
    slot smallint NOT NULL, lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 3),
    behind boolean NOT NULL CHECK (NOT behind OR ordering_key IS NOT NULL),
    ordering_key text COLLATE "C",
    PRIMARY KEY (event_key, endpoint_key) WITH (fillfactor = 80)
) WITH (
    fillfactor = 80, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 20000, autovacuum_analyze_scale_factor = 0.2
);
CREATE INDEX obligations_by_due ON obligations (slot, endpoint_key, lane, due_at, event_key) WHERE NOT behind;
-- Of each ordering key the one that is sent, and those that stand behind it.
CREATE UNIQUE INDEX obligations_ahead ON obligations (endpoint_key, ordering_key)
    WHERE NOT behind AND ordering_key IS NOT NULL;
CREATE INDEX obligations_behind ON obligations (endpoint_key, ordering_key, event_key) WHERE behind;

-- Whoever may change which delivery of an ordering key stands ahead holds the row of hash(endpoint, ordering key).
CREATE TABLE order_guards (bucket smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 1023)) WITH (fillfactor = 50);
INSERT INTO order_guards (bucket) SELECT generate_series(0, 1023);

-- Settled rounds. Append-only: a round that is opened again keeps its row here.
CREATE TABLE history (
    event_key bigint NOT NULL, endpoint_key bigint NOT NULL, round integer NOT NULL CHECK (round >= 1),
    attempts integer NOT NULL CHECK (attempts >= 0), opened_at bigint NOT NULL, settled_at bigint NOT NULL,
    lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 2),
    state text COLLATE "C" NOT NULL CHECK (state IN ('delivered', 'exhausted', 'discarded')), reason text COLLATE "C",
    PRIMARY KEY (event_key, endpoint_key, round),
    CHECK (state <> 'delivered' OR (reason IS NULL AND attempts > 0)),
    CHECK (state <> 'discarded' OR reason IS NOT NULL)
) PARTITION BY RANGE (event_key);
CREATE INDEX history_undelivered ON history (state, event_key, endpoint_key) WHERE state <> 'delivered';
CREATE INDEX history_undelivered_by_endpoint ON history (endpoint_key, state, event_key) WHERE state <> 'delivered';

-- Settled rounds that an operator opened again. Append-only: what is settled now is `history` minus `reopened`, so
-- the books are a sum over rows that never change.
CREATE TABLE reopened (
    event_key bigint NOT NULL, endpoint_key bigint NOT NULL, round integer NOT NULL,
    previous_state text COLLATE "C" NOT NULL, previous_reason text COLLATE "C", at bigint NOT NULL,
    PRIMARY KEY (event_key, endpoint_key, round)
) PARTITION BY RANGE (event_key);

-- One HTTP request each, numbered over all rounds. Append-only.
CREATE TABLE attempts (
    event_key bigint NOT NULL, endpoint_key bigint NOT NULL, started_at bigint NOT NULL,
    number integer NOT NULL CHECK (number >= 1), status integer,
    dns_us integer, connect_us integer, tls_us integer, first_byte_us integer, total_us integer NOT NULL,
    reused boolean NOT NULL, outcome text COLLATE "C" NOT NULL, error text, peer text,
    response_headers text NOT NULL, response_body bytea NOT NULL,
    PRIMARY KEY (event_key, endpoint_key, number)
) PARTITION BY RANGE (event_key);

-- Endpoints that are not well: since when, and whether their breaker is open. One that is well has no row.
CREATE TABLE health (
    endpoint_key bigint PRIMARY KEY, slot smallint NOT NULL, failing_since bigint NOT NULL, opened_at bigint,
    probes integer NOT NULL CHECK (probes >= 0), warned integer NOT NULL CHECK (warned >= 0),
    usual_rate double precision NOT NULL CHECK (usual_rate >= 0)
) WITH (fillfactor = 80);
CREATE INDEX health_by_slot ON health (slot);

-- Bulk jobs: what they are to do (`filter` is core.jobs.JobFilter as JSON), how far they are, and who did what.
CREATE TABLE jobs (
    key bigint PRIMARY KEY, environment text COLLATE "C" NOT NULL, kind text NOT NULL, filter text NOT NULL,
    mode text NOT NULL, dry_run boolean NOT NULL, rate text, state text NOT NULL, total bigint,
    counted bigint NOT NULL, done bigint NOT NULL, skipped bigint NOT NULL,
    cursor_event bigint NOT NULL, cursor_endpoint bigint NOT NULL, created_at bigint NOT NULL, started_at bigint,
    finished_at bigint, error text, trail text NOT NULL,
    counted_event bigint NOT NULL DEFAULT 0, counted_endpoint bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX jobs_unfinished ON jobs (key) WHERE state = 'running' OR state = 'paused';

-- == what comes in ================================================================================

-- Requests to sources, byte for byte as they came; `head` is their headers (core.head). Only a refused one that
-- nobody asked for is ever deleted. Each is in exactly one place: inbox, readings or quarantine, at position -1.
CREATE TABLE requests (
    key bigint NOT NULL, source_key bigint NOT NULL, received_at bigint NOT NULL, status integer NOT NULL,
    environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL, method text NOT NULL, url text NOT NULL,
    head text NOT NULL, verdict text COLLATE "C" NOT NULL, body bytea NOT NULL,
    PRIMARY KEY (key)
) PARTITION BY RANGE (key);
ALTER TABLE requests ALTER COLUMN body SET STORAGE EXTERNAL;
-- Where to look for the requests of an environment, a tenant or a source; as environment_periods.
CREATE TABLE inbound_environment_periods (
    environment text COLLATE "C" NOT NULL, period bigint NOT NULL, PRIMARY KEY (environment, period)
) PARTITION BY RANGE (period);
CREATE TABLE inbound_tenant_periods (
    environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL, period bigint NOT NULL,
    PRIMARY KEY (environment, tenant, period)
) PARTITION BY RANGE (period);
CREATE TABLE source_periods (
    source_key bigint NOT NULL, period bigint NOT NULL, PRIMARY KEY (source_key, period)
) PARTITION BY RANGE (period);

-- What is kept and not read yet: whole requests (position -1), and single events that left quarantine. Hot and small.
CREATE TABLE inbox (
    source_key bigint NOT NULL, request_key bigint NOT NULL, due_at bigint NOT NULL,
    position integer NOT NULL CHECK (position >= -1),
    attempts integer NOT NULL, waived text COLLATE "C",
    PRIMARY KEY (source_key, request_key, position)
) WITH (
    fillfactor = 80, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX inbox_by_due ON inbox (source_key, due_at);

-- Whoever reads or writes streams, digests or incidents of a source holds its row. The row of source 0 is held by
-- whoever makes `seen` anew, prunes it, or passes events on without it.
CREATE TABLE source_guards (source_key bigint PRIMARY KEY) WITH (fillfactor = 50);

-- What was found in each item of the inbox. Append-only. `found` is a JSON array of [position, event key, whether it
-- is a repetition], and the counts are of that moment: the audit compares them with the rows that they speak of.
CREATE TABLE readings (
    request_key bigint NOT NULL, source_key bigint NOT NULL, at bigint NOT NULL, position integer NOT NULL,
    events integer NOT NULL, duplicates integer NOT NULL, quarantined integer NOT NULL, heartbeat boolean NOT NULL,
    delivery text, found text NOT NULL,
    PRIMARY KEY (request_key, position)
) PARTITION BY RANGE (request_key);
-- Where each event came from that came in through a source. Append-only. `at` is when its request was received;
-- `digest` is NULL if nothing is a repetition of it. The request's key stands first: the books of a day go together.
CREATE TABLE arrivals (
    request_key bigint NOT NULL, event_key bigint NOT NULL, source_key bigint NOT NULL, at bigint NOT NULL,
    position integer NOT NULL, unchecked boolean NOT NULL, digest bytea,
    PRIMARY KEY (request_key, event_key)
) PARTITION BY RANGE (request_key);
CREATE INDEX arrivals_by_event ON arrivals (event_key);
CREATE INDEX arrivals_by_source ON arrivals (source_key, event_key);
-- Events that came again. Append-only.
CREATE TABLE repeats (
    request_key bigint NOT NULL, event_key bigint NOT NULL, source_key bigint NOT NULL, position integer NOT NULL,
    PRIMARY KEY (request_key, event_key, position)
) PARTITION BY RANGE (request_key);
CREATE INDEX repeats_by_event ON repeats (event_key);

-- Which event a digest stands for. Nothing but a copy of what `arrivals` holds: while it is missing or in part,
-- events pass unchecked, and it is made anew. Rows of source 0 are marks, with a time that nothing prunes: with
-- digest x'00' it is whole, with x'01' it is being made, and complete from that event key on.
CREATE TABLE seen (
    source_key bigint NOT NULL, digest bytea NOT NULL, event_key bigint NOT NULL, event_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (source_key, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX seen_by_time ON seen (at);
INSERT INTO seen (source_key, digest, event_key, event_id, at) VALUES (0, '\x00', 0, '', 9223372036854775807);

-- What is kept and not passed on: requests (position -1) and single events; also what left it, with a resolution.
-- What comes back is open again in the same row. `bytes` counts the body of a request that was refused.
CREATE TABLE quarantine (
    request_key bigint NOT NULL, source_key bigint NOT NULL, at bigint NOT NULL, bytes bigint NOT NULL,
    resolved_at bigint,
    position integer NOT NULL CHECK (position >= -1), acknowledged boolean NOT NULL,
    environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL, objection text COLLATE "C" NOT NULL,
    detail text NOT NULL, type text COLLATE "C", resolution text COLLATE "C",
    PRIMARY KEY (request_key, position), CHECK ((resolution IS NULL) = (resolved_at IS NULL))
);
CREATE INDEX quarantine_by_source ON quarantine (source_key, request_key, position) WHERE resolution IS NULL;
CREATE INDEX quarantine_by_environment ON quarantine (environment, request_key, position, tenant)
    WHERE resolution IS NULL;
CREATE INDEX quarantine_refused ON quarantine (at, request_key, position, source_key, bytes)
    WHERE resolution IS NULL AND NOT acknowledged;

-- The numbers that senders count their events with (core.gaps).
CREATE TABLE streams (
    source_key bigint NOT NULL, stream text COLLATE "C" NOT NULL, high bigint NOT NULL, steps bigint NOT NULL,
    PRIMARY KEY (source_key, stream)
) WITH (fillfactor = 50);
-- What may be wrong with what comes in.
CREATE TABLE incidents (
    key bigint PRIMARY KEY, environment text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL, source_key bigint NOT NULL, opened_at bigint NOT NULL, closed_at bigint,
    detail text NOT NULL, stream text COLLATE "C", first bigint, last bigint, missing bigint
);
CREATE INDEX incidents_open ON incidents (kind, source_key, stream, first) WHERE closed_at IS NULL;
-- How each source usually speaks; `pauses` is a JSON array.
CREATE TABLE rhythms (
    source_key bigint PRIMARY KEY, seen_at bigint NOT NULL, seen bigint NOT NULL, pauses text NOT NULL,
    day bigint NOT NULL
) WITH (fillfactor = 50);

-- == days =========================================================================================

-- Tables that grow with what passes through are divided into days, made ahead: all facts of an event lie in the day
-- of its key, all of a request in the day of its. What no day is there for lies in the rest.
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE history_rest PARTITION OF history DEFAULT;
CREATE TABLE reopened_rest PARTITION OF reopened DEFAULT;
CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT;
CREATE TABLE requests_rest PARTITION OF requests DEFAULT;
CREATE TABLE readings_rest PARTITION OF readings DEFAULT;
CREATE TABLE arrivals_rest PARTITION OF arrivals DEFAULT;
CREATE TABLE repeats_rest PARTITION OF repeats DEFAULT;
CREATE TABLE environment_periods_rest PARTITION OF environment_periods DEFAULT;
CREATE TABLE tenant_periods_rest PARTITION OF tenant_periods DEFAULT;
CREATE TABLE endpoint_periods_rest PARTITION OF endpoint_periods DEFAULT;
CREATE TABLE inbound_environment_periods_rest PARTITION OF inbound_environment_periods DEFAULT;
CREATE TABLE inbound_tenant_periods_rest PARTITION OF inbound_tenant_periods DEFAULT;
CREATE TABLE source_periods_rest PARTITION OF source_periods DEFAULT;

-- The days that there are. Whoever makes one holds the row of day 0.
CREATE TABLE days (
    day integer PRIMARY KEY,  -- since 1970-01-01
    state text NOT NULL CHECK (state IN ('made', 'rest'))  -- in tables of its own, or in the rest
);
INSERT INTO days (day, state) VALUES (0, 'rest');

-- == outbox =======================================================================================

-- Where applications write events in transactions of their own; fixed for ever, with its version in its name. The same
-- tables stand in other databases, made by `posthouse outbox schema`; they may stand here already.
CREATE TABLE IF NOT EXISTS posthouse_outbox_v1 (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL DEFAULT gen_random_uuid()::text,
    environment text NOT NULL DEFAULT 'live',
    tenant text,
    type text NOT NULL,
    occurred_at bigint,
    ordering_key text,
    data bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
-- Whoever drains holds this row; `source` names the outbox.
CREATE TABLE IF NOT EXISTS posthouse_outbox_v1_head (
    one smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    source text NOT NULL DEFAULT gen_random_uuid()::text
);
INSERT INTO posthouse_outbox_v1_head DEFAULT VALUES ON CONFLICT DO NOTHING;
-- Rows that cannot be events, and why.
CREATE TABLE IF NOT EXISTS posthouse_outbox_v1_doubts (
    doubt bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    n bigint NOT NULL,
    id text NOT NULL,
    environment text NOT NULL,
    tenant text,
    type text NOT NULL,
    occurred_at bigint,
    ordering_key text,
    data bytea NOT NULL,
    published_at timestamptz NOT NULL,
    code text NOT NULL,
    why text NOT NULL,
    doubted_at timestamptz NOT NULL DEFAULT now()
);

-- == the rest =====================================================================================

-- What a readiness probe writes; a row a connection.
CREATE TABLE probe (lane integer PRIMARY KEY, at bigint NOT NULL) WITH (fillfactor = 50);
-- Whether nodes may run on this store; one row. `arriving`: it is being filled from `place`; `moved`: its contents went
-- to `place`. No new key may be below `key_floor`: the store that this is a copy of may have used it.
CREATE TABLE custody (
    one smallint PRIMARY KEY CHECK (one = 1),
    state text COLLATE "C" NOT NULL CHECK (state IN ('here', 'arriving', 'moved')), place text NOT NULL,
    since bigint NOT NULL, key_floor bigint NOT NULL
);
INSERT INTO custody (one, state, place, since, key_floor) VALUES (1, 'here', '', 0, 0);
-- The migrations that made this schema; `readable_from` is the oldest of them whose code may go on.
CREATE TABLE migrations (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at bigint NOT NULL,
    readable_from integer NOT NULL
);
