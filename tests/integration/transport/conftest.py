"""Every test of this folder runs on asyncio's own event loop and on uvloop, against real sockets."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path

import pytest
import trustme
import uvloop

from posthouse.core.address import AddressPolicy
from posthouse.core.limits import RESPONSE_KEPT_BYTES_MAX
from posthouse.system import SystemClock
from posthouse.testing.names import Names
from posthouse.testing.receiver import Receiver
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Request

LOOPBACK = ("127.0.0.0/8", "::1/128")
HEADERS = {"Content-Type": "application/json", "webhook-id": "evt_1"}

Post = Callable[..., Coroutine[None, None, Exchange]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The laws of the transport do not depend on the event loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server context with a valid certificate for 127.0.0.1 and good.example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "good.example").configure_cert(context)
    return context


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def transport(names: Names, ca_file: str) -> AsyncIterator[AiohttpTransport]:
    """May call loopback; trusts the test's authority; asks ``names``."""
    transport = AiohttpTransport(AddressPolicy(LOOPBACK), SystemClock(), ca_file=ca_file, resolve=names)
    yield transport
    await transport.close()


@pytest.fixture
def post(transport: AiohttpTransport) -> Post:
    """Send one request; ten seconds are ample and never reached by a test that passes."""

    async def post(
        url: str,
        body: bytes = b"{}",
        *,
        connect_timeout_ms: int = 5_000,
        timeout_ms: int = 10_000,
        kept_bytes: int = RESPONSE_KEPT_BYTES_MAX,
    ) -> Exchange:
        return await transport.send(Request(url, HEADERS, body, connect_timeout_ms, timeout_ms, kept_bytes))

    return post


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port at which a TCP connection neither succeeds nor fails: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            for _ in range(8):
                filler = socket.socket()
                fillers.append(filler)
                filler.setblocking(False)
                assert filler.connect_ex(listener.getsockname()) in {0, errno.EINPROGRESS}
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
