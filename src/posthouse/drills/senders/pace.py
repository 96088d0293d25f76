"""Time and chance of a simulated sender: its waits may run faster than in reality."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from posthouse.core.ports import Clock

Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """How fast a sender lives.

    Args:
        clock: of this machine.
        speed: by which the sender's waits and spans are divided: retries, heartbeats, give-ups, ages.
        deadline_speed: by which the deadlines of its requests are divided; the receiver is no faster for it.
        seed: of everything random.
        sleep: lets seconds of ``clock`` pass.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        speed: float = 1.0,
        deadline_speed: float = 1.0,
        seed: int = 1,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same events for the same seed
        self._clock = clock
        self._speed = speed
        self._deadline_speed = deadline_speed
        self._sleep = sleep
        self._began = clock.monotonic()

    def now_ms(self) -> int:
        """Unix ms of this machine: what the events say that they happened at."""
        return self._clock.now_ms()

    def elapsed_s(self) -> float:
        """Seconds of the sender's time since this was made."""
        return (self._clock.monotonic() - self._began) * self._speed

    def deadline_s(self, seconds: float) -> float:
        """A deadline of the sender in seconds of this machine."""
        return seconds / self._deadline_speed

    def identity(self) -> str:
        """A UUID that was not there before."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def hex(self, digits: int) -> str:
        """So many random hexadecimal digits."""
        return f"{self.chance.getrandbits(4 * digits):0{digits}x}"

    async def wait(self, seconds: float) -> None:
        """Let seconds of the sender's time pass."""
        await self._sleep(seconds / self._speed)

    async def due(self, total: int, rate: float, *, at_once: int = 1) -> AsyncIterator[int]:
        """How many of ``total`` are due now, at ``rate`` a second of this machine; at most ``at_once`` each time."""
        began, done = self._clock.monotonic(), 0
        while done < total:
            wait_s = began + done / rate - self._clock.monotonic()
            # Who is behind lets others have a turn too.
            await (self._sleep(wait_s) if wait_s > 0 else asyncio.sleep(0))
            passed = (self._clock.monotonic() - began) * rate
            ready = total if math.isinf(rate) else max(int(passed) + 1, done + 1)
            number = min(ready - done, at_once, total - done)
            yield number
            done += number
