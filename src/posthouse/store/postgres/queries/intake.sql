-- name: accept
-- All that requests write, if the catalogue is what they were routed by: one row of $1, the lane, says its version.
-- A request one of whose identities stands for something already writes nothing; each such identity is answered, with
-- what it stands for. The share lock decides by what is committed when it is had, keeps the catalogue as it is until
-- this is durable, and makes even an answer that writes nothing wait for that. Parts that nothing refers to run from the
-- last to the first: identities come first, as everywhere, so that nobody waits in a circle.
WITH fence AS MATERIALIZED (SELECT version FROM catalogue WHERE lane = $1 FOR SHARE),
claims AS MATERIALIZED (
    SELECT c.request, c.environment, c.kind, c.value, c.tenant, c.fingerprint, c.event_key, c.event_id, c.owed
    FROM fence, unnest(
        $20::integer[], $21::text[], $22::text[], $23::text[], $24::text[], $25::bytea[], $26::bigint[], $27::text[],
        $28::integer[]
    ) AS c(request, environment, kind, value, tenant, fingerprint, event_key, event_id, owed)
    WHERE fence.version = $2
),
known AS MATERIALIZED (
    SELECT c.request, k.environment, k.kind, k.value, k.tenant, k.fingerprint, k.event_key, k.event_id, k.owed
    FROM claims AS c
    JOIN identities AS k
        ON k.environment = c.environment AND k.kind = c.kind AND k.value = c.value AND k.tenant = c.tenant
),
new_environment_periods AS (
    INSERT INTO environment_periods (environment, period)
    SELECT p.environment, p.period FROM fence, unnest($33::text[], $34::bigint[]) AS p(environment, period)
    WHERE fence.version = $2
    ON CONFLICT (environment, period) DO NOTHING
),
new_tenant_periods AS (
    INSERT INTO tenant_periods (environment, tenant, period)
    SELECT p.environment, p.tenant, p.period
    FROM fence, unnest($30::text[], $31::text[], $32::bigint[]) AS p(environment, tenant, period)
    WHERE fence.version = $2
    ON CONFLICT (environment, tenant, period) DO NOTHING
),
new_obligations AS (
    INSERT INTO obligations (
        event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
    )
    SELECT o.event_key, o.endpoint_key, o.due_at, o.opened_at, 0, 1, 0, o.slot, o.lane, false, NULL
    FROM fence, unnest(
        $14::integer[], $15::bigint[], $16::bigint[], $17::smallint[], $18::bigint[], $19::bigint[], $29::smallint[]
    ) AS o(request, event_key, endpoint_key, lane, due_at, opened_at, slot)
    WHERE fence.version = $2 AND o.request NOT IN (SELECT request FROM known)
),
new_events AS (
    INSERT INTO events (key, id, environment, tenant, type, accepted_at, occurred_at, ordering_key, owed, data)
    SELECT
        e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.occurred_at, e.ordering_key, e.owed::bigint[], e.data
    FROM fence, unnest(
        $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bytea[],
        $11::bigint[], $12::text[], $13::text[]
    ) AS e(request, key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, owed)
    WHERE fence.version = $2 AND e.request NOT IN (SELECT request FROM known)
),
new_commit AS (
    INSERT INTO feed_commits (place, first_key, last_key, size, keys)
    SELECT
        (SELECT base FROM feed_base) + pg_current_xact_id()::text::bigint,
        min(e.key), max(e.key), count(*), array_agg(e.key ORDER BY e.key)
    FROM fence, unnest($3::integer[], $4::bigint[]) AS e(request, key)
    WHERE fence.version = $2 AND e.request NOT IN (SELECT request FROM known)
    HAVING count(*) > 0
),
new_identities AS (
    INSERT INTO identities (environment, kind, value, tenant, fingerprint, event_key, event_id, owed)
    SELECT environment, kind, value, tenant, fingerprint, event_key, event_id, owed FROM claims
    WHERE request NOT IN (SELECT request FROM known)
)
SELECT
    fence.version, k.request, k.environment, k.kind, k.value, k.tenant, k.fingerprint, k.event_key, k.event_id, k.owed
FROM fence LEFT JOIN known AS k ON true;

-- name: find_identities
-- What those identities stand for that are in the store.
SELECT k.environment, k.kind, k.value, k.tenant, k.fingerprint, k.event_key, k.event_id, k.owed
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS i(environment, kind, value, tenant)
JOIN identities AS k
    ON k.environment = i.environment AND k.kind = i.kind AND k.value = i.value AND k.tenant = i.tenant;

-- name: claim_identities
-- Identities of events; one that stands for something already fails them all.
INSERT INTO identities (environment, kind, value, tenant, fingerprint, event_key, event_id, owed)
SELECT i.environment, i.kind, i.value, i.tenant, i.fingerprint, i.event_key, i.event_id, i.owed
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::text[], $8::integer[]
) AS i(environment, kind, value, tenant, fingerprint, event_key, event_id, owed);

-- name: insert_events
-- Events, and where to look for them; the tables are written in the sequence in which accept writes them.
WITH new_environment_periods AS (
    INSERT INTO environment_periods (environment, period)
    SELECT p.environment, p.period FROM unnest($14::text[], $15::bigint[]) AS p(environment, period)
    ON CONFLICT (environment, period) DO NOTHING
),
new_tenant_periods AS (
    INSERT INTO tenant_periods (environment, tenant, period)
    SELECT p.environment, p.tenant, p.period
    FROM unnest($11::text[], $12::text[], $13::bigint[]) AS p(environment, tenant, period)
    ON CONFLICT (environment, tenant, period) DO NOTHING
),
new_commit AS (
    INSERT INTO feed_commits (place, first_key, last_key, size, keys)
    SELECT
        (SELECT base FROM feed_base) + pg_current_xact_id()::text::bigint,
        min(key), max(key), count(*), array_agg(key ORDER BY key)
    FROM unnest($1::bigint[]) AS e(key)
    HAVING count(*) > 0
    ON CONFLICT (place) DO UPDATE SET  -- a transaction may accept several times
        last_key = greatest(feed_commits.last_key, excluded.last_key),
        size = feed_commits.size + excluded.size,
        keys = feed_commits.keys || excluded.keys
)
INSERT INTO events (key, id, environment, tenant, type, accepted_at, occurred_at, ordering_key, owed, data)
SELECT
    e.key, e.id, e.environment, e.tenant, e.type, e.accepted_at, e.occurred_at, e.ordering_key, e.owed::bigint[], e.data
FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[], $8::bigint[], $9::text[],
    $10::text[]
) AS e(key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key, owed);

-- name: insert_obligations
-- Deliveries that are owed from now on and keep no order: first round, nothing attempted.
INSERT INTO obligations (
    event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
)
SELECT o.event_key, o.endpoint_key, o.due_at, o.opened_at, 0, 1, 0, o.slot, o.lane, false, NULL
FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::smallint[])
    AS o(event_key, endpoint_key, lane, due_at, opened_at, slot);

-- name: insert_tenants
-- Tenants that an event named first, with the version that they make; those that exist stay as they are.
INSERT INTO tenants (environment, id, name, created_at, rules, revision)
SELECT t.environment, t.id, t.name, t.created_at, '{}', $5
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS t(environment, id, name, created_at)
ON CONFLICT (environment, id) DO NOTHING;
