"""The settle batcher: outcomes of one turn of the loop become durable together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.protocol import Settled, Settlement, WorkFacet
from posthouse.telemetry import Log, log

AGAIN_SECONDS: Final = 0.5  # after a store that refused (disk full): the outcomes stay here meanwhile


class Settler:
    """Collects settlements, writes them, and reports what came of them.

    ``done(settlements, settled)`` is called once their transaction is durable. A store that cannot
    write now (it is full, say) keeps the outcomes here and is asked again; they are never dropped, and
    :attr:`unsettled` lets the engine stop sending before they pile up. An outcome that cannot be
    written at all does not keep the others from it: it is found, and ``refused(settlement, error)``
    gets it. ``lost(settlements)`` gets those of which nobody here knows any more what became of them.
    """

    def __init__(
        self,
        store: WorkFacet,
        *,
        broken: Callable[[], bool],
        done: Callable[[Sequence[Settlement], Settled], None],
        refused: Callable[[Settlement, Exception], None],
        lost: Callable[[Sequence[Settlement]], None],
        reach: Reach = pass_by,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._broken = broken
        self._done = done
        self._refused = refused
        self._lost = lost
        self._reach = reach
        self._pending: list[Settlement] = []
        self._scheduled = False
        self._writes: set[asyncio.Task[None]] = set()
        self._writing: list[list[list[Settlement]]] = []  # of each write, the parts that it has still to write
        #: Outcomes that are known but not durable yet.
        self.unsettled = 0

    def add(self, settlement: Settlement) -> None:
        """Write this outcome with the next batch."""
        self._pending.append(settlement)
        self.unsettled += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def deliveries(self) -> set[tuple[int, int]]:
        """(Endpoint key, event key) of the deliveries of which an outcome is known but not durable yet."""
        parts = [self._pending, *(part for parts in self._writing for part in parts)]
        owed = (settlement.obligation for part in parts for settlement in part)
        return {(obligation.endpoint_key, obligation.event_key) for obligation in owed}

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
        """Write a batch; where the store refuses it, its halves, and so on down to the one that spoils it."""
        parts = [batch]
        self._writing.append(parts)
        try:
            while parts:
                part = parts[-1]
                self._reach(Failpoint.SETTLE_HANDED_IN)
                try:
                    settled = await self._store.settle(part)
                except StoreUnavailable as error:
                    log(Log.SETTLE_FAILED, code=error.code, detail=error.message, outcomes=len(part))
                    if self._broken():
                        return  # The process ends now; these deliveries are open in the store and go out again.
                    await asyncio.sleep(AGAIN_SECONDS)
                except Exception as error:  # noqa: BLE001 - whatever it is, it lies in one of these outcomes
                    self._divide(parts, error)
                else:
                    self._reach(Failpoint.SETTLE_DURABLE)
                    self._done(part, settled)
                    self.unsettled -= len(parts.pop())
                    self._reach(Failpoint.SETTLE_DONE)
        except Exception as error:  # noqa: BLE001 - nothing may stay in hand for which nobody works any more
            log(Log.LOOP_FAILED, exc_info=error, loop="settle")
            for part in parts:
                self.unsettled -= len(part)
                self._lost(part)
        finally:
            self._writing.remove(parts)

    def _divide(self, parts: list[list[Settlement]], error: Exception) -> None:
        """Put halves in the place of the part that was refused; one that is alone is to blame."""
        part = parts.pop()
        if len(part) > 1:
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
            return
        self.unsettled -= 1
        self._refused(part[0], error)
