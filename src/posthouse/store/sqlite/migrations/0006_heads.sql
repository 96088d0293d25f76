-- The headers of a request stand as they came: nobody decodes them before somebody wants one.

ALTER TABLE requests RENAME COLUMN headers TO head;
UPDATE requests SET head = (
    SELECT ifnull(group_concat((h.value ->> 0) || ': ' || (h.value ->> 1) || char(13, 10), ''), '')
    FROM json_each(requests.head) AS h
);
