"""Explicit transactions: what is locked first, in the one order in which everybody locks.

The order is: catalogue, slots, jobs, sources, ordering keys, then rows of deliveries and of the inbox by their keys.
Whoever locks against it can wait in a circle. A statement sees what was committed before *it* began: so what a guard
waited for is seen by the statements after it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import asyncpg
import msgspec

from posthouse.store.postgres.binding import order_bucket
from posthouse.store.postgres.dial import Answer
from posthouse.store.postgres.outcome import Sent

T = TypeVar("T")


class Guards(msgspec.Struct, frozen=True):
    """What a transaction holds, besides the rows that it writes."""

    #: True: the catalogue is to be changed, nobody else may read it for a write. False: it must stand still.
    catalogue: bool | None = None
    slots: tuple[tuple[int, int], ...] = ()  #: (slot, epoch) that must not change hands meanwhile
    jobs: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()
    orders: tuple[tuple[int, str], ...] = ()  #: (endpoint key, ordering key) whose turns are to be changed


class Transaction(Protocol):
    """An open transaction."""

    version: int | None  #: of the catalogue, if that is locked
    held: frozenset[int]  #: of the slots that were asked for: those that have an owner, at that epoch

    async def rows(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What a named statement gives."""
        ...

    async def count(self, name: str, *args: object) -> int:
        """How many rows a named statement touched."""
        ...

    async def define(self, script: str) -> None:
        """Run statements that make or remove tables."""
        ...

    async def lock(self, guards: Guards) -> None:
        """Lock more: only what comes later in the order than all that was locked with guards before."""
        ...


class Link(Protocol):
    """A connection whose answers are judged: what is refused or unknown is raised."""

    number: int  #: of the connection's row in the catalogue

    async def ask(self, sent: Sent, name: str, args: Sequence[object]) -> Answer:
        """The answer to a named statement."""
        ...

    async def command(self, sent: Sent, text: str) -> None:
        """BEGIN or COMMIT, or statements that make or remove tables."""
        ...

    async def roll_back(self) -> None:
        """End the transaction without a trace; if that fails, the connection."""
        ...


_ORDER: Final = ("catalogue", "slots", "jobs", "sources", "orders")


class OpenTransaction:
    """A :class:`Transaction` on a link."""

    def __init__(self, link: Link) -> None:
        self.version: int | None = None
        self.held: frozenset[int] = frozenset()
        self._link = link
        self._reached = -1  # how far down the order its locks are

    async def rows(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What a named statement gives."""
        return (await self._link.ask(Sent.STEP, name, args)).rows

    async def count(self, name: str, *args: object) -> int:
        """How many rows a named statement touched, by its command tag."""
        return int((await self._link.ask(Sent.STEP, name, args)).tag.rpartition(" ")[2])

    async def define(self, script: str) -> None:
        """Run statements that make or remove tables."""
        await self._link.command(Sent.STEP, script)

    async def lock(self, guards: Guards) -> None:
        """Lock more, further down the order."""
        for rank, kind in enumerate(_ORDER):
            wanted = getattr(guards, kind)
            if wanted is None or wanted == ():
                continue
            assert rank > self._reached, f"{kind} are locked before {_ORDER[self._reached]}, or not at all"
            self._reached = rank
            await getattr(self, f"_lock_{kind}")(wanted)

    async def _lock_catalogue(self, change: bool) -> None:  # noqa: FBT001 - it is a value of Guards
        rows = await self.rows("lock_catalogue") if change else await self.rows("share_catalogue", self._link.number)
        self.version = rows[0]["version"] if rows else None

    async def _lock_slots(self, slots: Sequence[tuple[int, int]]) -> None:
        rows = await self.rows("share_slots", sorted({slot for slot, _ in slots}))
        epochs = {row["slot"]: row["epoch"] for row in rows if row["owned"]}
        self.held = frozenset(slot for slot, epoch in slots if epochs.get(slot) == epoch)

    async def _lock_jobs(self, keys: Sequence[int]) -> None:
        await self.rows("lock_jobs", sorted(set(keys)))

    async def _lock_sources(self, keys: Sequence[int]) -> None:
        wanted = sorted(set(keys))
        if len(await self.rows("lock_sources", wanted)) < len(wanted):  # the first time for one of them
            await self.rows("make_source_guards", wanted)
            await self.rows("lock_sources", wanted)

    async def _lock_orders(self, keys: Sequence[tuple[int, str]]) -> None:
        await self.rows("lock_orders", sorted({order_bucket(*key) for key in keys}))


async def transact(link: Link, run: Callable[[Transaction], Awaitable[T]], guards: Guards) -> T:
    """The result of ``run`` in one transaction, which is committed when this returns.

    What ``run`` raises ends the transaction without a trace, and is raised.
    """
    await link.command(Sent.STEP, "BEGIN")
    try:
        transaction: Any = OpenTransaction(link)
        await transaction.lock(guards)
        result = await run(transaction)
    except BaseException:
        await link.roll_back()
        raise
    await link.command(Sent.COMMIT, "COMMIT")
    return result
