"""Reading: a few connections for short questions with pinned plans, a few for long looks in a snapshot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.dial import Answer, Wire
from posthouse.store.postgres.outcome import NotSent, Sent
from posthouse.store.postgres.transact import OpenTransaction, Transaction

T = TypeVar("T")
Dial = Callable[[], Awaitable[Wire]]

QUICK: Final = 2  #: connections for short questions
LONG: Final = 2  #: for lists and for what jobs look for: neither waits for the other
QUICK_S: Final = 10.0  #: nobody waits longer for a short question

#: No day goes while a snapshot is read: what is dropped with its table is gone for older snapshots too. It takes no
#: snapshot itself, so the one that follows is of after it.
STAND_STILL: Final = "LOCK TABLE days IN ACCESS SHARE MODE"

_TROUBLE: Final = (NotSent, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class _Pool:
    """Connections that are used by one reader at a time, made when they are needed."""

    def __init__(self, dial: Dial, size: int) -> None:
        self._dial = dial
        self._size = size
        self._free: asyncio.LifoQueue[Wire | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)

    async def run(self, use: Callable[[Wire], Awaitable[T]]) -> T:
        """What ``use`` makes of a connection; if that ends meanwhile, of another one."""
        wire = await self._free.get()
        try:
            if wire is None or wire.lost:
                wire = await self._dial()
            try:
                return await use(wire)
            except _TROUBLE:
                if not wire.lost:
                    raise
                wire = await self._dial()
                return await use(wire)
        finally:
            self._free.put_nowait(wire)

    async def close(self) -> None:
        """Wait for those who read, then hang up."""
        for _ in range(self._size):
            wire = await self._free.get()
            if wire is not None:
                await wire.close()


class Readers:
    """The reading connections of a node."""

    def __init__(self, *, quick: Dial, long: Dial, audit: Dial) -> None:
        self._quick = _Pool(quick, QUICK)
        self._long = _Pool(long, LONG)
        self._audits = _Pool(audit, 1)
        self._running: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def quick(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What a named statement gives; for questions that an index answers.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        return await self._shielded(lambda: self._quick.run(lambda wire: _ask_quickly(wire, name, args)))

    async def snapshot(self, read: Callable[[Transaction], Awaitable[T]], *, audit: bool = False) -> T:
        """The result of ``read`` in one snapshot: everything that was committed before, nothing after.

        Only named statements that read may be asked in it. If the connection ends, ``read`` is called again on another
        one. An ``audit`` may take minutes, and holds up no other.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        pool = self._audits if audit else self._long
        return await self._shielded(lambda: pool.run(lambda wire: _in_snapshot(wire, read)))

    async def close(self) -> None:
        """Wait for running reads, then hang up. Idempotent."""
        if self._closing:
            return
        self._closing = True
        for pool in (self._quick, self._long, self._audits):
            await pool.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Nobody may wait any more; then what went wrong concerns nobody."""
        self._running.discard(task)
        if not task.cancelled():
            task.exception()

    async def _shielded(self, run: Callable[[], Awaitable[T]]) -> T:
        """Who stops waiting must not leave a connection in the middle of an answer."""
        if self._closing:
            raise StoreUnavailable("The store is closed.")
        task: asyncio.Task[T] = asyncio.ensure_future(_told(run))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)


async def _told(run: Callable[[], Awaitable[T]]) -> T:
    try:
        return await run()
    except _TROUBLE as error:
        raise StoreUnavailable(f"The store cannot be read: {error}") from error


async def _ask_quickly(wire: Wire, name: str, args: Sequence[object]) -> list[asyncpg.Record]:
    loop = asyncio.get_running_loop()
    until = loop.time() + QUICK_S
    timer = loop.call_at(until, wire.terminate)  # who only reads may be left in the middle
    try:
        return (await wire.ask(name, args)).rows
    except _TROUBLE as error:
        if loop.time() < until:
            raise
        raise StoreUnavailable("The database does not answer.", retry_after_s=1) from error
    finally:
        timer.cancel()


async def _in_snapshot(wire: Wire, read: Callable[[Transaction], Awaitable[T]]) -> T:
    await wire.command("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        if wire.local:
            await wire.command(wire.local)
        await wire.command(STAND_STILL)
        return await read(OpenTransaction(Reading(wire)))
    finally:
        if not wire.lost:
            await wire.command("ROLLBACK")


class Reading:
    """A connection that only reads: nothing has to be judged."""

    number = 0

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ask(self, sent: Sent, name: str, args: Sequence[object]) -> Answer:  # noqa: ARG002 - nothing is judged
        """The answer to a named statement."""
        return await self._wire.ask(name, args)

    async def command(self, sent: Sent, text: str) -> None:  # noqa: ARG002 - nothing is judged
        """A command."""
        await self._wire.command(text)

    async def roll_back(self) -> None:
        """End the snapshot."""
        await self._wire.command("ROLLBACK")
