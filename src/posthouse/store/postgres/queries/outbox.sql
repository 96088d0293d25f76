-- name: outbox_waits
-- Whether anything stands in the outbox.
SELECT EXISTS (SELECT FROM posthouse_outbox_v1 ORDER BY n LIMIT 1) AS waits;

-- name: outbox_head
-- Whose turn it is to drain: whoever holds this row until its transaction ends. Who comes meanwhile gets none, and does
-- not wait. (No row of the outbox itself is ever skipped: that would put younger ones before older ones.)
SELECT source FROM posthouse_outbox_v1_head WHERE one = 1 FOR UPDATE SKIP LOCKED;

-- name: outbox_rows
-- The first rows by their numbers, at most $1 of them and of $2 bytes together (but always one); names cut off where
-- they are too long for anything, and no data of more than $3 bytes.
SELECT
    c.n,
    left(c.id, 1000) AS id,
    left(c.environment, 1000) AS environment,
    left(c.tenant, 1000) AS tenant,
    left(c.type, 1000) AS type,
    c.occurred_at,
    left(c.ordering_key, 1000) AS ordering_key,
    CASE WHEN octet_length(c.data) <= $3::bigint THEN c.data END AS data,
    (extract(epoch FROM c.published_at) * 1000)::bigint AS published_at
FROM (
    SELECT
        f.n, f.id, f.environment, f.tenant, f.type, f.occurred_at, f.ordering_key, f.data, f.published_at,
        sum(octet_length(f.data)) OVER (ORDER BY f.n) AS bytes
    FROM (
        SELECT n, id, environment, tenant, type, occurred_at, ordering_key, data, published_at
        FROM posthouse_outbox_v1 ORDER BY n LIMIT $1::bigint
    ) AS f
) AS c
WHERE c.bytes - octet_length(c.data) < $2::bigint
ORDER BY c.n;

-- name: delete_outbox
-- These rows are events now.
DELETE FROM posthouse_outbox_v1 WHERE n = ANY ($1::bigint[]);

-- name: doubt_outbox
-- These rows cannot be events: put them aside, whole, with the reason.
WITH gone AS (
    DELETE FROM posthouse_outbox_v1 AS o USING unnest($1::bigint[], $2::text[], $3::text[]) AS d (n, code, why)
    WHERE o.n = d.n
    RETURNING o.n, o.id, o.environment, o.tenant, o.type, o.occurred_at, o.ordering_key, o.data, o.published_at,
        d.code, d.why
)
INSERT INTO posthouse_outbox_v1_doubts
    (n, id, environment, tenant, type, occurred_at, ordering_key, data, published_at, code, why)
SELECT n, id, environment, tenant, type, occurred_at, ordering_key, data, published_at, code, why FROM gone;

-- name: outbox_status
-- What stands in the outbox, counted up to $1 rows.
SELECT
    h.source,
    (SELECT count(*) FROM (SELECT FROM posthouse_outbox_v1 LIMIT $1::bigint) AS w) AS waiting,
    (
        SELECT (extract(epoch FROM o.published_at) * 1000)::bigint FROM posthouse_outbox_v1 AS o ORDER BY o.n LIMIT 1
    ) AS oldest_at,
    (SELECT count(*) FROM (SELECT FROM posthouse_outbox_v1_doubts LIMIT $1::bigint) AS d) AS doubts
FROM posthouse_outbox_v1_head AS h WHERE h.one = 1;
