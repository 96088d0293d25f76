"""Whatever an endpoint answers, in whatever pieces: an outcome in time and within the bounds, and nothing left over."""

import asyncio
import random
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.address import AddressPolicy
from posthouse.core.limits import RESPONSE_KEPT_BYTES_MAX
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.trace import Trace
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Request

HOST = "203.0.114.9"
TIMEOUT_MS = 2_000
LATER = b"HTTP/1.1 299 Later\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater"

PARTS = st.sampled_from(
    (
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n",
        b"HTTP/1.1 500 No\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Retry-After: \xff\r\n",
        b" folded\r\n",
        b"X: " + b"y" * 20_000 + b"\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"\0",
        b"z" * 70_000,
    )
)
WHOLE = st.sampled_from(
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    )
)
BROKEN = st.lists(PARTS | st.binary(max_size=40), max_size=8).map(b"".join)
SURPLUS = st.tuples(WHOLE, BROKEN).map(b"".join)
ANSWERS = WHOLE | SURPLUS | BROKEN


class Odd(asyncio.Protocol):
    """Answers its first request with anything, in pieces, and each later one well."""

    script: tuple[bytes, int, bool] = (b"", 1, False)
    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST"):
            Odd.requests += 1
            if Odd.requests == 1:
                self.task = asyncio.ensure_future(self.answer(*self.script))
            else:
                self.transport.write(LATER)

    async def answer(self, data: bytes, pieces: int, hangs_up: bool) -> None:
        chance = random.Random(len(data))
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(pieces - 1))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            self.transport.write(data[start:end])
            await pass_time(0.01)
        if hangs_up:
            self.transport.close()


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


@pytest.fixture(scope="module")
def transport(loop: SimLoop, network: SimNetwork) -> AiohttpTransport:
    async def make() -> AiohttpTransport:
        await loop.create_server(Odd, HOST, 80)
        return AiohttpTransport(AddressPolicy(), SimClock(loop), resolve=network.resolve, connect=network.connect)

    return loop.run_until_complete(make())


def check(exchange: Exchange) -> None:
    assert (exchange.failure is None) == (exchange.error is None)
    if exchange.failure is None:
        assert exchange.status is not None
        assert HTTPStatus.OK <= exchange.status < HTTPStatus.MULTIPLE_CHOICES
    assert len(exchange.body) <= RESPONSE_KEPT_BYTES_MAX
    assert sum(len(name) + len(value) for name, value in exchange.headers) <= RESPONSE_KEPT_BYTES_MAX
    assert exchange.error is None or exchange.error.isprintable()


@given(answer=ANSWERS, pieces=st.integers(1, 6), hangs_up=st.booleans())
def test_any_answer_has_an_outcome_and_is_never_taken_for_a_later_one(
    loop: SimLoop, transport: AiohttpTransport, answer: bytes, pieces: int, hangs_up: bool
) -> None:
    Odd.script, Odd.requests = (answer, pieces, hangs_up), 0

    async def twice() -> tuple[float, Exchange, Exchange]:
        started = loop.time()
        first = await transport.send(Request(f"http://{HOST}/a", {}, b"one", 500, TIMEOUT_MS))
        took = loop.time() - started
        await pass_time(0.2)  # what was left of the first answer arrives
        return took, first, await transport.send(Request(f"http://{HOST}/b", {}, b"two", 500, TIMEOUT_MS))

    took, first, second = loop.run_until_complete(twice())
    assert took <= TIMEOUT_MS / 1_000 + 0.001
    check(first)
    if Odd.requests > 1:  # else the first was a request that the connection never carried
        assert (second.status, second.body) == (299, b"later")
    assert not loop.complaints
