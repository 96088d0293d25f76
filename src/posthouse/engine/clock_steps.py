"""Steps of the wall clock, seen against the monotonic one."""

from typing import Final

from posthouse.core.ports import Clock

STEP_MS_MIN: Final = 1_000  #: less than this is drift, or NTP at its ordinary work
_READ_SECONDS_MAX: Final = 0.1  # both clocks were read together
_READS_MAX: Final = 5


class ClockSteps:
    """Remembers how far the two clocks lie apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_ms = self._measure()

    def look(self) -> int:
        """By how many ms the wall clock was stepped since the look before; 0 if it was not."""
        before, self._apart_ms = self._apart_ms, self._measure()
        by_ms = self._apart_ms - before
        return by_ms if abs(by_ms) >= STEP_MS_MIN else 0

    def _measure(self) -> int:
        """The wall clock less the monotonic one, in ms; read again if the process stood still in between."""
        clock = self._clock
        apart_ms = 0
        for _ in range(_READS_MAX):
            started = clock.monotonic()
            apart_ms = clock.now_ms() - round(started * 1_000)
            if clock.monotonic() - started < _READ_SECONDS_MAX:
                break
        return apart_ms
