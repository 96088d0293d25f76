"""The real clock and the real chance: what :mod:`posthouse.core.ports` asks for outside a simulation."""

import random
import secrets
import time


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Unix time in whole milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some point."""
        return time.monotonic()


class SystemEntropy:
    """The machine's chance; tokens come from the operating system."""

    def __init__(self) -> None:
        self._jitter = random.Random()  # noqa: S311  # jitter is no secret

    def random(self) -> float:
        """A float in [0, 1) for jitter."""
        return self._jitter.random()

    def token(self, size: int) -> bytes:
        """``size`` bytes fit for secrets."""
        return secrets.token_bytes(size)
