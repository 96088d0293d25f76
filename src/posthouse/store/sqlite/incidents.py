"""What may be wrong with what comes in, and how each source usually speaks."""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.inbound import Incident, IncidentKind, Rhythm
from posthouse.store.protocol import IncidentQuery
from posthouse.store.sqlite.planning import write_rows
from posthouse.store.sqlite.rows import ENVIRONMENTS, INTEGER_MAX, rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_ALL_RHYTHMS: Final = SQL["all_rhythms"]
_CLOSE_INCIDENTS: Final = SQL["close_incidents"]
_LIST_INCIDENTS: Final = SQL["list_incidents"]
_OPEN_INCIDENT: Final = SQL["open_incident"]
_PUT_RHYTHM: Final = SQL["put_rhythm"]

_RHYTHMS: Final = msgspec.json.Decoder(list[Rhythm])

_encode = msgspec.json.Encoder().encode


def open_incident(connection: apsw.Connection, incident: Incident) -> Steps[bool]:
    """Record it, unless one of its kind is open for its source; whether it was recorded."""
    connection.execute(_OPEN_INCIDENT, astuple(incident))
    recorded = connection.changes() > 0
    yield 1
    return recorded


def close_incidents(connection: apsw.Connection, kind: IncidentKind, source_key: int, now: int) -> Steps[bool]:
    """Close what is open of this kind of a source; whether there was something."""
    connection.execute(_CLOSE_INCIDENTS, (kind, source_key, now))
    closed = connection.changes()
    yield closed
    return closed > 0


def list_incidents(connection: apsw.Connection, query: IncidentQuery) -> list[Incident]:
    """Incidents, newest first."""
    bindings = {
        "environment": query.environment,
        "tenant": query.tenant,
        "source": query.source_key,
        "kind": query.kind,
        "open": query.is_open,
        "after": INTEGER_MAX if query.after is None else query.after,
        "limit": query.limit,
    }
    incidents = []
    for row in rows_of(connection, _LIST_INCIDENTS, bindings):
        values = dict(zip(Incident.__struct_fields__, row, strict=True))
        values["environment"] = ENVIRONMENTS[values["environment"]]
        values["kind"] = IncidentKind(values["kind"])
        incidents.append(Incident(**values))
    return incidents


def list_rhythms(connection: apsw.Connection) -> list[Rhythm]:
    """How each source usually speaks, by source."""
    return _RHYTHMS.decode(value_of(connection, _ALL_RHYTHMS))


def put_rhythms(connection: apsw.Connection, rhythms: Sequence[Rhythm]) -> Steps[None]:
    """Insert or replace all of them."""
    rows = [(r.source_key, r.seen_at, r.seen, _encode(r.pauses).decode(), r.day) for r in rhythms]
    yield from write_rows(connection, _PUT_RHYTHM, rows)
