-- Which version of the catalogue made each thing as it is: copies read what is newer than they are, and who writes says
-- what was known of the thing. What is there already counts as made by the latest one.

ALTER TABLE endpoints ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

UPDATE endpoints SET revision = (SELECT max(version, 1) FROM catalogue);
UPDATE tenants SET revision = (SELECT max(version, 1) FROM catalogue);
UPDATE api_keys SET revision = (SELECT max(version, 1) FROM catalogue);
UPDATE sources SET revision = (SELECT max(version, 1) FROM catalogue);

CREATE INDEX endpoints_by_revision ON endpoints (revision);
CREATE INDEX tenants_by_revision ON tenants (revision);
CREATE INDEX api_keys_by_revision ON api_keys (revision);
CREATE INDEX sources_by_revision ON sources (revision);

DROP VIEW endpoint_documents;
CREATE VIEW endpoint_documents AS
SELECT key, state, revision, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'url', url, 'events', json(events),
    'state', state, 'state_reason', state_reason, 'description', description, 'headers', json(headers),
    'secrets', json(secrets), 'retry', retry, 'connect_timeout_ms', connect_timeout_ms,
    'timeout_ms', timeout_ms, 'created_at', created_at, 'updated_at', updated_at, 'rules', json(rules),
    'revision', revision
) AS document
FROM endpoints;

DROP VIEW source_documents;
CREATE VIEW source_documents AS
SELECT key, revision, json_object(
    'key', key, 'environment', environment, 'tenant', tenant, 'name', name, 'provider', provider, 'token', token,
    'secrets', json(secrets), 'state', state, 'description', description, 'created_at', created_at,
    'updated_at', updated_at, 'rules', json(rules), 'revision', revision
) AS document
FROM sources;
