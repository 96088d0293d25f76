-- name: catalogue_version
-- The version that routes are compared with: every row has it.
SELECT version FROM catalogue WHERE lane = 0;

-- name: raise_catalogue_version
-- One more change, told to every lane; the new version in each of their rows, which are locked.
UPDATE catalogue SET version = version + 1 RETURNING version;

-- name: some_endpoints
-- The next endpoints behind a key that are not deleted, by key, with the names of core.model.Endpoint.
SELECT
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules, revision
FROM endpoints WHERE key > $1 AND state <> 'deleted' ORDER BY key LIMIT $2;

-- name: one_endpoint
-- One endpoint, as some_endpoints.
SELECT
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules, revision
FROM endpoints WHERE key = $1;

-- name: some_sources
-- The next sources behind a key, by key, with the names of core.inbound.Source.
SELECT
    key, environment, tenant, name, provider, token, secrets, state, description, created_at, updated_at, rules,
    revision
FROM sources WHERE key > $1 ORDER BY key LIMIT $2;

-- name: some_tenants
-- The next tenants behind a place, by environment and id, with the names of core.model.Tenant.
SELECT environment, id, name, created_at, rules, revision
FROM tenants WHERE (environment, id) > ($1, $2) ORDER BY environment, id LIMIT $3;

-- name: some_api_keys
-- The next API keys behind a key that are not revoked, by key, with the names of core.model.ApiKey.
SELECT key, hash, prefix, environment, scope, name, created_at, revoked_at, revision
FROM api_keys WHERE key > $1 AND revoked_at IS NULL ORDER BY key LIMIT $2;

-- name: changed_endpoints
-- The next endpoints behind a place by revision and key, deleted ones too, as some_endpoints.
SELECT
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules, revision
FROM endpoints
WHERE revision >= $1 AND (revision, key) > ($1, $2) ORDER BY revision, key LIMIT $3;

-- name: changed_sources
-- The next sources behind a place by revision and key, as some_sources.
SELECT
    key, environment, tenant, name, provider, token, secrets, state, description, created_at, updated_at, rules,
    revision
FROM sources WHERE revision >= $1 AND (revision, key) > ($1, $2) ORDER BY revision, key LIMIT $3;

-- name: changed_tenants
-- The next tenants behind a place by revision, environment and id, as some_tenants.
SELECT environment, id, name, created_at, rules, revision
FROM tenants
WHERE revision >= $1 AND (revision, environment, id) > ($1, $2, $3) ORDER BY revision, environment, id LIMIT $4;

-- name: changed_api_keys
-- The next API keys behind a place by revision and key, revoked ones too, as some_api_keys.
SELECT key, hash, prefix, environment, scope, name, created_at, revoked_at, revision
FROM api_keys WHERE revision >= $1 AND (revision, key) > ($1, $2) ORDER BY revision, key LIMIT $3;

-- name: endpoint_revision
-- The version that made an endpoint as it is.
SELECT revision FROM endpoints WHERE key = $1;

-- name: source_revision
-- The version that made a source as it is.
SELECT revision FROM sources WHERE key = $1;

-- name: tenant_revision
-- The version that made a tenant as it is.
SELECT revision FROM tenants WHERE environment = $1 AND id = $2;

-- name: api_key_revision
-- The version that made an API key as it is.
SELECT revision FROM api_keys WHERE key = $1;

-- name: put_endpoint
-- Insert or replace an endpoint by key.
INSERT INTO endpoints (
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules, revision
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (key) DO UPDATE SET
    environment = excluded.environment, tenant = excluded.tenant, url = excluded.url, events = excluded.events,
    state = excluded.state, state_reason = excluded.state_reason, description = excluded.description,
    headers = excluded.headers, secrets = excluded.secrets, retry = excluded.retry,
    connect_timeout_ms = excluded.connect_timeout_ms, timeout_ms = excluded.timeout_ms,
    created_at = excluded.created_at, updated_at = excluded.updated_at, rules = excluded.rules,
    revision = excluded.revision;

-- name: set_endpoint_state
-- Change only the state of an endpoint.
UPDATE endpoints SET state = $2, state_reason = $3, updated_at = $4, revision = $5 WHERE key = $1;

-- name: put_source
-- Insert or replace a source by key. A token that another source has is an error, not a replacement.
INSERT INTO sources (
    key, environment, tenant, name, provider, token, secrets, state, description, created_at, updated_at, rules,
    revision
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (key) DO UPDATE SET
    environment = excluded.environment, tenant = excluded.tenant, name = excluded.name, provider = excluded.provider,
    token = excluded.token, secrets = excluded.secrets, state = excluded.state, description = excluded.description,
    created_at = excluded.created_at, updated_at = excluded.updated_at, rules = excluded.rules,
    revision = excluded.revision;

-- name: put_tenant
-- Insert or replace a tenant by environment and id.
INSERT INTO tenants (environment, id, name, created_at, rules, revision) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (environment, id) DO UPDATE SET
    name = excluded.name, created_at = excluded.created_at, rules = excluded.rules, revision = excluded.revision;

-- name: put_api_key
-- Insert or replace an API key by key. A hash that another key has is an error, not a replacement.
INSERT INTO api_keys (key, hash, prefix, environment, scope, name, created_at, revoked_at, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (key) DO UPDATE SET
    hash = excluded.hash, prefix = excluded.prefix, environment = excluded.environment, scope = excluded.scope,
    name = excluded.name, created_at = excluded.created_at, revoked_at = excluded.revoked_at,
    revision = excluded.revision;

-- name: remember
-- What an Idempotency-Key of a management call made; the first one stays. Waits for another one that is on its way.
INSERT INTO remembered (environment, key, fingerprint, ref) VALUES ($1, $2, $3, $4)
ON CONFLICT (environment, key) DO NOTHING;

-- name: recall
-- What an Idempotency-Key of a management call made.
SELECT fingerprint, ref FROM remembered WHERE environment = $1 AND key = $2;

-- name: recall_for_good
-- As recall; the lock makes the answer wait until the row is where it survives the loss of this server.
SELECT fingerprint, ref FROM remembered WHERE environment = $1 AND key = $2 FOR SHARE;
