"""The server over raw sockets: what is no HTTP, too much, too slow or ambiguous is refused, and costs little."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from posthouse.core import limits
from posthouse.serving.connections import HttpBounds
from posthouse.serving.protocol import Phase
from posthouse.serving.server import ApiServer
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

BOUNDS = HttpBounds(connections_max=3, sweep_seconds=0.01)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """An application that answers what it was asked; ``/wait`` does so when it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()
        self.disconnected = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.go.wait()
        answer = json.dumps({"path": scope["path"], "bytes": len(body)}).encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Peer:
    """A client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and decoded body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, json.loads(body) if body else None

    async def ended(self) -> bool:
        """Whether the other side closed without another word."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    async def refused(self, status: int, code: str) -> dict[str, Any]:
        """The problem that the connection was ended with."""
        seen, headers, problem = await self.answer()
        assert (seen, problem["code"]) == (status, code)
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert problem["hint"]
        assert await self.ended()
        found: dict[str, Any] = problem
        return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo, clock: ManualClock) -> AsyncIterator[ApiServer]:
    made = ApiServer(echo, clock, bounds=BOUNDS)
    made.port = await made.start("127.0.0.1", 0)  # type: ignore[attr-defined]  # for connect below
    yield made
    await made.stop(grace_seconds=0)


Connect = Callable[[], Awaitable[Peer]]


@pytest.fixture
async def connect(server: ApiServer) -> AsyncIterator[Connect]:
    peers: list[Peer] = []

    async def opened() -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))  # type: ignore[attr-defined]  # as above
        peers.append(peer)
        return peer

    yield opened
    for peer in peers:
        peer.writer.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what it waits for is on the other side of a socket
        await asyncio.sleep(0)


def phases(server: ApiServer) -> list[Phase]:
    return [connection._phase for connection in server._connections.open]


# -- what is spoken ---------------------------------------------------------------------------


async def test_requests_are_answered_on_one_connection_in_order(connect: Connect) -> None:
    peer = await connect()
    await peer.say(GET)
    status, headers, body = await peer.answer()
    assert (status, body) == (200, {"path": "/a", "bytes": 0})
    assert headers["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert "server" not in headers
    await peer.say(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GET + GET)
    assert [(await peer.answer())[2] for _ in range(3)] == [
        {"path": "/b", "bytes": 3},
        {"path": "/a", "bytes": 0},
        {"path": "/a", "bytes": 0},
    ]


async def test_a_request_may_come_byte_by_byte(connect: Connect) -> None:
    peer = await connect()
    for byte in b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        await peer.say(bytes([byte]))
    assert (await peer.answer())[2] == {"path": "/b", "bytes": 3}


async def test_a_half_closed_client_gets_its_answer(connect: Connect, echo: Echo) -> None:
    peer = await connect()
    await peer.say(GET.replace(b"/a", b"/wait"))
    peer.writer.write_eof()
    await echo.waiting.wait()
    echo.go.set()
    assert (await peer.answer())[0] == 200
    assert await peer.ended()


async def test_an_upgrade_is_answered_as_plain_http(connect: Connect) -> None:
    peer = await connect()
    await peer.say(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI")
    status, headers, _ = await peer.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await peer.ended()


async def test_it_runs_on_uvloop_too() -> None:
    def run() -> tuple[int, Any]:
        async def main() -> tuple[int, Any]:
            server = ApiServer(Echo(), ManualClock(), bounds=BOUNDS)
            port = await server.start("127.0.0.1", 0)
            peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
            await peer.say(b"GET /a HTTP/1.1\r\n\r\n")
            refused = await peer.refused(400, "malformed_request")
            peer.writer.close()
            peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
            await peer.say(GET)
            status, _, _ = await peer.answer()
            await server.stop(grace_seconds=5)
            assert await peer.ended()
            peer.writer.close()
            return status, refused["status"]

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    assert await asyncio.to_thread(run) == (200, 400)


# -- what is malformed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 1\r\n\r\na",
    ],
)
async def test_what_is_no_clear_http_is_refused(connect: Connect, request_bytes: bytes) -> None:
    """What two parsers could read in two ways is how one request is smuggled inside another."""
    peer = await connect()
    await peer.say(request_bytes)
    await peer.refused(400, "malformed_request")


async def test_a_refusal_never_stands_in_for_an_earlier_answer(
    connect: Connect, server: ApiServer, clock: ManualClock, echo: Echo
) -> None:
    peer = await connect()
    await peer.say(GET.replace(b"/a", b"/wait") + b"nonsense\r\n\r\n")
    await echo.waiting.wait()
    for _ in range(3):  # nor does it cost that answer, however late it is
        clock.advance(60_000)
        await until(lambda: server._connections.now == clock.monotonic())
    echo.go.set()
    status, headers, body = await peer.answer()
    assert (status, headers["connection"], body["path"]) == (200, "close", "/wait")
    assert await peer.ended()


async def test_an_application_learns_that_its_request_was_refused(connect: Connect, echo: Echo) -> None:
    peer = await connect()
    await peer.say(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await until(lambda: echo.asked == ["/a"])
    await peer.say(b"nonsense\r\n")
    await peer.refused(400, "malformed_request")
    await echo.disconnected.wait()


# -- what is too much -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(50)) + b"\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n",
    ],
)
async def test_a_head_that_is_too_large_is_refused(connect: Connect, echo: Echo, head: bytes) -> None:
    peer = await connect()
    await peer.say(head)
    await peer.refused(431, "headers_too_large")
    assert echo.asked == []


async def test_a_head_without_end_is_refused_early(connect: Connect, server: ApiServer) -> None:
    peer = await connect()
    await peer.say(b"GET /a HTTP/1.1\r\nHost: x\r\nX: ")
    await until(lambda: phases(server) == [Phase.HEAD])
    sent = 0
    while phases(server) == [Phase.HEAD]:
        await peer.say(b"a" * 1_024)
        sent += 1_024
        await asyncio.sleep(0)
        assert sent < 4 * limits.REQUEST_HEADER_BYTES_MAX
    await peer.refused(431, "headers_too_large")


async def test_a_head_at_the_bound_is_taken(connect: Connect) -> None:
    peer = await connect()
    head = b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%02d: %s\r\n" % (n, b"a" * 300) for n in range(99))
    await peer.say(head + b"\r\n")
    assert (await peer.answer())[0] == 200
    # A large body in the same packet does not count as head.
    await peer.say(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"b" * 50_000)
    assert (await peer.answer())[2]["bytes"] == 50_000


async def test_a_chunked_body_is_mostly_body(connect: Connect) -> None:
    """Five bytes of framing for one of body, or trailers without end, are somebody's waste of our time."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer = await connect()
    await peer.say(head + b"1\r\nx\r\n" * 10)
    await peer.say(b"1\r\nx\r\n" * 50_000)
    await peer.refused(400, "malformed_request")
    peer = await connect()
    await peer.say(head + b"1\r\nx\r\n0\r\nTrailer: ")
    await peer.say(b"a" * 200_000)
    await peer.refused(400, "malformed_request")


async def test_trailers_are_dropped(connect: Connect) -> None:
    peer = await connect()
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await peer.say(head + b"1\r\nx\r\n0\r\nHost: evil\r\nX-Sum: 5\r\n\r\n" + GET)
    assert [(await peer.answer())[2]["bytes"] for _ in range(2)] == [1, 0]


async def test_what_came_before_a_broken_request_is_answered(connect: Connect, echo: Echo) -> None:
    """Whoever sent it could not know otherwise what became of it. The broken one never gets in."""
    peer = await connect()
    broken = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    await peer.say(GET.replace(b"/a", b"/wait") + GET + broken)
    await echo.waiting.wait()
    echo.go.set()
    answers = [await peer.answer() for _ in range(2)]
    assert [(status, body["path"]) for status, _, body in answers] == [(200, "/wait"), (200, "/a")]
    assert await peer.ended()
    assert echo.asked == ["/wait", "/a"]


async def test_a_broken_body_is_not_asked_for(connect: Connect, echo: Echo) -> None:
    """Behind the refusal there is no word more, not even the one to go on."""
    peer = await connect()
    head = b"POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    await peer.say(head + b"no size\r\n")
    await peer.refused(400, "malformed_request")
    await echo.disconnected.wait()


async def test_too_many_requests_in_a_row_end_the_connection(connect: Connect, echo: Echo) -> None:
    """Those that were taken are answered; nothing is answered in the wrong place."""
    peer = await connect()
    await peer.say(GET.replace(b"/a", b"/wait") + GET * 100)
    await echo.waiting.wait()
    echo.go.set()
    answered = 0
    while True:
        status, headers, _ = await peer.answer()
        assert status == 200
        answered += 1
        if headers.get("connection") == "close":
            break
    assert answered == 1 + limits.REQUESTS_PIPELINED_MAX
    assert await peer.ended()


async def test_too_many_connections_are_refused(connect: Connect, server: ApiServer) -> None:
    peers = [await connect() for _ in range(BOUNDS.connections_max)]
    await until(lambda: server.connections == BOUNDS.connections_max)
    await (await connect()).refused(429, "overloaded")
    for peer in peers:
        await peer.say(GET)
        assert (await peer.answer())[0] == 200


async def test_a_refused_body_does_not_cost_the_connection(house: QuietHouse, clock: ManualClock) -> None:
    """The rest of it is read and thrown away, so that the client sees the refusal and can go on."""
    server = ApiServer(house.app, clock, bounds=BOUNDS)
    peer = Peer(*await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0)))
    size = limits.BATCH_BODY_BYTES_MAX + 1
    head = f"POST /v1/events/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.admin_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    await peer.say(head.encode() + b" " * size + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [(await peer.answer())[0] for _ in range(2)] == [413, 200]
    # A client that asks first is refused before it sends anything.
    await peer.say(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode())
    assert (await peer.answer())[0] == 413
    peer.writer.close()
    await server.stop(grace_seconds=0)


async def test_what_is_thrown_away_has_a_bound(house: QuietHouse, clock: ManualClock) -> None:
    server = ApiServer(house.app, clock, bounds=BOUNDS)
    peer = Peer(*await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0)))
    await peer.say(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    assert (await peer.answer())[0] == 401
    sent = 0
    with suppress(ConnectionResetError, BrokenPipeError):
        while sent < 1_000_000_000:
            await peer.say(b" " * 1_000_000)
            sent += 1_000_000
            if phases(server) == [Phase.LINGER]:
                clock.advance(60_000)
    assert sent < 4 * limits.REQUEST_DISCARDED_BYTES_MAX
    peer.writer.close()
    await server.stop(grace_seconds=0)


# -- what is too slow -------------------------------------------------------------------------


async def test_a_slow_head_is_ended(connect: Connect, server: ApiServer, clock: ManualClock) -> None:
    peer = await connect()
    await peer.say(b"GET /a HTTP/1.1\r\nHo")
    await until(lambda: phases(server) == [Phase.HEAD])
    clock.advance(int(limits.REQUEST_HEADERS_SECONDS_MAX * 1_000) - 1_500)
    await peer.say(b"st")  # a drip does not prolong it
    clock.advance(2_000)
    await peer.refused(408, "request_timeout")


async def test_a_slow_body_is_ended(connect: Connect, server: ApiServer, clock: ManualClock, echo: Echo) -> None:
    peer = await connect()
    await peer.say(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    await until(lambda: phases(server) == [Phase.BODY])
    clock.advance(int(limits.REQUEST_BODY_SECONDS_MAX * 1_000) + 1_000)
    await peer.refused(408, "request_timeout")
    await echo.disconnected.wait()


@pytest.mark.parametrize("first", [b"", GET, b"\r\n", GET + b"\r\n\r\n"])
async def test_an_idle_connection_is_closed_without_a_word(
    connect: Connect, server: ApiServer, clock: ManualClock, first: bytes
) -> None:
    peer = await connect()
    await peer.say(first)
    if GET in first:
        await peer.answer()
    await until(lambda: phases(server) == [Phase.IDLE])
    clock.advance(int(limits.KEEP_ALIVE_SECONDS_MAX * 1_000) + 1_000)
    assert await peer.ended()


async def test_an_answer_may_take_its_time(connect: Connect, server: ApiServer, clock: ManualClock, echo: Echo) -> None:
    peer = await connect()
    await peer.say(GET.replace(b"/a", b"/wait"))
    await echo.waiting.wait()
    for _ in range(3):
        clock.advance(60_000)
        await until(lambda: server._connections.now == clock.monotonic())
    echo.go.set()
    assert (await peer.answer())[0] == 200


@pytest.mark.parametrize("size", [100_000, 20_000_000])
async def test_a_client_that_does_not_read_its_answer_is_cut_off(clock: ManualClock, size: int) -> None:
    written = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        written.set()
        half = b"x" * (size // 2)
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await send({"type": "http.response.body", "body": half})

    server = ApiServer(large, clock, bounds=BOUNDS)
    port = await server.start("127.0.0.1", 0)
    with socket.socket() as stubborn:
        stubborn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stubborn.connect(("127.0.0.1", port))
        stubborn.sendall(GET)
        await written.wait()
        clock.advance(int(limits.KEEP_ALIVE_SECONDS_MAX * 1_000) + 1_000)
        await until(lambda: server.connections == 0)
    await server.stop(grace_seconds=0)


async def test_a_refused_client_that_does_not_close_is_cut_off(
    connect: Connect, server: ApiServer, clock: ManualClock
) -> None:
    peer = await connect()
    await peer.say(b"nonsense\r\n\r\n")
    assert (await peer.answer())[0] == 400
    await until(lambda: phases(server) == [Phase.LINGER])
    clock.advance(5_000)
    await until(lambda: server.connections == 0)


# -- the end ----------------------------------------------------------------------------------


async def test_stopping_answers_what_is_being_asked(connect: Connect, server: ApiServer, echo: Echo) -> None:
    idle, busy = await connect(), await connect()
    await busy.say(GET.replace(b"/a", b"/wait"))
    await echo.waiting.wait()
    stopping = asyncio.ensure_future(server.stop(grace_seconds=30))
    assert await idle.ended()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    echo.go.set()
    status, headers, _ = await busy.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await busy.ended()
    await stopping


async def test_stopping_cuts_off_what_takes_too_long(connect: Connect, server: ApiServer, echo: Echo) -> None:
    peer = await connect()
    await peer.say(GET.replace(b"/a", b"/wait"))
    await echo.waiting.wait()
    await server.stop(grace_seconds=0)
    assert await peer.ended()
    assert server.connections == 0
    await server.stop(grace_seconds=0)


async def test_a_port_that_is_taken_is_an_error(server: ApiServer, clock: ManualClock) -> None:
    other = ApiServer(Echo(), clock)
    with pytest.raises(OSError, match="address already in use"):
        await other.start("127.0.0.1", server.port)  # type: ignore[attr-defined]  # as above
