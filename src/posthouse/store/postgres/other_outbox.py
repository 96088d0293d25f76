"""An outbox in another database than the store's: accepted first, deleted after that.

A crash between the two leaves rows whose events are accepted. They are found again and handed in again, and the store
knows them by their ids, which every row has. So the transaction here may end in any way, at any time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

import asyncpg

from posthouse.core.errors import ConfigurationError, StoreUnavailable
from posthouse.core.limits import EVENT_BODY_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_COUNTED_MAX
from posthouse.store.postgres.dial import PINNED, Answer, Dialler, Session, Wire
from posthouse.store.postgres.dsn import Dsn
from posthouse.store.postgres.outbox import removals, rows_of, status_of
from posthouse.store.postgres.outcome import NotSent
from posthouse.store.protocol.outbox import Deal, OutboxSource, OutboxStatus

T = TypeVar("T")

ANSWER_S: Final = 30.0  #: a database that takes longer for a statement is left
_TROUBLE: Final = (NotSent, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class OtherOutbox:
    """An outbox source (see the protocol) with a connection of its own.

    Args:
        place: Where it is. Its schema is where the tables are.
        own: The outbox of the store's own database, if it has one: never to be drained by both ways.
    """

    is_own = False

    def __init__(self, place: Dsn, own: OutboxSource | None = None) -> None:
        self._dialler = Dialler(place)
        self._session = Session(name="posthouse:outbox", settings=PINNED, durable=place.durable)
        self._own = own
        self._own_source: str | None = None
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()  # the connection is used by one at a time

    async def drain(self, deal: Deal, *, limit: int) -> int:
        """Take the first rows; see the protocol."""
        await self._know_own()
        async with self._turn, self._conversation() as wire:
            if not (await _ask(wire, "outbox_waits")).rows[0]["waits"]:
                return 0
            await _in_time(wire, wire.command("BEGIN"))
            head = (await _ask(wire, "outbox_head")).rows
            rows = []
            if head:
                self._prove_other(head[0]["source"])
                found = await _ask(wire, "outbox_rows", limit, OUTBOX_BYTES_MAX, EVENT_BODY_BYTES_MAX)
                rows = rows_of(found.rows)
            if rows:
                doubts = await deal(rows, None)
                for name, args in removals(rows, doubts):
                    await _ask(wire, name, *args)
            await _in_time(wire, wire.command("COMMIT"))
            return len(rows)

    async def status(self) -> OutboxStatus:
        """What stands in it; see the protocol."""
        async with self._turn, self._conversation() as wire:
            return status_of((await _ask(wire, "outbox_status", OUTBOX_COUNTED_MAX)).rows)

    async def close(self) -> None:
        """Hang up. Idempotent."""
        async with self._turn:
            wire, self._wire = self._wire, None
            if wire is not None:
                await wire.close()

    async def _know_own(self) -> None:
        if self._own is not None and self._own_source is None:
            self._own_source = (await self._own.status()).source

    def _prove_other(self, source: str) -> None:
        if source == self._own_source:
            raise ConfigurationError(
                "The setting 'outbox' names the database of the store, whose outbox is drained by itself.",
                hint="Leave the setting out.",
            )

    @contextlib.asynccontextmanager
    async def _conversation(self) -> AsyncIterator[Wire]:
        """A connection to speak on. Whatever goes wrong ends it, and with it the transaction."""
        if self._wire is None or self._wire.lost:
            self._wire = await self._dialler.dial(self._session)
        wire = self._wire
        try:
            yield wire
        except _TROUBLE as error:
            wire.terminate()
            missing = isinstance(error, asyncpg.UndefinedTableError)
            hint = "Run the script of 'posthouse outbox schema' in that database." if missing else None
            message = f"The outbox cannot be drained: {str(error) or type(error).__name__}."
            raise StoreUnavailable(message, hint=hint) from error
        except BaseException:
            wire.terminate()
            raise


async def _ask(wire: Wire, name: str, *args: object) -> Answer:
    """The answer of a statement."""
    return await _in_time(wire, wire.ask(name, args))


async def _in_time(wire: Wire, call: Awaitable[T]) -> T:
    """What a call gives. A database that does not answer in time is left, and nothing is cancelled there."""
    timer = asyncio.get_running_loop().call_later(ANSWER_S, wire.terminate)
    try:
        return await call
    finally:
        timer.cancel()
