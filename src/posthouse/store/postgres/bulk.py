"""One connection for work on a whole store: copying it out, filling it, emptying it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from posthouse.core.errors import StoreInUse
from posthouse.store.postgres.dial import FREE, Dialler, PostgresWire, Session
from posthouse.store.postgres.dsn import Dsn
from posthouse.store.postgres.outcome import NotSent, Sent, judge
from posthouse.store.postgres.server import ServerRules, inspect

STRICT: Final = ServerRules()
LOOKS: Final = 30  #: whether nobody else fills or empties a store
LOOK_S: Final = 0.1  #: between two of them
LOCK: Final = 0x50484350  #: the advisory lock of who fills or empties a store: "PHCP"

_TROUBLE: Final = (NotSent, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
#: What is done takes as long as it takes.
_PATIENT: Final = {**FREE, "statement_timeout": "0", "lock_timeout": "30s", "idle_in_transaction_session_timeout": "0"}


@asynccontextmanager
async def bulk_wire(
    place: Dsn,
    purpose: str,
    *,
    rules: ServerRules = STRICT,
    writes: bool = True,
) -> AsyncIterator[PostgresWire]:
    """A connection that nothing hurries, to a server that a store can be kept on.

    Raises:
        StoreUnavailable: The database cannot be reached. Also for whatever the driver raises in the context.
        StoreIncompatible: The server is too old, or has another encoding.
        UnsafeLibrary: The server loses what it acknowledges.
    """
    session = Session(name=f"posthouse-{purpose}", settings=_PATIENT, writes=writes, durable=place.durable)
    wire = await Dialler(place).dial(session)
    try:
        with judged(wire):
            if writes:
                await inspect(wire, rules)
            yield wire
    finally:
        await wire.close()


@contextmanager
def judged(wire: PostgresWire) -> Iterator[None]:
    """Raises what the driver raises as an error of the store: nothing of an open transaction was written."""
    try:
        yield
    except _TROUBLE as error:
        raise judge(Sent.STEP, error=error, lost=wire.lost).error or error from error


@asynccontextmanager
async def transaction(wire: PostgresWire, how: str = "BEGIN") -> AsyncIterator[None]:
    """One transaction: committed at the end, rolled back by whatever is raised in it.

    Raises:
        StoreUnavailable: Also if nobody knows whether it was committed.
    """
    wire.warnings()
    await wire.command(how)
    try:
        yield
    except BaseException:
        if not wire.lost:
            await wire.command("ROLLBACK")
        raise
    committing = asyncio.ensure_future(wire.command("COMMIT"))
    try:
        await asyncio.shield(committing)
    except asyncio.CancelledError:
        await asyncio.wait([committing])  # cut short, it would be committed on this server only
        raise
    except _TROUBLE:
        pass
    try:
        outcome = judge(Sent.COMMIT, tag=committing.result(), warnings=wire.warnings())
    except _TROUBLE as error:
        outcome = judge(Sent.COMMIT, error=error, lost=wire.lost)
    if outcome.error is not None:
        raise outcome.error


async def be_the_only_one(wire: PostgresWire) -> None:
    """Keep everybody else who fills or empties a store out of the database, until the connection ends.

    Raises:
        StoreInUse: Somebody does so already.
    """
    for _ in range(LOOKS):
        (row,) = (await wire.ask("one_copies", (LOCK,))).rows
        if row["granted"]:
            return
        await asyncio.sleep(LOOK_S)  # a process that was killed keeps its connection for a moment
    raise StoreInUse("Another process restores or moves a store in this database.", hint="Wait for it to end.")


async def prove_no_node(wire: PostgresWire) -> None:
    """Refuse while a node is connected.

    Raises:
        StoreInUse: One is.
    """
    (row,) = (await wire.ask("nodes_here", ())).rows
    if row["connections"]:
        raise StoreInUse("A node runs on the database.", hint="Stop every node of it, then run the same command again.")


async def version_of(wire: PostgresWire) -> int:
    """Number of the last migration of the store in the database; 0: there is none."""
    (present,) = (await wire.ask("has_migrations", ())).rows
    rows: list[Any] = (await wire.ask("all_migrations", ())).rows if present["present"] else []
    return len(rows)
