-- name: catalogue_version
-- The version that routes are compared with.
SELECT version FROM catalogue WHERE one = 1;

-- name: raise_catalogue_version
-- One more change; the new version.
UPDATE catalogue SET version = version + 1 WHERE one = 1 RETURNING version;

-- name: all_endpoints
-- Every endpoint that is not deleted, by key, as one JSON document.
SELECT json_group_array(json(document) ORDER BY key) FROM endpoint_documents WHERE state <> 'deleted';

-- name: one_endpoint
-- One endpoint as a JSON document.
SELECT document FROM endpoint_documents WHERE key = ?1;

-- name: all_sources
-- Every source, by key, as one JSON document.
SELECT json_group_array(json(document) ORDER BY key) FROM source_documents;

-- name: all_tenants
-- Every tenant as one JSON document.
SELECT json_group_array(
    json_object('environment', environment, 'id', id, 'name', name, 'created_at', created_at, 'rules', json(rules))
    ORDER BY environment, id
)
FROM tenants;

-- name: all_api_keys
-- Every API key that is not revoked, by key, as one JSON document; the hash in hexadecimal.
SELECT json_group_array(
    json_object(
        'key', key, 'hash', hex(hash), 'prefix', prefix, 'environment', environment, 'scope', scope,
        'name', name, 'created_at', created_at
    )
    ORDER BY key
)
FROM api_keys WHERE revoked_at IS NULL;

-- name: put_endpoint
-- Insert or replace an endpoint by key.
INSERT OR REPLACE INTO endpoints (
    key, environment, tenant, url, events, state, state_reason, description, headers, secrets, retry,
    connect_timeout_ms, timeout_ms, created_at, updated_at, rules
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: set_endpoint_state
-- Change only the state of an endpoint.
UPDATE endpoints SET state = ?2, state_reason = ?3, updated_at = ?4 WHERE key = ?1;

-- name: put_source
-- Insert or replace a source by key. A token that another source has is an error, not a replacement.
INSERT INTO sources (
    key, environment, tenant, name, provider, token, secrets, state, description, created_at, updated_at, rules
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    environment = excluded.environment, tenant = excluded.tenant, name = excluded.name, provider = excluded.provider,
    token = excluded.token, secrets = excluded.secrets, state = excluded.state, description = excluded.description,
    created_at = excluded.created_at, updated_at = excluded.updated_at, rules = excluded.rules;

-- name: put_tenant
-- Insert or replace a tenant by environment and id.
INSERT OR REPLACE INTO tenants (environment, id, name, created_at, rules) VALUES (?, ?, ?, ?, ?);

-- name: put_api_key
-- Insert or replace an API key by key. A hash that another key has is an error, not a replacement.
INSERT INTO api_keys (key, hash, prefix, environment, scope, name, created_at, revoked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    hash = excluded.hash, prefix = excluded.prefix, environment = excluded.environment, scope = excluded.scope,
    name = excluded.name, created_at = excluded.created_at, revoked_at = excluded.revoked_at;

-- name: remember
-- What an Idempotency-Key of a management call made; the first one stays.
INSERT INTO remembered (environment, key, fingerprint, ref) VALUES (?, ?, ?, ?)
ON CONFLICT (environment, key) DO NOTHING;

-- name: recall
-- What an Idempotency-Key of a management call made.
SELECT fingerprint, ref FROM remembered WHERE environment = ?1 AND key = ?2;
