-- name: catalogue_version
-- The version that routes are compared with.
SELECT version FROM catalogue WHERE one = 1;

-- name: raise_catalogue_version
-- One more change; the new version.
UPDATE catalogue SET version = version + 1 WHERE one = 1 RETURNING version;

-- name: all_endpoints
-- Every endpoint that is not deleted, by key, as one JSON document.
SELECT json_group_array(json(document) ORDER BY key) FROM endpoint_documents WHERE state <> 'deleted';

-- name: changed_endpoints
-- Every endpoint that was written after a version, as one JSON document.
SELECT json_group_array(json(document)) FROM endpoint_documents WHERE revision > ?1;

-- name: one_endpoint
-- One endpoint as a JSON document.
SELECT document FROM endpoint_documents WHERE key = ?1;

-- name: all_sources
-- Every source, by key, as one JSON document.
SELECT json_group_array(json(document) ORDER BY key) FROM source_documents;

-- name: changed_sources
-- Every source that was written after a version, as one JSON document.
SELECT json_group_array(json(document)) FROM source_documents WHERE revision > ?1;

-- name: all_tenants
-- Every tenant as one JSON document.
SELECT json_group_array(
    json_object(
        'environment', environment, 'id', id, 'name', name, 'created_at', created_at, 'rules', json(rules),
        'revision', revision
    )
    ORDER BY environment, id
)
FROM tenants;

-- name: changed_tenants
-- Every tenant that was written after a version, as all_tenants.
SELECT json_group_array(
    json_object(
        'environment', environment, 'id', id, 'name', name, 'created_at', created_at, 'rules', json(rules),
        'revision', revision
    )
)
FROM tenants WHERE revision > ?1;

-- name: all_api_keys
-- Every API key that is not revoked, by key, as one JSON document; the hash in hexadecimal.
SELECT json_group_array(
    json_object(
        'key', key, 'hash', hex(hash), 'prefix', prefix, 'environment', environment, 'scope', scope,
        'name', name, 'created_at', created_at, 'revoked_at', revoked_at, 'revision', revision
    )
    ORDER BY key
)
FROM api_keys WHERE revoked_at IS NULL;

-- name: changed_api_keys
-- Every API key that was written after a version, as all_api_keys, but revoked ones too.
SELECT json_group_array(
    json_object(
        'key', key, 'hash', hex(hash), 'prefix', prefix, 'environment', environment, 'scope', scope,
        'name', name, 'created_at', created_at, 'revoked_at', revoked_at, 'revision', revision
    )
)
FROM api_keys WHERE revision > ?1;

-- name: endpoint_revision
-- The version that made an endpoint as it is.
SELECT revision FROM endpoints WHERE key = ?1;

-- name: source_revision
-- The version that made a source as it is.
SELECT revision FROM sources WHERE key = ?1;

-- name: tenant_revision
-- The version that made a tenant as it is.
SELECT revision FROM tenants WHERE environment = ?1 AND id = ?2;

-- name: api_key_revision
-- The version that made an API key as it is.
SELECT revision FROM api_keys WHERE key = ?1;

-- name: put_endpoint
-- Insert or replace an endpoint by key.
INSERT OR REPLACE INTO endpoints (
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules, revision
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: set_endpoint_state
-- Change only the state of an endpoint.
UPDATE endpoints SET state = ?2, state_reason = ?3, updated_at = ?4, revision = ?5 WHERE key = ?1;

-- name: put_source
-- Insert or replace a source by key. A token that another source has is an error, not a replacement.
INSERT INTO sources (
    key, environment, tenant, name, provider, token, secrets, state, description, created_at, updated_at, rules,
    revision
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    environment = excluded.environment, tenant = excluded.tenant, name = excluded.name, provider = excluded.provider,
    token = excluded.token, secrets = excluded.secrets, state = excluded.state, description = excluded.description,
    created_at = excluded.created_at, updated_at = excluded.updated_at, rules = excluded.rules,
    revision = excluded.revision;

-- name: put_tenant
-- Insert or replace a tenant by environment and id.
INSERT OR REPLACE INTO tenants (environment, id, name, created_at, rules, revision) VALUES (?, ?, ?, ?, ?, ?);

-- name: put_api_key
-- Insert or replace an API key by key. A hash that another key has is an error, not a replacement.
INSERT INTO api_keys (key, hash, prefix, environment, scope, name, created_at, revoked_at, revision)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    hash = excluded.hash, prefix = excluded.prefix, environment = excluded.environment, scope = excluded.scope,
    name = excluded.name, created_at = excluded.created_at, revoked_at = excluded.revoked_at,
    revision = excluded.revision;

-- name: remember
-- What an Idempotency-Key of a management call made; the first one stays.
INSERT INTO remembered (environment, key, fingerprint, ref) VALUES (?, ?, ?, ?)
ON CONFLICT (environment, key) DO NOTHING;

-- name: recall
-- What an Idempotency-Key of a management call made.
SELECT fingerprint, ref FROM remembered WHERE environment = ?1 AND key = ?2;
