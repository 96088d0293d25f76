"""Moving a store to another engine, or to another machine, with its nodes running for as long as possible.

There is no note of how far it is: what must be copied is what differs. A range of a table is compared by the number of
its rows and by sums over them, and copied again if those differ. So the same call goes on after a kill, and one more
pass takes what came meanwhile. While nodes write, only rows that never change are copied; the last pass, when
everything stands still, copies those that do, and compares all rows of each table and the books of both stores.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from posthouse.core.errors import CopyDiffers, PlaceOccupied, PosthouseError, StoreInUse
from posthouse.core.ids import first_key_at
from posthouse.store.shared.copying import Place
from posthouse.store.shared.custody import Custody, Holding, prove_here
from posthouse.store.shared.tables import CARRIED, Carried, Table
from posthouse.store.shared.tally import Tally
from posthouse.store.shared.telling import Tell

ROWS: Final = 2_000  #: of a range: one transaction of the target

Row = Sequence[Any]  #: the values of `Table.columns`, in the form of `tables.Kind`


class Carrier(Protocol):
    """One end of a move: a store of some engine."""

    name: str  #: of its place, without a password

    async def stop_nodes(self) -> None:
        """Make sure that no node runs on it. Raises StoreInUse."""
        ...

    async def custody(self) -> Custody:
        """Whose its contents are."""
        ...

    async def put_custody(self, custody: Custody) -> None:
        """Whose they are from now on; durable on return."""
        ...

    async def key_floor(self) -> int:
        """The greatest key in it."""
        ...

    async def tally(self) -> Tally:
        """Its books, recounted."""
        ...

    async def count(self, table: Table) -> int:
        """How many rows a table has."""
        ...

    async def end(self, table: Table, after: Place | None, count: int) -> Place | None:
        """The place of the ``count``-th row behind another place; None: there are not so many."""
        ...

    async def marks(self, table: Table, after: Place | None, upto: Place | None) -> tuple[int, ...]:
        """What is the same in two stores if, and only if, the rows of a range are."""
        ...

    def rows(self, table: Table, after: Place | None, upto: Place | None) -> AsyncIterator[Row]:
        """The rows of a range, in their order."""
        ...

    async def replace(self, table: Table, after: Place | None, upto: Place | None, rows: AsyncIterator[Row]) -> None:
        """Put these rows in the place of all that a range holds, in one transaction; durable on return."""
        ...

    async def clear(self, table: Table) -> None:
        """Leave no row in a table; durable on return."""
        ...


async def begin(source: Carrier, target: Carrier, *, now: int) -> None:
    """Claim the target for this source, if it is empty, or claimed already, or what the source's contents came from.

    Raises:
        PlaceOccupied: There is a store in the target, or it is being filled from elsewhere.
        StoreMoved: The contents of the source are not its own.
    """
    here = await source.custody()
    if here.state is not Holding.MOVED or here.place != target.name:  # else a last pass was cut short
        prove_here(here)
    there = await target.custody()
    if there.state is Holding.ARRIVING and there.place == source.name:
        return
    # An older copy of what the source has; but while neither has it, nobody knows here which of them was used last.
    is_older = here.state is Holding.HERE and there.state is Holding.MOVED and there.place == source.name
    is_new = there.state is Holding.HERE and not there.place and not await target.key_floor()
    if not is_older and not is_new:
        raise PlaceOccupied(f"There is a store in {target.name}.", hint="Move to a place where nothing is.")
    await target.put_custody(Custody(Holding.ARRIVING, source.name, now, 0))


async def copy_ahead(source: Carrier, target: Carrier, tell: Tell) -> None:
    """Copy what never changes; nodes may write to the source meanwhile."""
    for table in CARRIED:
        if table.carried is Carried.COMPARED:
            await _copy_differences(source, target, table, tell)


async def finish(source: Carrier, target: Carrier, tell: Tell, *, now: int) -> Tally:
    """Copy the rest, compare both stores, and hand the contents over; the books of both.

    No node runs on the source from here on. If anything is wrong, the source has its contents back. After a kill
    neither has them, until the same is called again, or :func:`undo`.

    Raises:
        StoreInUse: A node runs on one of them.
        CopyDiffers: The target is not what the source is.
    """
    before = await source.custody()
    given = Custody(Holding.MOVED, target.name, now, before.key_floor)
    await source.put_custody(given)  # first: whoever starts a node now sees it, and whoever started before is seen
    try:
        await source.stop_nodes()
        await target.stop_nodes()
        await copy_ahead(source, target, tell)
        for table in CARRIED:
            if table.carried is Carried.WHOLE:
                await target.clear(table)
                await _copy_differences(source, target, table, tell)
        tally = await compare(source, target, tell)
        floor = max(await source.key_floor(), first_key_at(now + 1) - 1)
        await target.put_custody(Custody(Holding.HERE, source.name, now, floor))
    except BaseException:
        with suppress(PosthouseError):  # who cannot be asked may have got them
            if (await target.custody()).state is not Holding.HERE:
                await source.put_custody(Custody(Holding.HERE, "", before.since, before.key_floor))
        raise
    return tally


async def compare(source: Carrier, target: Carrier, tell: Tell) -> Tally:
    """The books of both stores.

    Raises:
        CopyDiffers: A table has other numbers of rows, or the books differ.
    """
    for done, table in enumerate(CARRIED):
        tell("count", done, len(CARRIED))
        here, there = await source.count(table), await target.count(table)
        if here != there:
            raise CopyDiffers(f"{table.name} has {here} rows in {source.name} and {there} in {target.name}.")
    tell("audit", 0, 0)
    books, others = await source.tally(), await target.tally()
    if books != others:
        raise CopyDiffers(f"The books of {source.name} and {target.name} differ: {books}, {others}.")
    return books


async def undo(source: Carrier, target: Carrier, tell: Tell) -> None:
    """Give the contents back to the source, as long as nothing has happened in the target.

    Raises:
        PlaceOccupied: They did not move from this source to this target.
        StoreInUse: A node runs on the target, or something was accepted or delivered there.
    """
    here, there = await source.custody(), await target.custody()
    if here.state is not Holding.MOVED or here.place != target.name or there.place != source.name:
        raise PlaceOccupied(
            f"The contents of {source.name} did not move to {target.name}.", hint="Name both places as for the move."
        )
    if there.state is not Holding.ARRIVING:
        # First, so that no node starts there between the look and the change.
        await target.put_custody(Custody(Holding.MOVED, source.name, there.since, there.key_floor))
        try:
            await target.stop_nodes()
            await _prove_unused(source, target, there, tell)
        except BaseException:
            await target.put_custody(Custody(Holding.HERE, source.name, there.since, there.key_floor))
            raise
    await source.put_custody(Custody(Holding.HERE, "", here.since, max(here.key_floor, there.key_floor)))


async def _prove_unused(source: Carrier, target: Carrier, there: Custody, tell: Tell) -> None:
    found = "It has made keys of its own."
    if await target.key_floor() == there.key_floor:
        try:
            await compare(source, target, tell)
        except CopyDiffers as error:
            found = error.message
        else:
            return
    raise StoreInUse(
        f"{target.name} was used since the move. {found}",
        hint="Move back instead: 'posthouse migrate' with --from and --to exchanged.",
    )


async def _copy_differences(source: Carrier, target: Carrier, table: Table, tell: Tell) -> None:
    total = await source.count(table)
    after: Place | None = None
    done = 0
    while True:
        upto = await source.end(table, after, ROWS)
        is_whole = table.carried is Carried.WHOLE
        if is_whole or await source.marks(table, after, upto) != await target.marks(table, after, upto):
            await target.replace(table, after, upto, source.rows(table, after, upto))
        done = min(done + ROWS, total)
        tell(table.name, done, total)
        if upto is None:
            return
        after = upto
