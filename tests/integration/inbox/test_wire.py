"""Receiving over a real socket: what is answered without ASGI is HTTP like everything else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.inbox import senders
from tests.integration.inbox.senders import SECRET

from posthouse.core.inbound import InboundRequest, Source, Verdict
from posthouse.core.model import Environment
from posthouse.gateway.source_input import SourceSpec
from posthouse.serving.glance import BODY_BYTES_MAX
from posthouse.serving.server import ApiServer
from posthouse.store.protocol import RequestQuery
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse, open_quiet_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[QuietHouse]:
    async with open_quiet_house(tmp_path / "data") as house:
        yield house


class Wire:
    """A connection to a server, and a source to post to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: Source) -> None:
        self.reader = reader
        self.writer = writer
        self.source = source

    def request(
        self, body: bytes, *, method: str = "POST", version: str = "1.1", more: str = "", chunked: bool = False
    ) -> bytes:
        """A request to the source, signed."""
        _, headers = senders.github(body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        head = f"{method} /in/{self.source.token}?a=%20b HTTP/{version}\r\nHost: x\r\n{lines}{more}{framing}\r\n\r\n"
        content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        return head.encode() + content

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert len(headers) == len(lines), "no header twice"
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))


@pytest.fixture
async def wire(house: QuietHouse) -> AsyncIterator[Wire]:
    server = ApiServer(house.app, ManualClock(), direct=house.direct)
    spec = SourceSpec(name="hub", provider="github", secrets=(SECRET,))
    source = await house.gateway.sources.create(Environment.LIVE, spec)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))
    yield Wire(reader, writer, source)
    writer.close()
    await server.stop(grace_seconds=0)


async def stored(house: QuietHouse) -> list[InboundRequest]:
    """All requests as they are kept, oldest first."""
    records = await house.store.inbound.requests(RequestQuery(environment=Environment.LIVE, limit=1_000))
    whole = [await house.store.inbound.request(record.request.key) for record in reversed(records)]
    return [record.request for record in whole if record is not None]


async def test_answers_come_in_the_order_of_the_requests(house: QuietHouse, wire: Wire) -> None:
    """Also when they come in one piece: the first is answered directly, the others wait for it."""
    wire.writer.write(b"".join(wire.request(b"%d" % number) for number in range(5)))
    for _ in range(5):
        status, headers, body = await wire.answer()
        assert (status, body) == (200, b"")
        assert "date" in headers
        assert "connection" not in headers
    wire.writer.write(wire.request(b"5"))
    assert (await wire.answer())[0] == 200
    assert [request.body for request in await stored(house)] == [b"%d" % number for number in range(6)]


@pytest.mark.parametrize("size", [0, 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_both_ways_keep_the_same(house: QuietHouse, wire: Wire, size: int, *, chunked: bool) -> None:
    """Short and long, with and without a length: byte for byte, headers and URL and all."""
    wire.writer.write(wire.request(b"x" * size, chunked=chunked))
    assert (await wire.answer())[0] == 200
    (request,) = await stored(house)
    assert (request.body, request.method, request.verdict) == (b"x" * size, "POST", Verdict.GENUINE)
    assert request.url == f"http://x/in/{wire.source.token}?a=%20b"
    assert ("x-github-event", "issues") in request.headers


@pytest.mark.parametrize(("version", "more"), [("1.1", "Connection: close\r\n"), ("1.0", "")])
async def test_a_sender_that_wants_one_answer_only_gets_it_and_the_end(wire: Wire, version: str, more: str) -> None:
    wire.writer.write(wire.request(b"1", version=version, more=more))
    status, headers, _ = await wire.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await wire.reader.read() == b""


async def test_a_sender_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    head, _, body = wire.request(b"12", more="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    wire.writer.write(head + b"\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.writer.write(body)
    assert (await wire.answer())[0] == 200


async def test_a_body_may_come_in_pieces(house: QuietHouse, wire: Wire) -> None:
    for byte in (whole := wire.request(b'{"a":1}')):
        wire.writer.write(bytes((byte,)))
        await wire.writer.drain()
    assert (await wire.answer())[0] == 200
    assert [request.body for request in await stored(house)] == [whole.rpartition(b"\r\n\r\n")[2]]


async def test_what_is_not_known_or_not_taken_is_refused_directly_too(house: QuietHouse, wire: Wire) -> None:
    """And the connection goes on."""
    unknown = wire.request(b"1").replace(wire.source.token.encode(), b"unknown")
    wire.writer.write(unknown + wire.request(b"1", method="DELETE") + wire.request(b"2"))
    statuses = []
    for _ in range(3):
        status, _, body = await wire.answer()
        statuses.append(status)
        if status != 200:
            assert json.loads(body)["code"] in {"not_found", "method_not_allowed"}
    assert statuses == [404, 405, 200]
    assert [request.body for request in await stored(house)] == [b"2"]


async def test_a_request_that_breaks_off_is_not_kept(house: QuietHouse, wire: Wire) -> None:
    wire.writer.write(wire.request(b"0123456789")[:-1])
    wire.writer.write_eof()
    assert await wire.reader.read() == b""
    assert await stored(house) == []


async def test_a_handshake_is_answered_directly_when_its_secret_is_durable(house: QuietHouse, wire: Wire) -> None:
    source = await house.gateway.sources.create(Environment.LIVE, SourceSpec(name="asana", provider="asana"))
    secret = "ab" * 32
    head = f"POST /in/{source.token} HTTP/1.1\r\nHost: x\r\nX-Hook-Secret: {secret}\r\nContent-Length: 2\r\n\r\n{{}}"
    wire.writer.write(head.encode())
    status, headers, _ = await wire.answer()
    assert (status, headers["x-hook-secret"]) == (200, secret)
    assert house.gateway.receiver._metrics.handshakes == 1
    await house.gateway.catalogue.refresh()
    kept = house.gateway.catalogue.source(source.key)
    assert kept is not None
    assert kept.secrets_at(house.clock.now_ms()) == (secret,)
