"""The watchdog: says which queues are stuck, from the store's own word and by no timer of theirs.

A queue is stuck when one and the same delivery has stood first in it, due, for longer than ``STUCK_MS``
although nothing holds it. What holds a queue is the sweep's to say; it shows the watchdog only those that
nothing holds. Whatever else the endpoint receives meanwhile proves nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import STUCK_MS
from posthouse.core.model import Lane
from posthouse.core.ports import Clock
from posthouse.telemetry import Log, log

#: In as many looks a queue must not have moved: a process that stood still between two of them proves nothing.
LOOKS_MIN: Final = 3
TOLD_MAX: Final = 100  #: queues that are named in the log at a time; the metrics count all of them

Queue = tuple[int, Lane]  #: an endpoint's key and a lane


class Mark(NamedTuple):
    """Which delivery stands first in a queue, and since when it is due. Different as soon as the queue has moved."""

    due_at: int
    event_key: int


class _Seen:
    """A queue that nothing holds, since it was first seen so."""

    __slots__ = ("looks", "mark", "since")

    def __init__(self, mark: Mark, since: float) -> None:
        self.mark = mark
        self.since = since
        self.looks = 1


class Watchdog:
    """Compares what waits now with what waited before.

    Time is that of the monotonic clock. The wall clock has to agree that the delivery is due, but a step
    of it makes nothing stuck.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Queue, _Seen] = {}
        self._told: set[Queue] = set()
        #: The stuck queues, and since when (monotonic seconds) they were seen not to move.
        self.stuck: dict[Queue, float] = {}

    @property
    def seconds(self) -> float:
        """For how long the oldest of the stuck queues has not moved; 0 if none is stuck."""
        return self._clock.monotonic() - min(self.stuck.values()) if self.stuck else 0.0

    def look(self, waiting: Mapping[Queue, Mark], *, free: bool) -> Sequence[Queue]:
        """Take in what waits now; the queues that are stuck from now on.

        Args:
            waiting: queues whose first delivery is due and which nothing of their own holds.
            free: whether the node could have sent more ever since the look before. If not, they waited for it.
        """
        now = self._clock.monotonic()
        overdue = self._clock.now_ms() - STUCK_MS
        seen: dict[Queue, _Seen] = {}
        found: list[Queue] = []
        for queue, mark in waiting.items():
            known = self._seen.get(queue)
            if known is None or known.mark != mark or not (free or queue in self.stuck):
                seen[queue] = _Seen(mark, now)
                continue
            seen[queue] = known
            known.looks += 1
            if (
                queue not in self.stuck
                and known.looks >= LOOKS_MIN
                and now - known.since >= STUCK_MS / 1_000
                and mark.due_at <= overdue
            ):
                found.append(queue)
        self._move([queue for queue in self.stuck if seen.get(queue) is not self._seen[queue]])
        self._seen = seen
        for queue in found:
            self.stuck[queue] = seen[queue].since
            if len(self._told) < TOLD_MAX:
                self._told.add(queue)
                _tell(Log.QUEUE_STUCK, queue, now - self.stuck[queue])
        return found

    def end(self) -> None:
        """Forget everything: the node works on nothing any more."""
        self._seen.clear()
        self._told.clear()
        self.stuck.clear()

    def _move(self, queues: Sequence[Queue]) -> None:
        now = self._clock.monotonic()
        for queue in queues:
            since = self.stuck.pop(queue)
            if queue in self._told:
                self._told.discard(queue)
                _tell(Log.QUEUE_MOVES, queue, now - since)


def _tell(event: Log, queue: Queue, seconds: float) -> None:
    endpoint_key, lane = queue
    log(event, endpoint=make_id(ENDPOINT, endpoint_key), lane=lane.name.lower(), seconds=round(seconds, 1))
