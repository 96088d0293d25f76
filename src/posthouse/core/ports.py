"""What the node takes from outside, so that a simulation can replace it: time and chance."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one says what time it is, the other only ever goes forward."""

    def now_ms(self) -> int:
        """Unix time, UTC, in whole milliseconds. May step."""
        ...

    def monotonic(self) -> float:
        """Seconds from some point; never goes back. For deadlines and durations."""
        ...


class Entropy(Protocol):
    """Where chance comes from."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def token(self, size: int) -> bytes:
        """``size`` bytes fit for secrets."""
        ...
