"""The rows that new events write, in as few statements as there are tables."""

from collections.abc import Sequence
from typing import Final

import apsw
from msgspec.structs import astuple

from posthouse.core.model import Tenant
from posthouse.store.shared import planning
from posthouse.store.shared.planning import Row
from posthouse.store.sqlite.discarding import keep_newest
from posthouse.store.sqlite.feed import write_commit
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_INSERT_EVENT: Final = SQL["insert_event"]
_INSERT_OBLIGATION: Final = SQL["insert_obligation"]
_INSERT_ORDERED: Final = SQL["insert_ordered"]
_INSERT_TENANT: Final = SQL["insert_tenant_if_new"]
_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_RAISE_VERSION: Final = SQL["raise_catalogue_version"]
_NOTE_ENVIRONMENT_PERIOD: Final = SQL["note_environment_period"]
_NOTE_TENANT_PERIOD: Final = SQL["note_tenant_period"]

__all__ = ["EventRows", "Row", "write_events", "write_rows"]


def write_rows(connection: apsw.Connection, statement: str, rows: Sequence[Row]) -> Steps[None]:
    """Run a statement on all rows, with a place for other work after each slice."""
    for start in range(0, len(rows), SLICE_ROWS):
        part = rows[start : start + SLICE_ROWS]
        connection.executemany(statement, part)
        yield len(part)


def write_events(connection: apsw.Connection, rows: planning.EventRows) -> Steps[None]:
    """Write events with all that they owe, where to look for them, and their tenants."""
    tenant_periods = rows.tenant_periods()
    environment_periods = {(environment, period) for environment, _tenant, period in tenant_periods}
    for start in range(0, len(rows.events), SLICE_ROWS):
        part = rows.events[start : start + SLICE_ROWS]
        events = [(*astuple(item.event), f"[{','.join(map(str, item.owed))}]") for item in part]
        yield from write_rows(connection, _INSERT_EVENT, events)
    write_commit(connection, [item.event.key for item in rows.events])
    yield from write_rows(connection, _INSERT_OBLIGATION, rows.obligations)
    if rows.ordered:
        yield from _write_ordered(connection, rows)
    yield from write_rows(connection, _NOTE_TENANT_PERIOD, list(tenant_periods))
    yield from write_rows(connection, _NOTE_ENVIRONMENT_PERIOD, list(environment_periods))
    if rows.tenants:
        yield from _write_tenants(connection, rows.tenants)


def _write_tenants(connection: apsw.Connection, tenants: Sequence[Tenant]) -> Steps[None]:
    """Those that are new; with one, the catalogue has a new version, by which other copies of it hear of them."""
    version = value_of(connection, _CATALOGUE_VERSION) + 1
    before = connection.total_changes()
    values = [(t.environment, t.id, t.name, t.created_at, "{}", version) for t in tenants]  # nobody has set rules yet
    yield from write_rows(connection, _INSERT_TENANT, values)
    if connection.total_changes() > before:
        value_of(connection, _RAISE_VERSION)


def _write_ordered(connection: apsw.Connection, rows: planning.EventRows) -> Steps[None]:
    """In their sequence: each stands behind what is open of its key by then."""
    yield from write_rows(connection, _INSERT_ORDERED, [row for row, _order in rows.ordered])
    for (endpoint_key, ordering_key), at in rows.superseding().items():
        yield from keep_newest(connection, endpoint_key, ordering_key, at)
        yield 1


class EventRows(planning.EventRows):
    """The same rows, with how this engine writes them."""

    def write(self, connection: apsw.Connection) -> Steps[None]:
        """Write all of it."""
        yield from write_events(connection, self)
