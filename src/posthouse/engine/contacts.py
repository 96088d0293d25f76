"""What a node keeps of an endpoint that gets more than its deliveries: a handshake first, then heartbeats."""

from typing import TYPE_CHECKING, Final

from posthouse.engine.wakes import NEVER

if TYPE_CHECKING:
    from posthouse.engine.windows import Desk

AGAIN_SECONDS_MIN: Final = 10.0  #: after the first handshake that was not answered, then twice as long each time
AGAIN_SECONDS_MAX: Final = 600.0
_DOUBLINGS_MAX: Final = 6  # more of them are beyond AGAIN_SECONDS_MAX


class Contact:
    """The handshake or the heartbeats of one endpoint, in memory only. Times are monotonic seconds."""

    __slots__ = ("desk", "due_at", "failing_since", "failures", "is_busy", "is_greeting", "url", "wake_at")

    def __init__(self, desk: "Desk", due_at: float) -> None:
        self.desk = desk
        self.url = desk.endpoint.url
        self.is_greeting = desk.is_unmet  #: it is about the handshake
        self.due_at = due_at  #: when the next request of this kind goes
        self.is_busy = False  #: one is on its way
        self.failures = 0  #: handshakes that were not answered as they must be
        self.failing_since: int | None = None  #: when the first of them ended, Unix ms
        self.wake_at = NEVER

    def failed(self, now: float, now_ms: int) -> None:
        """A handshake was not answered as it must be."""
        self.due_at = self.again_at(now)
        self.failures += 1
        if self.failing_since is None:
            self.failing_since = now_ms

    def again_at(self, now: float) -> float:
        """When a handshake goes that follows one which fails now."""
        return now + min(AGAIN_SECONDS_MIN * (1 << min(self.failures, _DOUBLINGS_MAX)), AGAIN_SECONDS_MAX)
