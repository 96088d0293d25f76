"""Virtual time, and the way of calls between nodes and their register."""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from posthouse.testing.fleet.register import Register
from posthouse.testing.fleet.rules import Rules

_WRITES_IN_A_BIN = 1.0  #: second: of the busiest one is told


class World:
    """Time, chance, and the register with its network.

    Attributes:
        now: seconds since the beginning.
        still_until: the register answers nothing before that.
        busy: second → transactions in it.
    """

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules = rules
        self.chance = Random(seed)  # noqa: S311 - seeded chance makes a history repeatable
        self.register = Register()
        self.now = 0.0
        self.still_until = 0.0
        self.busy: dict[int, int] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call it so many seconds from now."""
        heapq.heappush(self._heap, (self.now + delay, next(self._numbers), call))

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, call = heapq.heappop(self._heap)
        call()

    def run(self, seconds: float) -> None:
        """Let everything happen that happens within so many seconds."""
        until = self.now + seconds
        while self._heap and self._heap[0][0] <= until:
            self.step()
        self.now = until

    def ask(self, transaction: Callable[[], Callable[[], None]]) -> None:
        """Run a transaction of the register after the way there; what it gives back is called after the way back."""

        def arrive() -> None:
            if self.now < self.still_until:
                self.after(self.still_until - self.now + self._way(), arrive)
                return
            second = int(self.now / _WRITES_IN_A_BIN)
            self.busy[second] = self.busy.get(second, 0) + 1
            self.after(self._way(), transaction())

        self.after(self._way(), arrive)

    def _way(self) -> float:
        way = self.rules.latency / 2 * (1 + self.chance.random())
        if self.chance.random() < self.rules.slow:
            way += self.chance.random() * self.rules.slow_for
        return way
