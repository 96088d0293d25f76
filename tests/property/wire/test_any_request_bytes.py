"""Whatever bytes come in, in whatever pieces: answers are HTTP, and the application sees only whole, clear requests."""

import asyncio
import random
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.api.server import ApiServer
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.machine import SimClock

PORT = 8_400
HOST = "203.0.115.9"

PARTS = st.sampled_from(
    (
        b"POST /v1/events HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET http://other/ HTTP/1.1\r\n",
        b"get / http/1.1\r\n",
        b"Host: a\r\n",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b" folded\r\n",
        b"X: " + b"y" * 40_000 + b"\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"3;x=y\r\nabc\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"\0",
        b"\n",
    )
)
WHOLE = st.sampled_from(
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
)
STREAMS = st.lists(WHOLE | PARTS | st.binary(max_size=30), max_size=8).map(b"".join)


class App:
    """Reads every request to its end, and answers with how long its body was."""

    def __init__(self) -> None:
        self.seen: list[dict[bytes, list[bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        fields: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            fields.setdefault(name, []).append(value)
        self.seen.append(fields)
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Answers:
    """Parses what comes back; raises what the parser raises."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.statuses: list[int] = []

    def on_message_complete(self) -> None:
        self.statuses.append(self.parser.get_status_code())


class Client(asyncio.Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


@pytest.fixture(scope="module")
def app(loop: SimLoop) -> App:
    app = App()
    loop.run_until_complete(ApiServer(app, SimClock(loop)).start(HOST, PORT))
    return app


@given(stream=STREAMS, pieces=st.integers(1, 6))
def test_answers_are_http_and_no_unclear_request_gets_in(loop: SimLoop, app: App, stream: bytes, pieces: int) -> None:
    app.seen.clear()

    async def talk() -> bytes:
        transport, client = await loop.create_connection(Client, HOST, PORT)
        chance = random.Random(len(stream))
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(pieces - 1))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            transport.write(stream[start:end])
            await pass_time(0.01)
        await pass_time(1.0)
        transport.abort()
        await pass_time(0.1)
        return client.got

    got = loop.run_until_complete(talk())
    answers = Answers()
    answers.parser.feed_data(got)
    assert sum(200 <= status < 300 for status in answers.statuses) == len(app.seen)
    for fields in app.seen:
        assert not (b"content-length" in fields and b"transfer-encoding" in fields), "where does its body end?"
        assert len(fields.get(b"host", ())) <= 1
        assert len(fields.get(b"content-length", ())) <= 1
    assert not loop.complaints
