"""Refills: reading the heads of queues from the store into windows that run low."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import WINDOW_BYTES_MAX, WINDOW_ITEMS_MAX
from posthouse.core.model import Lane
from posthouse.core.ports import Clock
from posthouse.engine.board import Board
from posthouse.engine.seldom import SeldomLog
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Window
from posthouse.store.protocol import Refill, Work, WorkFacet
from posthouse.telemetry import Log, Metrics

REFILL_BELOW: Final = WINDOW_ITEMS_MAX // 4  #: a window with less than this asks the store for more
FAR_FUTURE: Final = (1 << 62) - 1  #: Unix ms; everything is due by then
REFILLS_MAX: Final = 16  #: reads of the store under way at a time
READ_MAX: Final = 4_096  #: fresh deliveries that were read, of which is known for a while that they were
READ_MS: Final = 30_000  #: so long after its acceptance a store may still answer it
_AGAIN_MS: Final = 1_000  # after a read that failed
_HINT_MS: Final = 1_000  # whoever knows of due work has said so by then


class Refills:
    """Serves windows in the order in which they asked. ``filled()`` is called after each read."""

    def __init__(
        self,
        store: WorkFacet,
        board: Board,
        clock: Clock,
        timers: Timers,
        metrics: Metrics,
        *,
        is_ours: Callable[[Window], bool],
        filled: Callable[[], None],
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._timers = timers
        self._metrics = metrics
        self._is_ours = is_ours
        self._filled = filled
        self._reach = reach
        self._thirsty: deque[Window] = deque()
        self._reads: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._turned = False  # a read went well, or had to wait for room in memory, since somebody last asked
        self._read_lately: dict[tuple[int, int], None] = {}  # fresh ones, the oldest first
        self._log_failure = SeldomLog(Log.QUEUE_UNREADABLE, clock)

    def look(self, window: Window) -> None:
        """The store may hold due work for this window: read it when the buffer runs low."""
        window.more = True
        self.want(window)

    def sweep(self, window: Window) -> None:
        """As :meth:`look`, for work that the survey found: what no one else asked for is counted."""
        timer = window.timer_at
        is_due = timer is not None and timer <= self._clock.now_ms()
        known = window.more or window.refilling or window.unreadable or is_due
        self.look(window)
        window.unknown = not known and window.refilling

    def has_read(self, endpoint_key: int, event_key: int) -> bool:
        """Whether a delivery, accepted just now, was read before: the answer of a database took longer than its way."""
        return (endpoint_key, event_key) in self._read_lately

    def are_queueing(self) -> bool:
        """Whether windows wait for their turn, and turns have come since this was asked before."""
        turned, self._turned = self._turned, False
        return turned and bool(self._thirsty)

    def want(self, window: Window) -> None:
        """Ask for a read if the buffer runs low and the store may hold more."""
        if (
            window.more
            and not window.refilling
            and not window.desk.is_stopped
            and len(window.buffer) < REFILL_BELOW
            and not self._stopped
        ):
            window.refilling = True
            self._thirsty.append(window)
            self.serve()

    def serve(self) -> None:
        """Start as many reads as the bounds allow."""
        self._turned |= self._board.is_full
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
        self.serve()
        self._filled()

    async def _refill(self, window: Window) -> None:
        """Read for a window. Whatever goes wrong, its queue is read again soon."""
        try:
            await self._read(window)
        except Exception as error:  # noqa: BLE001 - it concerns this queue only
            if not window.unreadable:  # said once, until it can be read
                endpoint = make_id(ENDPOINT, window.desk.endpoint.key)
                self._log_failure(error, endpoint=endpoint, lane=window.lane.name.lower())
            window.unreadable = True
            self._timers.set(window, self._clock.now_ms() + _AGAIN_MS)
        else:
            window.unreadable = False
            self._turned = True

    async def _read(self, window: Window) -> None:
        """Read the head of the queue, and skip what is in hand now or was when the read began.

        Both matter: a delivery may be settled, or accepted into the buffer, while the read runs on
        an older snapshot.
        """
        desk = window.desk
        known = frozenset(desk.in_hand)
        window.more = False
        try:
            head = await self._fetch(window, len(known), now=self._clock.now_ms(), after=None)
            ahead, pull = None, desk.pull
            if pull is not None and window.lane is Lane.RETRY and not head.more:
                ahead = await self._fetch(window, len(known), now=FAR_FUTURE, after=pull)
        finally:
            window.refilling = False
        if not self._is_ours(window):
            return
        unknown, window.unknown = window.unknown, False
        offered = window.more  # accepted work met this read and was left to the store
        window.more = offered or head.more
        pushed, whole = self._take_in(window, head.work, known, unknown=unknown)
        if ahead is not None and whole:
            pushed += self._pull(window, ahead, known, pull)
        window.more |= not whole
        if head.next_due_at is not None:
            self._timers.set(window, head.next_due_at)
        if offered or pushed:  # Else all of it is in hand, and the next settlement asks again.
            self.want(window)

    async def _fetch(self, window: Window, known: int, *, now: int, after: tuple[int, int] | None) -> Refill:
        """Read the head of a queue; as many more as are known, because they are skipped."""
        self._reach(Failpoint.ADOPT_READING)
        head = await self._store.fetch(
            window.desk.endpoint.key,
            window.lane,
            now=now,
            limit=WINDOW_ITEMS_MAX + known,
            bytes_max=WINDOW_BYTES_MAX,
            after=after,
        )
        self._reach(Failpoint.ADOPT_READ)
        return head

    def _take_in(
        self, window: Window, works: Sequence[Work], known: frozenset[int], *, unknown: bool = False
    ) -> tuple[int, bool]:
        """Buffer what is not in hand, while there is room: how many, and whether there was room for all."""
        desk = window.desk
        hinted_at = self._clock.now_ms() - _HINT_MS
        pushed = 0
        for work in works:
            event_key = work.obligation.event_key
            if event_key in known or event_key in desk.in_hand:
                continue
            if window.is_full or desk.is_stopped:
                return pushed, False
            self._board.push(window, work)
            self._note(work)
            pushed += 1
            if unknown and work.obligation.due_at <= hinted_at:
                self._metrics.deliveries_swept += 1
        return pushed, True

    def _note(self, work: Work) -> None:
        """Remember what was read, as long as the answer to its acceptance may still be on its way."""
        if work.event.accepted_at > self._clock.now_ms() - READ_MS:
            lately = self._read_lately
            lately[work.obligation.endpoint_key, work.obligation.event_key] = None
            if len(lately) > READ_MAX:
                del lately[next(iter(lately))]

    def _pull(self, window: Window, ahead: Refill, known: frozenset[int], pull: tuple[int, int] | None) -> int:
        """Buffer retries before they are due, each once: how many. Without any left, nothing is pulled any more.

        ``pull``: from where ``ahead`` was read.
        """
        desk = window.desk
        pushed, whole = self._take_in(window, ahead.work, known)
        if desk.pull != pull:  # Something came meanwhile that is to be pulled too: from there on once more.
            window.more = True
            return pushed
        if not ahead.work:
            desk.pull = None
            return 0
        window.more = True
        if whole:
            last = ahead.work[-1].obligation
            desk.pull = (last.due_at, last.event_key)
        return pushed
