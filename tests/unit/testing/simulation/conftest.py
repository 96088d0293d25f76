"""A loop and a network, and that nothing was left to complain about; both sides of a connection."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from posthouse.testing.simulation.loop import LIFE, SimLoop, pass_time
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.trace import Trace

SERVER = ("203.0.114.1", 80)


class Side(asyncio.Protocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.data = b""
        self.error: Exception | None = None
        self.lives: set[int] = set()
        self.keep_open = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._note("lost")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def _note(self, event: str) -> None:
        self.lives.add(LIFE.get())
        if event != "data" or self.events[-1] != "data":
            self.events.append(event)


class Pair:
    """A server, and connections to it."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.accepted: list[Side] = []

    async def listen(self, host: str = SERVER[0], port: int = SERVER[1]) -> asyncio.AbstractServer:
        def accept() -> Side:
            side = Side()
            self.accepted.append(side)
            return side

        return await self.loop.create_server(accept, host, port)

    async def dial(self) -> Side:
        """A new connection, maybe not taken yet."""
        _, side = await self.loop.create_connection(Side, *SERVER)
        return side

    async def connect(self) -> tuple[Side, Side]:
        """The dialling and the accepting side of a new connection."""
        near = await self.dial()
        await pass_time(0.01)
        return near, self.accepted[-1]


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    """Pure FIFO. A test that expects complaints clears them."""
    loop = SimLoop(1, shuffle=0, trace=Trace(tail=100))
    yield loop
    loop.close()
    assert not loop.complaints


@pytest.fixture
def network(loop: SimLoop) -> SimNetwork:
    """One without faults."""
    return SimNetwork(loop, random.Random(1), loop.trace)


@pytest.fixture
def pair(loop: SimLoop, network: SimNetwork) -> Pair:
    """Sides of connections in the network."""
    assert loop.network is network
    return Pair(loop)
