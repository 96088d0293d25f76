"""Keeps the catalogue up to date with what other nodes change: a pause at one reaches all of them within a second."""

import asyncio
from contextlib import suppress

from posthouse.core.limits import CATALOGUE_LOOK_MS
from posthouse.gateway.catalogue import Catalogue
from posthouse.telemetry import Log, log


class Follower:
    """Asks the store for what was changed: every ``CATALOGUE_LOOK_MS``, and at once where the copy is behind.

    While nothing was changed that is one read of one row.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Follow no longer. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        behind = self._catalogue.behind
        is_failing = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CATALOGUE_LOOK_MS / 1_000):
                    await behind.wait()
            behind.clear()
            try:
                await self._catalogue.refresh()
                is_failing = False
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look may go well
                if not is_failing:  # said once, not twice a second for as long as the store is away
                    log(Log.LOOP_FAILED, exc_info=error, loop="catalogue")
                is_failing = True
