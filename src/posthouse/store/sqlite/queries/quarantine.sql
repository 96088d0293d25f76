-- name: insert_refused
-- A request that was refused.
INSERT INTO quarantine (
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, bytes
)
VALUES (?, -1, ?, ?, ?, ?, ?, NULL, ?, 0, ?);

-- name: put_doubt
-- What is not passed on although its sender was told that it is taken; what was here before is here again.
INSERT INTO quarantine (
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, bytes
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0)
ON CONFLICT (request_key, position) DO UPDATE SET
    objection = excluded.objection, detail = excluded.detail, type = coalesce(excluded.type, type), at = excluded.at,
    resolution = NULL, resolved_at = NULL;

-- name: resolve_quarantined
-- An entry leaves the quarantine; nothing if it is not in it, or never expires.
UPDATE quarantine SET resolution = ?3, resolved_at = ?4
WHERE request_key = ?1 AND position = ?2 AND resolution IS NULL AND (?3 <> 'expired' OR acknowledged = 0)
RETURNING source_key, objection;

-- name: delete_request
-- A refused request that nobody asked for in time.
DELETE FROM requests WHERE key = ?1;

-- name: expired_in_quarantine
-- What was refused before a given time and is in quarantine, oldest first.
SELECT request_key, position FROM quarantine
WHERE resolution IS NULL AND acknowledged = 0 AND at < ?1 ORDER BY at, request_key, position LIMIT ?2;

-- name: quarantined_bytes
-- Bytes of the refused requests in quarantine, by source.
SELECT source_key, sum(bytes) FROM quarantine WHERE resolution IS NULL AND acknowledged = 0 GROUP BY source_key;

-- name: quarantine_of_source_newest_first
-- What is in quarantine of a source, newest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND source_key = :source AND (request_key, position) < (:after_request, :after_position)
    AND environment = :environment AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key DESC, position DESC LIMIT :limit;

-- name: quarantine_of_environment_newest_first
-- What is in quarantine of an environment, newest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND environment = :environment AND (request_key, position) < (:after_request, :after_position)
    AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key DESC, position DESC LIMIT :limit;

-- name: resolved_newest_first
-- What left the quarantine, newest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NOT NULL AND (request_key, position) < (:after_request, :after_position)
    AND environment = :environment AND (:source IS NULL OR source_key = :source)
    AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key DESC, position DESC LIMIT :limit;

-- name: quarantine_of_source_oldest_first
-- What is in quarantine of a source, oldest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND source_key = :source AND (request_key, position) > (:after_request, :after_position)
    AND environment = :environment AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key, position LIMIT :limit;

-- name: quarantine_of_environment_oldest_first
-- What is in quarantine of an environment, oldest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NULL AND environment = :environment AND (request_key, position) > (:after_request, :after_position)
    AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key, position LIMIT :limit;

-- name: resolved_oldest_first
-- What left the quarantine, oldest first, in the order of core.inbound.Quarantined.
SELECT
    request_key, position, source_key, environment, tenant, objection, detail, type, at, acknowledged, resolution,
    resolved_at
FROM quarantine
WHERE resolution IS NOT NULL AND (request_key, position) > (:after_request, :after_position)
    AND environment = :environment AND (:source IS NULL OR source_key = :source)
    AND (:tenant IS NULL OR tenant = :tenant)
    AND (:objections IS NULL OR objection IN (SELECT value FROM json_each(:objections)))
ORDER BY request_key, position LIMIT :limit;
