-- The events that came in through a source, to list them and for jobs. The reasons stand in schema.sql.

CREATE INDEX arrivals_by_source ON arrivals (source_key);
