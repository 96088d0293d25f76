"""The outbox in the store's own database: what is deleted there and what is accepted commit together."""

from collections.abc import Mapping, Sequence
from functools import partial

import asyncpg

from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import EVENT_BODY_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_COUNTED_MAX
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.intake import accept_in
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import AcceptRequest, AcceptResult, StaleCatalogue
from posthouse.store.protocol.outbox import Deal, OutboxDoubt, OutboxRow, OutboxStatus
from posthouse.store.shared.planning import orders_of


class PostgresOutbox:
    """An outbox source (see the protocol) whose rows become events by one transaction."""

    is_own = True

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lane = lanes.misc
        self._readers = readers

    async def drain(self, deal: Deal, *, limit: int) -> int:
        """Take the first rows; see the protocol. Once by itself: what is not committed was not taken."""
        (row,) = await self._readers.quick("outbox_waits")
        if not row["waits"]:
            return 0
        try:
            return await self._lane.transact(lambda t: _drain(t, deal, limit, _Door(t)), Guards(catalogue=False))
        except _NewTenants:  # they change the catalogue: once more, with nobody beside
            door = partial(_Door, changes=True)
            return await self._lane.transact(lambda t: _drain(t, deal, limit, door(t)), Guards(catalogue=True))

    async def status(self) -> OutboxStatus:
        """What stands in it; see the protocol."""
        return status_of(await self._readers.quick("outbox_status", OUTBOX_COUNTED_MAX))

    async def close(self) -> None:
        """Its connections are the store's."""


class _NewTenants(Exception):
    """The rows name tenants that the catalogue does not have."""


class _Door:
    """Accepts within an open transaction that holds the catalogue; ``changes``: so that it can be changed."""

    def __init__(self, t: Transaction, *, changes: bool = False) -> None:
        self._t = t
        self._changes = changes
        self._holds_orders = False

    async def accept(self, request: AcceptRequest) -> AcceptResult:
        """What becomes of the request when the transaction commits.

        Once it was routed by the catalogue of this transaction, only parts of it may be asked for: the ordering keys
        that it changes are locked then, once.
        """
        assert self._t.version is not None
        if request.catalogue_version != self._t.version:
            return StaleCatalogue(self._t.version)
        if request.new_tenants and not self._changes:
            raise _NewTenants
        orders = orders_of(request.events)
        if orders and not self._holds_orders:
            self._holds_orders = True
            await self._t.lock(Guards(orders=orders))
        (result,) = await accept_in(self._t, [request])
        return result


async def _drain(t: Transaction, deal: Deal, limit: int, door: _Door) -> int:
    if t.version is None:
        raise StoreUnavailable("This node has no place in the catalogue.")
    if not await t.rows("outbox_head"):
        return 0
    rows = rows_of(await t.rows("outbox_rows", limit, OUTBOX_BYTES_MAX, EVENT_BODY_BYTES_MAX))
    if rows:
        doubts = await deal(rows, door.accept)
        for name, args in removals(rows, doubts):
            await t.count(name, *args)
    return len(rows)


def rows_of(records: Sequence[asyncpg.Record]) -> list[OutboxRow]:
    """The rows as the protocol has them."""
    return [OutboxRow(*record) for record in records]


def removals(
    rows: Sequence[OutboxRow], doubts: Mapping[int, OutboxDoubt]
) -> list[tuple[str, list[list[int]] | list[list[object]]]]:
    """The statements that take rows out of the table, by name, with their arguments."""
    found: list[tuple[str, list[list[int]] | list[list[object]]]] = []
    accepted = [row.n for row in rows if row.n not in doubts]
    if accepted:
        found.append(("delete_outbox", [accepted]))
    if doubts:
        doubted = sorted((n, doubt.code, storable(doubt.why)) for n, doubt in doubts.items())
        found.append(("doubt_outbox", columns(doubted, 3)))
    return found


def status_of(records: Sequence[asyncpg.Record]) -> OutboxStatus:
    """The status as the protocol has it. Raises StoreUnavailable if the outbox has lost its head."""
    if not records:
        hint = "Run the script of 'posthouse outbox schema' in its database."
        raise StoreUnavailable("The outbox has lost its head: posthouse_outbox_v1_head is empty.", hint=hint)
    return OutboxStatus(*records[0])
