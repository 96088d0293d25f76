"""Drops what is old, a step at a time, with pauses as long as the steps, so that deliveries keep their latency."""

import asyncio
from typing import Final

from posthouse.core.ports import Clock
from posthouse.store.protocol import AdminFacet, FeedFacet
from posthouse.telemetry import Log, log

LOOK_SECONDS: Final = 60.0  #: between two looks whether something is old enough, or may go now
STEP_ROWS: Final = 200  #: events or requests, with what belongs to them, in one transaction
STEP_COMMITS: Final = 1_000  #: of the feed, let go in one transaction
PAUSE_SECONDS: Final = 0.005  #: between two steps, at least

_DAY_MS: Final = 86_400_000


class Retention:
    """Asks the store to drop what is older than so many days; with 0 days it never does.

    The feed lets go of it first: whoever has not read it is told so, and not given less than there was. Each node asks;
    the store lets one of them work at a time.
    """

    def __init__(self, admin: AdminFacet, feed: FeedFacet, *, days: int, clock: Clock) -> None:
        self._admin = admin
        self._feed = feed
        self._keep_ms = days * _DAY_MS
        self._clock = clock
        self._let_go_before = 0  # Unix ms: by the feed, as far as this node knows
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
            except Exception as error:  # noqa: BLE001 - somebody reads what is to go, or the store is away, or whatever
                log(Log.LOOP_FAILED, exc_info=error, loop="retention")
            await asyncio.sleep(LOOK_SECONDS)

    async def _drop(self) -> None:
        while True:
            started = self._clock.monotonic()
            now = self._clock.now_ms()
            await self._let_go(before=(now - self._keep_ms) // _DAY_MS * _DAY_MS)
            if not await self._admin.retain(now=now, keep_ms=self._keep_ms, limit=STEP_ROWS):
                return
            await asyncio.sleep(max(PAUSE_SECONDS, self._clock.monotonic() - started))

    async def _let_go(self, *, before: int) -> None:
        """Let the feed begin behind what may be dropped now."""
        while before > self._let_go_before:
            if await self._feed.forget(before=before, limit=STEP_COMMITS) < STEP_COMMITS:
                self._let_go_before = before
            await asyncio.sleep(PAUSE_SECONDS)
