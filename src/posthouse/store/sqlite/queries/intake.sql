-- name: find_identity
-- The event that an identity already stands for.
SELECT i.fingerprint, e.key, e.id, json_array_length(e.owed)
FROM identities AS i JOIN events AS e ON e.key = i.event_key
WHERE i.environment = ?1 AND i.kind = ?2 AND i.value = ?3 AND i.tenant = ?4;

-- name: insert_event
-- One event; the columns stand in the order of core.model.Event, then what it owes.
INSERT INTO events (key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, owed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: note_environment_period
-- An environment has an event of this period.
INSERT INTO environment_periods (environment, period) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: note_tenant_period
-- A tenant has an event of this period.
INSERT INTO tenant_periods (environment, tenant, period) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: claim_identity
-- One identity of an event, unless it stands for something already. One whose event is gone stands for nothing.
INSERT INTO identities (environment, kind, value, tenant, fingerprint, event_key) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, kind, value, tenant)
DO UPDATE SET fingerprint = excluded.fingerprint, event_key = excluded.event_key
WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.key = identities.event_key);

-- name: insert_obligation
-- One delivery that is owed from now on: first round, nothing attempted.
INSERT INTO obligations (
    event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, ordering_key, behind
)
VALUES (?, ?, ?, ?, 0, 1, 0, ?, NULL, 0);

-- name: insert_tenant_if_new
-- A tenant that an event named first.
INSERT INTO tenants (environment, id, name, created_at, rules, revision) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (environment, id) DO NOTHING;
