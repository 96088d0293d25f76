"""One loop of virtual time for all examples: connections are in memory, and a minute of waiting costs nothing."""

import random
from collections.abc import Iterator

import pytest

from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.trace import Trace


@pytest.fixture(scope="module")
def loop() -> Iterator[SimLoop]:
    """With a network."""
    loop = SimLoop(1, shuffle=0, trace=Trace())
    SimNetwork(loop, random.Random(1), loop.trace)
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def network(loop: SimLoop) -> SimNetwork:
    """The network of the loop."""
    assert isinstance(loop.network, SimNetwork)
    return loop.network
