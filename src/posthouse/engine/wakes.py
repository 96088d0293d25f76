"""Wake-ups by the monotonic clock: for whom a rate, a pause after a failure or a batch that fills has an end."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from posthouse.core.ports import Clock

NEVER: Final = float("inf")


class Sleeper(Protocol):
    """Has one time at most at which it is woken, monotonic seconds; ``NEVER`` if none."""

    wake_at: float


Item = TypeVar("Item", bound=Sleeper)


class Wakes(Generic[Item]):
    """Calls ``wake(item)`` at the earliest time that was asked for: one heap and one timer of the loop for all."""

    def __init__(self, clock: Clock, wake: Callable[[Item], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._heap: list[tuple[float, int, Item]] = []
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = NEVER
        self._closed = False

    def set(self, item: Item, at: float) -> None:
        """Wake ``item`` at monotonic time ``at``, unless it is to be woken earlier already."""
        if self._closed or item.wake_at <= at:
            return
        item.wake_at = at
        self._count += 1  # breaks ties, so that items are never compared
        heapq.heappush(self._heap, (at, self._count, item))
        if at < self._handle_at:
            self._arm()

    def close(self) -> None:
        """Forget all of them, and take no more."""
        self._closed = True
        self._heap.clear()
        self._disarm()

    def fire(self) -> None:
        """Wake everybody whose time has come; also between times, for whoever knows that the clock has moved."""
        self._disarm()
        now = self._clock.monotonic()
        try:
            while self._heap and self._heap[0][0] <= now:
                at, _, item = heapq.heappop(self._heap)
                if item.wake_at == at:  # else it is an older entry
                    item.wake_at = NEVER
                    self._wake(item)
        finally:
            self._arm()  # one that cannot be woken must not keep the others asleep

    def _disarm(self) -> None:
        if self._handle is not None:  # a timer that nobody holds any more would arm another one each time it fires
            self._handle.cancel()
            self._handle = None
        self._handle_at = NEVER

    def _arm(self) -> None:
        self._disarm()
        if self._heap and not self._closed:
            self._handle_at = self._heap[0][0]
            wait = max(0.0, self._handle_at - self._clock.monotonic())
            self._handle = asyncio.get_running_loop().call_later(wait, self.fire)
