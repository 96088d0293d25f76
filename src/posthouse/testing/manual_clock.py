"""A clock that stands still until it is told to go on."""


class ManualClock:
    """Implements :class:`posthouse.core.ports.Clock`; both clocks move together, only by :meth:`advance`."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        """Unix time in whole milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds since it was made."""
        return self._monotonic_ms / 1000

    def advance(self, ms: int) -> None:
        """Let ``ms`` milliseconds pass."""
        self._now_ms += ms
        self._monotonic_ms += ms

    def step(self, ms: int) -> None:
        """Set the wall clock forward or back, as an operator or NTP would; the monotonic one goes on."""
        self._now_ms += ms
