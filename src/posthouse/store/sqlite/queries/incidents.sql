-- name: open_incident
-- Something may be wrong, unless an incident of this kind is open for this source; in the order of
-- core.inbound.Incident.
INSERT INTO incidents (
    key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
WHERE NOT EXISTS (SELECT 1 FROM incidents WHERE closed_at IS NULL AND kind = ?4 AND source_key = ?5);

-- name: insert_gap
-- Numbers of a stream are missing; in the order of core.inbound.Incident.
INSERT INTO incidents (
    key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: close_incidents
-- Whatever is open of a kind, of a source or of all (NULL), is over.
UPDATE incidents SET closed_at = ?3 WHERE closed_at IS NULL AND kind = ?1 AND (?2 IS NULL OR source_key = ?2);

-- name: list_incidents
-- Incidents, newest first, in the order of core.inbound.Incident.
SELECT key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
FROM incidents
WHERE key < :after AND environment = :environment AND (:tenant IS NULL OR tenant = :tenant)
    AND (:source IS NULL OR source_key = :source) AND (:kind IS NULL OR kind = :kind)
    AND (:open IS NULL OR (closed_at IS NULL) = :open)
ORDER BY key DESC LIMIT :limit;

-- name: all_rhythms
-- How every source usually speaks, as a JSON array of core.inbound.Rhythm.
SELECT json_group_array(
    json_object('source_key', source_key, 'seen_at', seen_at, 'seen', seen, 'pauses', json(pauses), 'day', day)
    ORDER BY source_key
)
FROM rhythms;

-- name: put_rhythm
-- Insert or replace how a source usually speaks; the columns stand in the order of core.inbound.Rhythm.
INSERT OR REPLACE INTO rhythms (source_key, seen_at, seen, pauses, day) VALUES (?, ?, ?, ?, ?);
