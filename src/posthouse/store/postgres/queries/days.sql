-- name: known_days
-- Those of some days that were made.
SELECT day FROM days WHERE day = ANY($1::integer[]);

-- name: one_changes_days
-- One node at a time makes days, until the end of its transaction.
SELECT day FROM days WHERE day = 0 FOR UPDATE;

-- name: note_day
-- A day was made, or lies in the rest.
INSERT INTO days (day, state) VALUES ($1::integer, $2::text) ON CONFLICT (day) DO NOTHING;
