"""Wake-ups for windows: one heap and one timer of the loop, however many deliveries wait."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from posthouse.core.ports import Clock
from posthouse.engine.windows import Window

_SLEEP_MS_MAX: Final = 5_000  # the wall clock may step; look at it again at least this often


class Timers:
    """Calls ``due(window)`` when the wall clock reaches a window's time.

    A window has at most one valid time, the earliest one asked for; older entries of the heap are
    recognised by ``window.timer_at`` and skipped.
    """

    def __init__(self, clock: Clock, due: Callable[[Window], None]) -> None:
        self._clock = clock
        self._due = due
        self._heap: list[tuple[int, int, Window]] = []
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0
        self._closed = False

    def set(self, window: Window, at: int) -> None:
        """Wake ``window`` at Unix ms ``at``, unless it is to be woken earlier already."""
        if self._closed or (window.timer_at is not None and window.timer_at <= at):
            return
        window.timer_at = at
        self._count += 1  # breaks ties, so that windows are never compared
        heapq.heappush(self._heap, (at, self._count, window))
        if self._handle is None or at < self._handle_at:
            self._arm()

    def close(self) -> None:
        """Forget all of them, and take no more."""
        self._closed = True
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._handle_at = self._heap[0][0]
            wait_ms = min(max(0, self._handle_at - self._clock.now_ms()), _SLEEP_MS_MAX)
            self._handle = asyncio.get_running_loop().call_later(wait_ms / 1000, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.now_ms()
        try:
            while self._heap and self._heap[0][0] <= now:
                at, _, window = heapq.heappop(self._heap)
                if window.timer_at == at:
                    window.timer_at = None
                    self._due(window)
        finally:
            self._arm()  # one window that cannot be woken must not keep the others asleep
