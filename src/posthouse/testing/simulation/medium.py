"""What lies between two machines: how long a segment takes, and what becomes of it."""

import random
from collections import Counter
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.trace import Trace

Address = tuple[str, int]  #: a numeric address and a port


@dataclass(slots=True, kw_only=True)
class NetworkFaults:
    """What is wrong with the network now. May be changed at any time; times are seconds, chances within [0, 1].

    Attributes:
        latency: the least and the most that one segment takes.
        loss: chance that a segment is lost; all behind it waits until it was sent again.
        retransmit_s: how long that takes; in a black hole it doubles with each try.
        reset: chance that a segment breaks its connection, for both sides.
        refused: addresses at which nobody listens.
        black_holes: addresses from and to which nothing arrives: no connection comes about, those that are
            open are silent in both directions. What was sent arrives later if the hole closes in time.
        dead_names: names that cannot be resolved.
        slow_names: what a look-up takes besides the latency.
        chunk: the smallest and the largest piece that segments are cut into; None: they stay whole.
    """

    latency: tuple[float, float] = (0.000_05, 0.000_5)
    loss: float = 0.0
    retransmit_s: float = 0.2
    reset: float = 0.0
    refused: set[Address] = field(default_factory=set)
    black_holes: set[Address] = field(default_factory=set)
    dead_names: set[str] = field(default_factory=set)
    slow_names: float = 0.0
    chunk: tuple[int, int] | None = None


class Medium:
    """The network's loop, chance and faults, for whoever sends something through it.

    Attributes:
        outside: the context of what happens in the network itself, in nobody's life.
        happened: how often each fault did something.
    """

    outside: Final[Context]

    def __init__(self, loop: SimLoop, chance: random.Random, trace: Trace) -> None:
        self.loop = loop
        self.trace = trace
        self.faults = NetworkFaults()
        self.happened: Counter[str] = Counter()
        self.outside = Context()
        self.random = chance.random

    def latency(self) -> float:
        """How long the next segment takes."""
        least, most = self.faults.latency
        return least + (most - least) * self.random()

    def strikes(self, fault: str, chance: float) -> bool:
        """Whether a fault that has some chance happens now; it is counted if it does."""
        if chance and self.random() < chance:
            self.happens(fault)
            return True
        return False

    def happens(self, fault: str, *values: object) -> None:
        """Count a fault."""
        self.happened[fault] += 1
        self.trace.note(fault, *values)

    def cut(self, data: bytes) -> list[bytes]:
        """``data`` in pieces, as the faults say."""
        chunk = self.faults.chunk
        if chunk is None:
            return [data]
        pieces: list[Any] = []
        start, (least, most) = 0, chunk
        while start < len(data):
            end = start + least + int(self.random() * (most - least + 1))
            pieces.append(data[start:end])
            start = end
        if len(pieces) > 1:
            self.happens("chunked")
        return pieces
