"""Hints between nodes on one database: NOTIFY on a channel of the store's, over a connection of its own.

A notice is a transaction that writes nothing, and one that is lost only delays: so it waits for no disk and no standby.
It is never part of another transaction, because the server commits those with notices one after the other.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.dial import PostgresWire
from posthouse.store.postgres.outcome import NotSent
from posthouse.store.shared.hinting import Hinting

WAITING_MAX: Final = 64  #: messages that wait to be sent; more are lost
PAUSE_S: Final = 0.1  #: before another try to connect; doubles each time
PAUSE_MAX_S: Final = 5.0
CLOSE_S: Final = 2.0
SETTINGS: Final = {"synchronous_commit": "off", "statement_timeout": "5s"}

_TROUBLE: Final = (StoreUnavailable, NotSent, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Notices(Hinting):
    """Tells and hears through the database, whenever there is a connection."""

    def __init__(self, dial: Callable[[], Awaitable[PostgresWire]], channel: str) -> None:
        super().__init__(secrets.token_hex(8), self._post)
        self._dial = dial
        self._channel = channel
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_MAX)
        self._wire: PostgresWire | None = None
        self._closing = False
        self.connected = asyncio.Event()  #: what others tell is heard
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Send what was gathered, if there is a connection; then hang up. Idempotent."""
        self._closing = True
        self.stop()
        self._wake()
        if self._wire is not None:  # what was sent is not cancelled
            await asyncio.wait([self._task], timeout=CLOSE_S)
        if self._wire is not None:
            self._wire.terminate()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _post(self, message: bytes) -> None:
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(message)

    def _wake(self) -> None:
        self._post(b"")  # if there is no room for it, what waits wakes it as well

    async def _run(self) -> None:
        pause_s = PAUSE_S
        while not self._closing:
            with suppress(*_TROUBLE):
                self._wire = await self._dial()
                try:
                    self._wire.when_lost(self._wake)
                    await self._wire.listen(self._channel, self.hear)
                    self.connected.set()
                    pause_s = PAUSE_S
                    await self._carry(self._wire)
                finally:
                    self.connected.clear()
                    wire, self._wire = self._wire, None
                    wire.terminate()
            if not self._closing:
                # No secret: nodes must not march in step.
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _carry(self, wire: PostgresWire) -> None:
        """Send what comes, until the connection ends or nothing more is to be sent."""
        while not wire.lost:
            message = await self._waiting.get()
            if message:
                await wire.ask("notify", (self._channel, message.decode()))
            elif self._closing and self._waiting.empty():
                return
