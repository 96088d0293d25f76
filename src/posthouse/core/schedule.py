"""Whose turn it is: the scheduler as a pure function of what it sees."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core.model import Lane

#: The lanes other than live keep one part in so many (20 %) of what they and live compete for.
OTHERS_PART: Final = 5


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A window that could send now."""

    window: int  #: the caller's own key of the window; not looked at
    lane: Lane
    available: int  #: work in its buffer that is due
    free: int  #: requests that its endpoint may still have in flight; the same in all windows of the endpoint
    endpoint: int


def plan(ready: Sequence[Ready], capacity: int, turn: int = 0) -> list[tuple[int, int]]:
    """How much to take from each window now.

    Live goes first. Of the capacity, and of an endpoint's free room, the other lanes keep a fifth
    (rounded up) while they have work; what they cannot use goes to live, and the reverse. Where there
    is room for one only, each fifth turn is theirs. Within live, and within the others, windows take
    one each in the given order, again and again, until capacity or work is spent. No capacity stays
    unused while a window has work and its endpoint has room. Costs O(len(ready) + capacity).

    Args:
        ready: the windows, the one whose turn it is first: the caller moves what was served to the end.
        capacity: requests that may start now, over all endpoints.
        turn: a number that grows by one with every call.

    Returns:
        (position in ``ready``, how many to take), each position once, none with 0; live lane first.
    """
    if capacity <= 0:
        return []
    wanted = [min(window.available, window.free) for window in ready]
    live = [i for i, window in enumerate(ready) if window.lane == Lane.LIVE]
    if sum(wanted) <= capacity and len(live) == len({window.endpoint for window in ready}) == len(ready):
        return [(i, count) for i, count in enumerate(wanted) if count]  # nobody competes
    others = [i for i, window in enumerate(ready) if window.lane != Lane.LIVE]
    free = {window.endpoint: window.free for window in ready}
    taken = [0] * len(ready)
    quota = _quota(ready, others, free, turn) if live and others else dict(free)
    ring = _Ring(ready, others, taken, [free, quota])
    kept = _share(capacity, turn) if live else capacity
    left = capacity - ring.take(kept)
    left -= _Ring(ready, live, taken, [free]).take(left)
    ring.take(left)
    return [(i, taken[i]) for group in (live, others) for i in group if taken[i]]


def _share(room: int, turn: int) -> int:
    """The part of ``room`` that the other lanes keep."""
    if room > 1:
        return -(-room // OTHERS_PART)
    return room if turn % OTHERS_PART == OTHERS_PART - 1 else 0


def _quota(ready: Sequence[Ready], others: Sequence[int], free: dict[int, int], turn: int) -> dict[int, int]:
    """Endpoint → the room that its other lanes may take: what live leaves over, but their share at least."""
    wanted_live = dict.fromkeys(free, 0)
    for window in ready:
        if window.lane == Lane.LIVE:
            wanted_live[window.endpoint] += window.available
    endpoints = {ready[i].endpoint for i in others}
    return {e: max(free[e] - wanted_live[e], _share(free[e], turn)) for e in endpoints}


class _Ring:
    """Windows that take one each in turn; keeps its place between calls."""

    def __init__(
        self, ready: Sequence[Ready], positions: Sequence[int], taken: list[int], rooms: Sequence[dict[int, int]]
    ) -> None:
        self._ready = ready
        self._waiting = deque(positions)
        self._taken = taken
        self._rooms = rooms

    def take(self, limit: int) -> int:
        """Take up to ``limit`` in all, counting down every room of the endpoint; the number taken.

        A window without work or room leaves the ring for good: neither ever comes back within a plan.
        """
        ready, waiting, taken, rooms = self._ready, self._waiting, self._taken, self._rooms
        count = 0
        while count < limit and waiting:
            position = waiting.popleft()
            window = ready[position]
            if taken[position] >= window.available or any(room[window.endpoint] <= 0 for room in rooms):
                continue
            for room in rooms:
                room[window.endpoint] -= 1
            taken[position] += 1
            count += 1
            waiting.append(position)
        return count
