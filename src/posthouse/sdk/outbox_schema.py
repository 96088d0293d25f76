"""The tables of the outbox, as they are for ever: what stands behind ``posthouse outbox schema``."""

import re
from typing import Final

SCHEMA: Final = "posthouse"  #: of the tables, unless another one is named
TABLE: Final = "posthouse_outbox_v1"

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_TABLES: Final = """\
-- Where applications write events in transactions of their own: one INSERT an event.
CREATE TABLE IF NOT EXISTS {schema}.posthouse_outbox_v1 (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL DEFAULT gen_random_uuid()::text,
    environment text NOT NULL DEFAULT 'live',
    tenant text,
    type text NOT NULL,
    occurred_at bigint,
    ordering_key text,
    data bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
-- Whoever drains holds this row; `source` names the outbox.
CREATE TABLE IF NOT EXISTS {schema}.posthouse_outbox_v1_head (
    one smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    source text NOT NULL DEFAULT gen_random_uuid()::text
);
INSERT INTO {schema}.posthouse_outbox_v1_head DEFAULT VALUES ON CONFLICT DO NOTHING;
-- Rows that cannot be events, and why.
CREATE TABLE IF NOT EXISTS {schema}.posthouse_outbox_v1_doubts (
    doubt bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    n bigint NOT NULL,
    id text NOT NULL,
    environment text NOT NULL,
    tenant text,
    type text NOT NULL,
    occurred_at bigint,
    ordering_key text,
    data bytea NOT NULL,
    published_at timestamptz NOT NULL,
    code text NOT NULL,
    why text NOT NULL,
    doubted_at timestamptz NOT NULL DEFAULT now()
);
"""
_FOR_APPLICATION: Final = """\
-- What the application needs to publish.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT INSERT ON {schema}.posthouse_outbox_v1 TO {role};
"""
_FOR_GATEWAY: Final = """\
-- What the gateway needs to drain.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, DELETE ON {schema}.posthouse_outbox_v1 TO {role};
GRANT SELECT, UPDATE ON {schema}.posthouse_outbox_v1_head TO {role};
GRANT SELECT, INSERT ON {schema}.posthouse_outbox_v1_doubts TO {role};
"""


def plain_name(name: str) -> str:
    """``name`` if it may stand in a statement as it is: lower case letters, digits and _. Raises ValueError."""
    if _PLAIN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no plain name: it takes a-z, 0-9 and _, and begins with no digit.")
    return name


def outbox_schema(*, schema: str = SCHEMA, application: str | None = None, gateway: str | None = None) -> str:
    """The script that makes the tables where they are not there yet; running it again changes nothing.

    Args:
        schema: Where the tables stand.
        application: A role that is to publish.
        gateway: A role that is to drain.

    Raises:
        ValueError: A name is not a plain one.
    """
    plain_name(schema)
    parts = [f"CREATE SCHEMA IF NOT EXISTS {schema};\n", _TABLES.format(schema=schema)]
    for grants, role in ((_FOR_APPLICATION, application), (_FOR_GATEWAY, gateway)):
        if role is not None:
            parts.append(grants.format(schema=schema, role=plain_name(role)))
    return "".join(parts)
