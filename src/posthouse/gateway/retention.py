"""Drops what is old, a step at a time, with pauses as long as the steps, so that deliveries keep their latency."""

import asyncio
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.ports import Clock
from posthouse.store.protocol import AdminFacet
from posthouse.telemetry import Log, log

LOOK_SECONDS: Final = 60.0  #: between two looks whether something is old enough, or may go now
STEP_ROWS: Final = 200  #: events or requests, with what belongs to them, in one transaction
PAUSE_SECONDS: Final = 0.005  #: between two steps, at least

_DAY_MS: Final = 86_400_000


class Retention:
    """Asks the store to drop what is older than so many days; with 0 days it never does.

    Each node asks; the store lets one of them work at a time.
    """

    def __init__(self, admin: AdminFacet, *, days: int, clock: Clock) -> None:
        self._admin = admin
        self._keep_ms = days * _DAY_MS
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Drop from now on."""
        if self._keep_ms:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Drop no longer. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._drop()
            except PosthouseError as error:  # somebody reads what is to go, or the store is away
                log(Log.LOOP_FAILED, exc_info=error, loop="retention")
            await asyncio.sleep(LOOK_SECONDS)

    async def _drop(self) -> None:
        while True:
            started = self._clock.monotonic()
            now = self._clock.now_ms()
            if not await self._admin.retain(now=now, keep_ms=self._keep_ms, limit=STEP_ROWS):
                return
            await asyncio.sleep(max(PAUSE_SECONDS, self._clock.monotonic() - started))
