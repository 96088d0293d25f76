"""Refills: reading the heads of queues from the store into windows that run low."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import WINDOW_BYTES_MAX, WINDOW_ITEMS_MAX
from posthouse.core.ports import Clock
from posthouse.engine.board import Board
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Window
from posthouse.store.protocol import WorkFacet
from posthouse.telemetry import Log, log

REFILL_BELOW: Final = WINDOW_ITEMS_MAX // 4  #: a window with less than this asks the store for more
REFILLS_MAX: Final = 16  #: reads of the store under way at a time
_AGAIN_MS: Final = 1_000  # after a read that failed


class Refills:
    """Serves windows in the order in which they asked. ``filled()`` is called after each read."""

    def __init__(
        self,
        store: WorkFacet,
        board: Board,
        clock: Clock,
        timers: Timers,
        *,
        is_ours: Callable[[Window], bool],
        filled: Callable[[], None],
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._timers = timers
        self._is_ours = is_ours
        self._filled = filled
        self._reach = reach
        self._thirsty: deque[Window] = deque()
        self._reads: set[asyncio.Task[None]] = set()
        self._stopped = False

    def look(self, window: Window) -> None:
        """The store may hold due work for this window: read it when the buffer runs low."""
        window.more = True
        self.want(window)

    def want(self, window: Window) -> None:
        """Ask for a read if the buffer runs low and the store may hold more."""
        if (
            window.more
            and not window.refilling
            and not window.desk.is_held
            and len(window.buffer) < REFILL_BELOW
            and not self._stopped
        ):
            window.refilling = True
            self._thirsty.append(window)
            self.serve()

    def serve(self) -> None:
        """Start as many reads as the bounds allow."""
        while self._thirsty and len(self._reads) < REFILLS_MAX and not self._board.is_full and not self._stopped:
            task = asyncio.get_running_loop().create_task(self._refill(self._thirsty.popleft()))
            self._reads.add(task)
            task.add_done_callback(self._done)

    async def stop(self) -> None:
        """Read nothing more."""
        self._stopped = True
        self._thirsty.clear()
        for task in self._reads:
            task.cancel()
        if self._reads:
            await asyncio.wait(self._reads)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._reads.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log(Log.LOOP_FAILED, exc_info=task.exception(), loop="refill")
        self.serve()
        self._filled()

    async def _refill(self, window: Window) -> None:
        """Read the head of the queue, and skip what is in hand now or was when the read began.

        Both matter: a delivery may be settled, or accepted into the buffer, while the read runs on
        an older snapshot.
        """
        desk = window.desk
        known = frozenset(desk.in_hand)
        window.more = False
        try:
            self._reach(Failpoint.ADOPT_READING)
            head = await self._store.fetch(
                desk.endpoint.key,
                window.lane,
                now=self._clock.now_ms(),
                limit=WINDOW_ITEMS_MAX + len(known),
                bytes_max=WINDOW_BYTES_MAX,
            )
            self._reach(Failpoint.ADOPT_READ)
        except PosthouseError:
            self._timers.set(window, self._clock.now_ms() + _AGAIN_MS)
            return
        finally:
            window.refilling = False
        if not self._is_ours(window):
            return
        offered = window.more  # accepted work met this read and was left to the store
        pushed = 0
        window.more = offered or head.more
        for work in head.work:
            event_key = work.obligation.event_key
            if event_key in known or event_key in desk.in_hand:
                continue
            if window.is_full or desk.is_held:
                window.more = True
                break
            self._board.push(window, work)
            pushed += 1
        if head.next_due_at is not None:
            self._timers.set(window, head.next_due_at)
        if offered or pushed:  # Else all of it is in hand, and the next settlement asks again.
            self.want(window)
