"""The rows from which the books of sources are recounted."""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core.model import Environment
from posthouse.store.protocol import SourceBooks
from posthouse.store.shared.source_books import COLUMNS, source_books
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL

_BYGONE: Final = SQL["audit_bygone_requests"]
_SOURCES: Final = SQL["audit_sources"]

_TOLD: Final = {
    "audit_requests": SQL["audit_requests"],
    "audit_inbox": SQL["audit_inbox"],
    "audit_readings": SQL["audit_readings"],
    "audit_arrivals": SQL["audit_arrivals"],
    "audit_repeats": SQL["audit_repeats"],
    "audit_quarantine": SQL["audit_quarantine"],
}


def audit(connection: apsw.Connection, environment: Environment, tenant: str | None) -> list[SourceBooks]:
    """The books of every source with requests, in the one snapshot that ``connection`` stands in."""
    told = {name: _rows(connection, _TOLD[name]) for name in COLUMNS}
    return source_books(_rows(connection, _SOURCES), told, _rows(connection, _BYGONE), environment, tenant)


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    rows: list[Any] = msgspec.json.decode(value_of(connection, statement))
    return rows
