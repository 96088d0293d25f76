"""The settle batcher: outcomes of one turn of the loop become durable together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.protocol import Settled, Settlement, WorkFacet
from posthouse.telemetry import Log, log

AGAIN_SECONDS: Final = 0.5  # after a store that refused (disk full): the outcomes stay here meanwhile


class Settler:
    """Collects settlements, writes them, and reports what came of them.

    ``done(settlements, settled)`` is called once their transaction is durable. A refused write
    (the store is full, say) keeps the outcomes and tries again; they are never dropped, and
    :attr:`unsettled` lets the engine stop sending before they pile up.
    """

    def __init__(
        self,
        store: WorkFacet,
        *,
        broken: Callable[[], bool],
        done: Callable[[Sequence[Settlement], Settled], None],
        reach: Reach = pass_by,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._broken = broken
        self._done = done
        self._reach = reach
        self._pending: list[Settlement] = []
        self._scheduled = False
        self._writes: set[asyncio.Task[None]] = set()
        #: Outcomes that are known but not durable yet.
        self.unsettled = 0

    def add(self, settlement: Settlement) -> None:
        """Write this outcome with the next batch."""
        self._pending.append(settlement)
        self.unsettled += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def drain(self, seconds: float) -> None:
        """Return when everything that was added is durable, or cannot be made so, or ``seconds`` are over.

        What is not durable then is given up: its deliveries are open in the store and go out again.
        """
        deadline = self._loop.time() + seconds
        self._flush()
        while self._writes and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(self._writes, timeout=left)
        for task in self._writes:
            task.cancel()

    def _flush(self) -> None:
        self._scheduled = False
        batch, self._pending = self._pending, []
        if batch:
            task = self._loop.create_task(self._write(batch))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write(self, batch: list[Settlement]) -> None:
        while True:
            self._reach(Failpoint.SETTLE_HANDED_IN)
            try:
                settled = await self._store.settle(batch)
            except PosthouseError as error:
                log(Log.SETTLE_FAILED, code=error.code, detail=error.message, outcomes=len(batch))
                if self._broken():
                    return  # The process ends now; these deliveries are open in the store and go out again.
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                break
        self._reach(Failpoint.SETTLE_DURABLE)
        self.unsettled -= len(batch)
        self._done(batch, settled)
        self._reach(Failpoint.SETTLE_DONE)
