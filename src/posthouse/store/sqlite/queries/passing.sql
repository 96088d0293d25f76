-- name: waiting_in_inbox
-- Which items, out of a JSON array of [source key, request key, position], are in the inbox: their places in the array.
SELECT j.key
FROM json_each(?1) AS j
CROSS JOIN inbox AS i
    ON i.source_key = j.value ->> 0 AND i.request_key = j.value ->> 1 AND i.position = j.value ->> 2;

-- name: delete_inbox_item
-- An item is read, or in quarantine again.
DELETE FROM inbox WHERE source_key = ?1 AND request_key = ?2 AND position = ?3;

-- name: insert_reading
-- What was found in an item of the inbox.
INSERT INTO readings (
    request_key, position, source_key, at, events, duplicates, quarantined, heartbeat, delivery, found
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_arrival
-- Where an event came from.
INSERT INTO arrivals (event_key, source_key, request_key, position, digest, at, unchecked) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_repeat
-- An event came again.
INSERT INTO repeats (event_key, request_key, position, source_key) VALUES (?, ?, ?, ?);

-- name: find_streams
-- What is known of streams, out of a JSON array of [source key, stream].
SELECT s.source_key, s.stream, s.high, s.steps
FROM json_each(?1) AS j
CROSS JOIN streams AS s ON s.source_key = j.value ->> 0 AND s.stream = j.value ->> 1;

-- name: put_stream
-- Insert or replace what is known of a stream.
INSERT OR REPLACE INTO streams (source_key, stream, high, steps) VALUES (?, ?, ?, ?);

-- name: count_open_gaps
-- How many gaps of a source are open.
SELECT count(*) FROM incidents WHERE closed_at IS NULL AND kind = 'sequence_gap' AND source_key = ?1;

-- name: fill_gap
-- A number came late: the gap that holds it is smaller, or closed. Gaps of a stream do not overlap, so only the open
-- one that starts last before it can hold it.
UPDATE incidents SET missing = missing - 1, closed_at = iif(missing > 1, NULL, ?4)
WHERE last >= ?3 AND key = (
    SELECT key FROM incidents
    WHERE closed_at IS NULL AND kind = 'sequence_gap' AND source_key = ?1 AND stream = ?2 AND first <= ?3
    ORDER BY first DESC LIMIT 1
);
