"""Recounting the books; what the counts mean is said in :mod:`posthouse.store.shared.books`."""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core.model import Environment
from posthouse.store.protocol import Books
from posthouse.store.shared.books import Recount, books_of
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL

_BYGONE: Final = SQL["audit_bygone"]
_ENDPOINTS: Final = SQL["audit_endpoints"]
_OPEN: Final = SQL["audit_open"]
_OWED: Final = SQL["audit_owed"]
_REOPENED: Final = SQL["audit_reopened"]
_SETTLED: Final = SQL["audit_settled"]


def audit(connection: apsw.Connection, environment: Environment, tenant: str | None) -> list[Books]:
    """The books of every endpoint with deliveries, in the one snapshot that ``connection`` stands in."""
    recount = Recount(
        owed=_rows(connection, _OWED),
        settled=_rows(connection, _SETTLED),
        reopened=_rows(connection, _REOPENED),
        open=_rows(connection, _OPEN),
        endpoints=_rows(connection, _ENDPOINTS),
        bygone=_rows(connection, _BYGONE),
    )
    return books_of(recount, environment, tenant)


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    rows: list[Any] = msgspec.json.decode(value_of(connection, statement))
    return rows
