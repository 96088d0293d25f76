"""The quarantine: what is in it, and how it leaves."""

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.inbound import WHOLE, Objection, Quarantined, Resolution
from posthouse.store.protocol import QuarantineQuery
from posthouse.store.sqlite.planning import Row, write_rows
from posthouse.store.sqlite.rows import ENVIRONMENTS, INTEGER_MAX, rows_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_DELETE_REQUEST: Final = SQL["delete_request"]
_EXPIRED: Final = SQL["expired_in_quarantine"]
_INSERT_INBOX_ITEM: Final = SQL["insert_inbox_item"]
_QUARANTINED_BYTES: Final = SQL["quarantined_bytes"]
_RESOLVE: Final = SQL["resolve_quarantined"]

_OF_ENVIRONMENT: Final = (SQL["quarantine_of_environment_newest_first"], SQL["quarantine_of_environment_oldest_first"])
_OF_SOURCE: Final = (SQL["quarantine_of_source_newest_first"], SQL["quarantine_of_source_oldest_first"])
_RESOLVED: Final = (SQL["resolved_newest_first"], SQL["resolved_oldest_first"])

_BEFORE_ALL: Final = (-1, WHOLE)
_BEHIND_ALL: Final = (INTEGER_MAX, WHOLE)

_encode = msgspec.json.Encoder().encode


def list_entries(connection: apsw.Connection, query: QuarantineQuery) -> list[Quarantined]:
    """Entries of the quarantine, by (request key, position)."""
    statements = _OF_ENVIRONMENT if query.source_key is None else _OF_SOURCE
    if query.resolved:
        statements = _RESOLVED
    after = query.after or (_BEFORE_ALL if query.oldest_first else _BEHIND_ALL)
    bindings = {
        "environment": query.environment,
        "tenant": query.tenant,
        "source": query.source_key,
        "objections": _encode(query.objections).decode() if query.objections else None,
        "after_request": after[0],
        "after_position": after[1],
        "limit": query.limit,
    }
    return [_entry(row) for row in rows_of(connection, statements[query.oldest_first], bindings)]


def resolve(
    connection: apsw.Connection, entries: Sequence[tuple[int, int]], resolution: Resolution, now: int
) -> Steps[list[tuple[int, int]]]:
    """Let entries out; those that were in."""
    resolved: list[tuple[int, int]] = []
    inbox: list[Row] = []
    for request_key, position in entries:
        for source_key, objection in rows_of(connection, _RESOLVE, (request_key, position, resolution, now)):
            resolved.append((request_key, position))
            waived = None if resolution is Resolution.RECHECKED else objection
            inbox.append((source_key, request_key, position, waived, now))
        yield 1
    if resolution in (Resolution.RELEASED, Resolution.REVERIFIED, Resolution.RECHECKED):
        yield from write_rows(connection, _INSERT_INBOX_ITEM, inbox)
    elif resolution is Resolution.EXPIRED:
        yield from write_rows(connection, _DELETE_REQUEST, [(key,) for key, position in resolved if position == WHOLE])
    return resolved


def expired(connection: apsw.Connection, before: int, limit: int) -> list[tuple[int, int]]:
    """Refused requests that are in quarantine since before ``before``, oldest first."""
    return rows_of(connection, _EXPIRED, (before, limit))


def refused_bytes(connection: apsw.Connection) -> dict[int, int]:
    """Source key → bytes of its refused requests in quarantine."""
    return dict(rows_of(connection, _QUARANTINED_BYTES))


def _entry(row: tuple[Any, ...]) -> Quarantined:
    values = dict(zip(Quarantined.__struct_fields__, row, strict=True))
    values["environment"] = ENVIRONMENTS[values["environment"]]
    values["objection"] = Objection(values["objection"])
    values["acknowledged"] = bool(values["acknowledged"])
    if values["resolution"] is not None:
        values["resolution"] = Resolution(values["resolution"])
    return Quarantined(**values)
