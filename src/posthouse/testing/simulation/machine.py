"""The clocks and the chance of a simulated machine."""

from random import Random
from typing import Final

from posthouse.testing.simulation.loop import SimLoop

EPOCH_MS: Final = 1_780_000_000_000  #: Unix time at second 0 of the loop, before the clock steps


class SimClock:
    """Implements :class:`posthouse.core.ports.Clock` on virtual time. The wall clock may step.

    Attributes:
        steps: from which loop time on the wall clock was ahead of the true time by how many ms.
    """

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.steps: list[tuple[float, int]] = [(0.0, 0)]

    def now_ms(self) -> int:
        """Unix time as the machine believes."""
        return EPOCH_MS + int(self._loop.now * 1_000) + self.steps[-1][1]

    def monotonic(self) -> float:
        """Seconds that never step."""
        return self._loop.now

    def step(self, ms: int) -> None:
        """Set the wall clock forward or back, relative to what it shows."""
        self.steps.append((self._loop.now, self.steps[-1][1] + ms))

    def correct(self) -> None:
        """Let the wall clock show the true time again."""
        self.steps.append((self._loop.now, 0))

    def times_of(self, wall_ms: int, span_ms: int = 1) -> list[tuple[float, float]]:
        """When, in loop time, the wall clock showed ``wall_ms`` up to ``wall_ms + span_ms``.

        Several spans, or none, if it stepped; each closed at both ends, and a millisecond generous.
        """
        spans = []
        ends = [at for at, _ in self.steps[1:]] + [float("inf")]
        for (begin, ahead), end in zip(self.steps, ends, strict=True):
            low = (wall_ms - EPOCH_MS - ahead) / 1_000 - 0.001
            high = low + span_ms / 1_000 + 0.002
            if low <= end and high >= begin:
                spans.append((max(low, begin), min(high, end)))
        return spans


class SimEntropy:
    """Implements :class:`posthouse.core.ports.Entropy` by a seeded generator."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._chance.random()

    def token(self, size: int) -> bytes:
        """Bytes; secret only within the history."""
        return self._chance.randbytes(size)
