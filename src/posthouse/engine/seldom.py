"""Logging what may happen thousands of times a second: one line at a time, with how often it happened."""

from typing import Final

from posthouse.core.ports import Clock
from posthouse.telemetry import Log, log

SECONDS: Final = 1.0  #: between two lines, at least


class SeldomLog:
    """Writes one declared event. What comes too soon after a line is only counted, and told by the next one."""

    def __init__(self, event: Log, clock: Clock) -> None:
        self._event = event
        self._clock = clock
        self._next_at = clock.monotonic()
        self._count = 0

    def __call__(self, error: BaseException | None = None, **fields: object) -> None:
        """It, or ``error``, happened once more.

        ``fields`` tell of this time, ``count`` how often since the line before.
        """
        self._count += 1
        now = self._clock.monotonic()
        if now >= self._next_at:
            log(self._event, exc_info=error, count=self._count, **fields)
            self._next_at = now + SECONDS
            self._count = 0
