-- A job works on what it has counted while it counts the rest, so both have a place of their own.

ALTER TABLE jobs ADD COLUMN counted_event INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN counted_endpoint INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET counted_event = cursor_event, counted_endpoint = cursor_endpoint, cursor_event = 0, cursor_endpoint = 0
WHERE total IS NULL;
