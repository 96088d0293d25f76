"""The rows that new events write, in as few statements as there are kinds of them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import astuple

from posthouse.core.model import Tenant
from posthouse.core.rules import SUPERSEDED
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.catalogue import raise_version
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import NewEvent
from posthouse.store.shared.planning import EventRows, Row
from posthouse.store.shared.settling import slot_of_endpoint

SLICE_ROWS: Final = 10_000  #: of one statement: what is built for it is held in memory, here and there

_EVENT_COLUMNS: Final = 10
_OBLIGATION_COLUMNS: Final = 6
_ORDERED_COLUMNS: Final = 7


def event_row(item: NewEvent) -> Row:
    """An event in the order of its columns, then what it owes."""
    return (*astuple(item.event), f"{{{','.join(map(str, item.owed))}}}")


def obligation_row(row: Row) -> Row:
    """An obligation with the slot of its endpoint behind its columns."""
    return (*row, slot_of_endpoint(row[1]))


def periods_of(rows: EventRows) -> list[list[Any]]:
    """Where to look for the events: the columns of tenants' periods, then those of environments' periods."""
    tenants = sorted(rows.tenant_periods())  # whoever writes the same ones writes them in this sequence
    environments = sorted({(environment, period) for environment, _tenant, period in tenants})
    return [*columns(tenants, 3), *columns(environments, 2)]


async def write_events(t: Transaction, rows: EventRows) -> None:
    """Write events with all that they owe, where to look for them, and their tenants.

    The transaction holds the catalogue (to change it, if there are tenants), and the guards of :func:`orders_of` these
    events.
    """
    if rows.events:
        events = columns([event_row(item) for item in rows.events], _EVENT_COLUMNS)
        await t.count("insert_events", *events, *periods_of(rows))
    for part in _slices(rows.obligations):
        await t.count("insert_obligations", *columns([obligation_row(row) for row in part], _OBLIGATION_COLUMNS))
    if rows.ordered:
        await _write_ordered(t, rows)
    if rows.tenants:
        await _write_tenants(t, rows.tenants)


async def _write_tenants(t: Transaction, tenants: Sequence[Tenant]) -> None:
    """Those that are new; with one, the catalogue has a new version, by which other copies of it hear of them."""
    assert t.version is not None, "whoever may make tenants holds the catalogue"
    rows = sorted((str(tenant.environment), tenant.id, tenant.name, tenant.created_at) for tenant in tenants)
    if await t.count("insert_tenants", *columns(rows, 4), t.version + 1):
        await raise_version(t)


async def _write_ordered(t: Transaction, rows: EventRows) -> None:
    """In their sequence: each stands behind what is open of its key by then."""
    for part in _slices([obligation_row(row) for row, _order in rows.ordered]):
        await t.count("insert_ordered", *columns(part, _ORDERED_COLUMNS))
    await keep_newest(t, rows.superseding())


async def keep_newest(t: Transaction, orders: dict[tuple[int, str], int]) -> None:
    """Of those that stand behind others of these endpoints and ordering keys, discard all but the newest, at a time."""
    if not orders:
        return
    given = columns([(*order, at) for order, at in orders.items()], 3)
    while await t.count("discard_all_but_newest", *given, SLICE_ROWS, SUPERSEDED) == SLICE_ROWS:
        pass


def _slices(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    return (rows[start : start + SLICE_ROWS] for start in range(0, len(rows), SLICE_ROWS))
