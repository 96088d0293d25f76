"""The client of simulated senders against real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from posthouse.drills.http_client import Answer
from posthouse.drills.senders.wire import KEPT_BYTES_MAX, Connections, Failure, Request
from posthouse.testing.receiver import Answer as Answered
from posthouse.testing.receiver import Close, Hang, Raw, Receiver, Reset

DEADLINE_S = 10.0
SHORT_S = 0.05


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as entered:
        yield entered


@pytest.fixture
async def wire() -> AsyncIterator[Connections]:
    made = Connections(4)
    yield made
    made.close()


async def send(wire: Connections, url: str, body: bytes = b"{}", *, deadline_s: float = DEADLINE_S) -> Answer | Failure:
    return await wire.send(Request(url, (("X-Mine", "ä"),), body), deadline_s=deadline_s)


async def test_what_is_sent_and_what_comes_back(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Answered(498, (("X-Back", "1"),), b"no"))
    answer = await send(wire, f"{receiver.url}?a=1&b=%20", b"\x00\xff")
    assert answer == Answer(498, (("Content-Length", "2"), ("X-Back", "1")), b"no")
    assert isinstance(answer, Answer)
    assert (answer.header("x-back"), answer.header("x-none")) == ("1", None)
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook?a=1&b=%20", b"\x00\xff")
    assert request.header("host") == f"127.0.0.1:{receiver.port}"
    assert request.header("x-mine") == "ä"


async def test_connections_are_kept_alive_and_bounded(receiver: Receiver, wire: Connections) -> None:
    for _ in range(3):
        await send(wire, receiver.url)
    assert receiver.connections == 1
    answers = await asyncio.gather(*(send(wire, receiver.url) for _ in range(50)))
    assert {answer.status for answer in answers if isinstance(answer, Answer)} == {200}
    assert receiver.connections <= 4


async def test_a_redirect_is_an_answer(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Answered(302, (("Location", receiver.url),)))
    answer = await send(wire, receiver.url)
    assert isinstance(answer, Answer)
    assert answer.status == 302
    assert len(receiver.requests) == 1


async def test_no_answer_in_time(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Hang())
    assert await send(wire, receiver.url, deadline_s=SHORT_S) is Failure.TIMEOUT
    assert await send(wire, receiver.url) == Answer(200, (("Content-Length", "0"),))
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "behaviour", [Close(), Reset(), Raw(b"garbage\r\n\r\n"), Raw(b"HTTP/1.1 200 OK\r\nContent-Le")]
)
async def test_a_connection_that_breaks(receiver: Receiver, wire: Connections, behaviour: Close | Reset | Raw) -> None:
    receiver.play(behaviour)
    assert await send(wire, receiver.url) is Failure.CUT_OFF
    assert isinstance(await send(wire, receiver.url), Answer)


async def test_half_a_body_is_no_answer(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
    assert await send(wire, receiver.url) is Failure.CUT_OFF


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""), (b"HTTP/1.0 200 OK\r\n\r\nall of it", 200, b"all of it")],
)
async def test_an_answer_may_end_with_its_connection(
    receiver: Receiver, wire: Connections, raw: bytes, status: int, body: bytes
) -> None:
    receiver.play(Raw(raw))
    assert await send(wire, receiver.url) == Answer(status, (), body)


async def test_an_interim_answer_is_none(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Raw(b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    assert await send(wire, receiver.url) == Answer(200, (("Content-Length", "0"),))


async def test_a_long_answer_is_cut(receiver: Receiver, wire: Connections) -> None:
    receiver.play(Answered(200, body=b"x" * (3 * KEPT_BYTES_MAX)))
    answer = await send(wire, receiver.url)
    assert isinstance(answer, Answer)
    assert len(answer.body) == KEPT_BYTES_MAX


async def test_nobody_listens(wire: Connections) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await send(wire, f"http://127.0.0.1:{taken.getsockname()[1]}/") is Failure.REFUSED


async def test_the_connection_can_have_a_deadline_of_its_own(wire: Connections) -> None:
    async with Receiver(silent=True) as silent:
        request = Request(silent.url.replace("http:", "https:"))
        assert await wire.send(request, deadline_s=DEADLINE_S, connect_s=SHORT_S) is Failure.TIMEOUT


async def test_https_is_checked() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    trusting, usual = Connections(1, tls=client), Connections(1)
    async with Receiver(tls=server) as receiver:
        answer = await send(trusting, receiver.url)
        assert isinstance(answer, Answer)
        assert await send(usual, receiver.url) is Failure.REFUSED
        trusting.close()
