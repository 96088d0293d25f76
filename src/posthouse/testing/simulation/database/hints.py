"""Hints between nodes through the simulated server: coalesced, late, and now and then lost."""

from collections.abc import Callable
from contextvars import copy_context
from random import Random
from typing import Final

from posthouse.store.protocol import Hints
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.tasks import LIFE

_GATHERED: Final = 0.015  #: seconds


class Exchange:
    """Who listens to whom.

    Args:
        loop: the loop.
        chance: its own.
        passes: whether what a node says reaches the server now, or what that says a node.

    Attributes:
        lost: how likely a hint is lost on its way to one of those who listen.
    """

    def __init__(
        self, loop: SimLoop, chance: Random, passes: Callable[[int], bool], happens: Callable[[str], None]
    ) -> None:
        self.lost = 0.0
        self._loop = loop
        self._chance = chance
        self._passes = passes
        self._happens = happens
        self._listeners: list[SimHints] = []

    def join(self, node: int) -> "SimHints":
        """The channel of one life of a node."""
        channel = SimHints(self, self._loop, node)
        self._listeners = [other for other in self._listeners if not self._loop.is_dead(other.life)]
        self._listeners.append(channel)
        return channel

    def shout(self, channel: "SimHints", hints: list[Hints]) -> None:
        """Pass hints on to everybody else."""
        for other in self._listeners:
            if other is channel:
                continue
            if not (self._passes(channel.node) and self._passes(other.node)) or self._chance.random() < self.lost:
                self._happens("hint lost")
                continue
            self._happens("hint")
            at = self._loop.now + self._chance.uniform(0.000_2, 0.003)
            self._loop.call_at(at, other.hear, hints, context=other.context)


class SimHints:
    """A :class:`posthouse.store.protocol.HintsChannel`."""

    def __init__(self, exchange: Exchange, loop: SimLoop, node: int) -> None:
        self.node = node
        self.context = copy_context()
        self.life = self.context.get(LIFE, 0)
        self._exchange = exchange
        self._loop = loop
        self._told: list[Callable[[Hints], None]] = []
        self._gathered: list[Hints] = []

    def tell(self, hints: Hints) -> None:
        """Tell the others soon."""
        if not self._gathered:
            self._loop.call_later(_GATHERED, self._send)
        self._gathered.append(hints)

    def when_told(self, told: Callable[[Hints], None]) -> None:
        """Call ``told`` with what others tell."""
        self._told.append(told)

    def hear(self, hints: list[Hints]) -> None:
        """Others told something."""
        for told in self._told:
            for each in hints:
                told(each)

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._exchange.shout(self, gathered)
