"""The tables of both engines side by side: the one place that knows where they differ.

A row on its way from one engine to another is a tuple of the columns of :class:`Table`, each value in the form that
:class:`Kind` says. Every table and every column of either engine stands here; a test names what does not.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from posthouse.core.model import slot_of

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"


class Kind(Enum):
    """What a value is while it is on its way; the value names its type in PostgreSQL."""

    INTEGER = "bigint"
    TEXT = (
        "text"  #: JSON documents too: character by character. PostgreSQL has U+FFFD in the place of the zero character
    )
    BYTES = "bytea"
    FLAG = "boolean"  #: SQLite has 0 and 1
    REAL = "double precision"
    KEYS = "bigint[]"  #: SQLite has them as a JSON array


class Carried(Enum):
    """What becomes of a table's rows when a store moves."""

    COMPARED = "compared"  #: copied while the source serves; what the marks of a range show to be different, again
    WHOLE = "whole"  #: rows change: copied when nobody writes any more
    STAYS = "stays"  #: of the store itself, of nodes that run, or a row to lock: the other store has its own


class Column(NamedTuple):
    """A column, by its name in the engines that have it."""

    name: str
    kind: Kind
    asked: str | None = None  #: SQLite has none: the expression that gives it, where the table's rows are ``t``
    made: Callable[[Any], Any] | None = None  #: SQLite has none: what makes it of the value that ``asked`` gives


class Table(NamedTuple):
    """A table, by its name in both engines."""

    name: str
    carried: Carried
    columns: tuple[Column, ...] = ()
    order: tuple[str, ...] = ()  #: columns that no two rows share, and that both engines find a row by
    marks: tuple[str, ...] = ()  #: integers; in a range their sums are equal only if its rows are the same
    #: Columns that only one engine has, by engine, and what stands there in the rows that are carried.
    fixed: Mapping[str, Mapping[str, int]] = {}
    #: Columns that are only written, and what: what stood there belonged to nodes of the other store.
    void: Mapping[str, int | bool | None] = {}
    may_be_lost: bool = False  #: without it the store makes it anew

    def columns_in(self, engine: str) -> tuple[Column, ...]:
        """Those of the carried columns that the engine has."""
        return tuple(column for column in self.columns if engine == POSTGRESQL or column.asked is None)


def _column(words: str) -> Column:
    name, _, kind = words.partition(" ")
    return Column(name, Kind[(kind or "integer").upper()])


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(_column(words.strip()) for words in text.split(","))


def _compared(name: str, columns: str, order: str, marks: str, *more: Column) -> Table:
    return Table(name, Carried.COMPARED, (*_columns(columns), *more), tuple(order.split()), tuple(marks.split()))


def _whole(name: str, columns: str, order: str, *more: Column, **options: Any) -> Table:
    return Table(name, Carried.WHOLE, (*_columns(columns), *more), tuple(order.split()), **options)


_OF_EVENT: Final = "(SELECT e.{} FROM events AS e WHERE e.key = t.event_key)"

TABLES: Final = (
    # What never changes, events first: what hangs on one is never there without it.
    _compared(
        "events",
        "key, id text, environment text, tenant text, type text, accepted_at, occurred_at, ordering_key text, "
        "owed keys, data bytes",
        "key",
        "key",
    ),
    _compared(
        "identities",
        "environment text, kind text, value text, tenant text, fingerprint bytes, event_key",
        "environment kind value tenant",
        "event_key",
        Column("event_id", Kind.TEXT, _OF_EVENT.format("id")),
        Column("owed", Kind.INTEGER, f"json_array_length({_OF_EVENT.format('owed')})"),
    ),
    _compared("environment_periods", "environment text, period", "environment period", "period"),
    _compared("tenant_periods", "environment text, tenant text, period", "environment tenant period", "period"),
    _compared("endpoint_periods", "endpoint_key, period", "endpoint_key period", "endpoint_key period"),
    _compared(
        "history",
        "event_key, endpoint_key, round, state text, reason text, lane, attempts, opened_at, settled_at",
        "event_key endpoint_key round",
        "event_key endpoint_key round",
    ),
    _compared(
        "reopened",
        "event_key, endpoint_key, round, previous_state text, previous_reason text, at",
        "event_key endpoint_key round",
        "event_key endpoint_key round",
    ),
    _compared(
        "attempts",
        "event_key, endpoint_key, number, started_at, outcome text, status, error text, peer text, dns_us, connect_us, "
        "tls_us, first_byte_us, total_us, reused flag, response_headers text, response_body bytes",
        "event_key endpoint_key number",
        "event_key endpoint_key number",
    ),
    _compared("remembered", "environment text, key text, fingerprint bytes, ref", "environment key", "ref"),
    _compared(
        "requests",
        "key, source_key, environment text, tenant text, received_at, method text, url text, head text, verdict text, "
        "status, body bytes",
        "key",
        "key",
    ),
    _compared("inbound_environment_periods", "environment text, period", "environment period", "period"),
    _compared("inbound_tenant_periods", "environment text, tenant text, period", "environment tenant period", "period"),
    _compared("source_periods", "source_key, period", "source_key period", "source_key period"),
    _compared(
        "readings",
        "request_key, position, source_key, at, events, duplicates, quarantined, heartbeat flag, delivery text, "
        "found text",
        "request_key position",
        "request_key position",
    ),
    _compared(
        "arrivals",
        "event_key, source_key, request_key, position, digest bytes, at, unchecked flag",
        "event_key",
        "event_key",
    ),
    _compared(
        "repeats",
        "event_key, request_key, position, source_key",
        "event_key request_key position",
        "event_key request_key position",
    ),
    Table(
        "seen",
        Carried.COMPARED,
        (
            *_columns("source_key, digest bytes, event_key, at"),
            Column("event_id", Kind.TEXT, f"coalesce({_OF_EVENT.format('id')}, '')"),
        ),
        ("source_key", "digest"),
        ("event_key", "at"),
        may_be_lost=True,
    ),
    # What changes.
    _whole("catalogue", "version", "version", fixed={SQLITE: {"one": 1}, POSTGRESQL: {"lane": 0}}),
    _whole(
        "endpoints",
        "key, environment text, tenant text, url text, events text, state text, state_reason text, description text, "
        "headers text, secrets text, retry text, connect_timeout_ms, timeout_ms, created_at, updated_at, rules text, "
        "revision",
        "key",
    ),
    _whole("tenants", "environment text, id text, name text, created_at, rules text, revision", "environment id"),
    _whole(
        "api_keys",
        "key, hash bytes, prefix text, environment text, scope text, name text, created_at, revoked_at, revision",
        "key",
    ),
    _whole(
        "sources",
        "key, environment text, tenant text, name text, provider text, token text, secrets text, state text, "
        "description text, created_at, updated_at, rules text, revision",
        "key",
    ),
    _whole(
        "obligations",
        "event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at, ordering_key text, "
        "behind flag",
        "event_key endpoint_key",
        Column("slot", Kind.INTEGER, "t.endpoint_key", slot_of),
    ),
    _whole(
        "health",
        "endpoint_key, failing_since, opened_at, probes, warned, usual_rate real",
        "endpoint_key",
        Column("slot", Kind.INTEGER, "t.endpoint_key", slot_of),
    ),
    _whole(
        "jobs",
        "key, environment text, kind text, filter text, mode text, dry_run flag, rate text, state text, total, "
        "counted, done, skipped, cursor_event, cursor_endpoint, created_at, started_at, finished_at, error text, "
        "trail text, counted_event, counted_endpoint",
        "key",
    ),
    _whole(
        "inbox",
        "source_key, request_key, position, waived text, attempts, due_at",
        "source_key request_key position",
    ),
    _whole(
        "quarantine",
        "request_key, position, source_key, environment text, tenant text, objection text, detail text, type text, at, "
        "acknowledged flag, bytes, resolution text, resolved_at",
        "request_key position",
    ),
    _whole("streams", "source_key, stream text, high, steps", "source_key stream"),
    _whole(
        "incidents",
        "key, environment text, tenant text, kind text, source_key, opened_at, closed_at, detail text, stream text, "
        "first, last, missing",
        "key",
    ),
    _whole("rhythms", "source_key, seen_at, seen, pauses text, day", "source_key"),
    _whole("slots", "slot, epoch", "slot", void={"owner": None, "lease_until": 0, "unquiet": False}),
    # What stays.
    Table("custody", Carried.STAYS),
    Table("days", Carried.STAYS),
    Table("posthouse_outbox_v1", Carried.STAYS),  # of the database: who publishes there goes on doing so
    Table("posthouse_outbox_v1_doubts", Carried.STAYS),
    Table("posthouse_outbox_v1_head", Carried.STAYS),
    Table("migrations", Carried.STAYS),
    Table("nodes", Carried.STAYS),
    Table("node_numbers", Carried.STAYS),
    Table("probe", Carried.STAYS),
    Table("order_guards", Carried.STAYS),
    Table("source_guards", Carried.STAYS),
)

#: Tables whose rows no archive of PostgreSQL has: a restored store makes its own.
LEFT_OUT: Final = frozenset(table.name for table in TABLES if table.carried is Carried.STAYS)
#: Tables that a store can be without; it makes them anew.
MAY_BE_LOST: Final = frozenset(table.name for table in TABLES if table.may_be_lost)
CARRIED: Final = tuple(table for table in TABLES if table.carried is not Carried.STAYS)
