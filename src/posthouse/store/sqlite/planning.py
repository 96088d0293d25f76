"""The rows that new events write: collected in memory, then written in as few statements as there are tables."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
from msgspec.structs import astuple

from posthouse.core.model import Tenant
from posthouse.core.rules import Order
from posthouse.store.protocol import NewEvent
from posthouse.store.sqlite.discarding import keep_newest
from posthouse.store.sqlite.rows import PERIOD_BITS
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_INSERT_EVENT: Final = SQL["insert_event"]
_INSERT_OBLIGATION: Final = SQL["insert_obligation"]
_INSERT_ORDERED: Final = SQL["insert_ordered"]
_INSERT_TENANT: Final = SQL["insert_tenant_if_new"]
_NOTE_ENVIRONMENT_PERIOD: Final = SQL["note_environment_period"]
_NOTE_TENANT_PERIOD: Final = SQL["note_tenant_period"]

Row = tuple[Any, ...]


def write_rows(connection: apsw.Connection, statement: str, rows: Sequence[Row]) -> Steps[None]:
    """Run a statement on all rows, with a place for other work after each slice."""
    for start in range(0, len(rows), SLICE_ROWS):
        part = rows[start : start + SLICE_ROWS]
        connection.executemany(statement, part)
        yield len(part)


class EventRows:
    """Events, what they owe, where to look for them, and their tenants."""

    def __init__(self) -> None:
        self._events: list[Row] = []
        self._obligations: list[Row] = []
        self._ordered: list[tuple[Row, Order]] = []  # those that keep their event's ordering key
        self._tenants: list[Row] = []

    def add(self, item: NewEvent) -> None:
        """One event with all that it owes."""
        event, owed = item.event, item.owed
        key, at, lane = event.key, event.accepted_at, item.lane
        self._events.append((*astuple(event), f"[{','.join(map(str, owed))}]"))
        if item.orders and event.ordering_key is not None:
            self._owe_in_order(item, event.ordering_key)
        else:
            obligations = self._obligations
            for endpoint_key in owed:
                obligations.append((key, endpoint_key, lane, at, at))

    def add_tenants(self, tenants: Iterable[Tenant]) -> None:
        """Tenants that are first seen here; those that exist stay as they are."""
        for tenant in tenants:
            self._tenants.append((*astuple(tenant)[:-1], "{}"))  # nobody has set rules for it yet

    def mark(self) -> tuple[int, int, int]:
        """What :meth:`take_back` goes back to."""
        return len(self._events), len(self._obligations), len(self._ordered)

    def take_back(self, mark: tuple[int, int, int]) -> None:
        """Forget the events that were added since."""
        events, obligations, ordered = mark
        del self._events[events:], self._obligations[obligations:], self._ordered[ordered:]

    def write(self, connection: apsw.Connection) -> Steps[None]:
        """Write all of it."""
        # Columns of insert_event: key 0, environment 2, tenant 3.
        tenant_periods = {(row[2], row[3], row[0] >> PERIOD_BITS) for row in self._events}
        environment_periods = {(environment, period) for environment, _tenant, period in tenant_periods}
        yield from write_rows(connection, _INSERT_EVENT, self._events)
        yield from write_rows(connection, _INSERT_OBLIGATION, self._obligations)
        if self._ordered:
            yield from self._write_ordered(connection)
        yield from write_rows(connection, _NOTE_TENANT_PERIOD, list(tenant_periods))
        yield from write_rows(connection, _NOTE_ENVIRONMENT_PERIOD, list(environment_periods))
        yield from write_rows(connection, _INSERT_TENANT, self._tenants)

    def _write_ordered(self, connection: apsw.Connection) -> Steps[None]:
        """In their sequence: each stands behind what is open of its key by then."""
        yield from write_rows(connection, _INSERT_ORDERED, [row for row, _order in self._ordered])
        # Columns of insert_ordered: endpoint key 1, due_at 3, ordering key 5.
        latest = {(row[1], row[5]): row[3] for row, order in self._ordered if order is Order.LATEST}
        for (endpoint_key, ordering_key), at in latest.items():
            yield from keep_newest(connection, endpoint_key, ordering_key, at)
            yield 1

    def _owe_in_order(self, item: NewEvent, ordering_key: str) -> None:
        key, at = item.event.key, item.event.accepted_at
        for endpoint_key, order in zip(item.owed, item.orders, strict=True):
            row = (key, endpoint_key, item.lane, at, at)
            if order is Order.NONE:
                self._obligations.append(row)
            else:
                self._ordered.append(((*row, ordering_key), order))
