"""Publishing over a real socket: the answer that is written in one piece is HTTP like every other one."""

import asyncio
import json
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from posthouse.serving.server import ApiServer
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def streams(house: QuietHouse) -> AsyncIterator[Streams]:
    server = ApiServer(house.app, ManualClock())
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))
    yield reader, writer
    writer.close()
    await server.stop(grace_seconds=0)


def request(key: str, number: int, *, version: str = "1.1", more: str = "") -> bytes:
    body = json.dumps({"type": "t", "data": number, "id": f"event-{number}"}).encode()
    head = f"POST /v1/events HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{more}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "no header twice"
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    return status, headers, body["id"]


async def test_answers_come_in_the_order_of_the_requests_on_a_connection_that_stays(
    house: QuietHouse, streams: Streams
) -> None:
    reader, writer = streams
    writer.write(b"".join(request(house.admin_key, number) for number in range(3)))
    for number in range(3):
        status, headers, event_id = await answer(reader)
        assert (status, event_id) == ("HTTP/1.1 202 Accepted", f"event-{number}")
        assert headers["content-type"] == "application/json"
        assert headers["cache-control"] == "no-store"
        assert parsedate_to_datetime(headers["date"]).year == 2027
        assert "connection" not in headers
    writer.write(request(house.admin_key, 7))
    assert (await answer(reader))[2] == "event-7"


@pytest.mark.parametrize(("version", "more"), [("1.1", "Connection: close\r\n"), ("1.0", "")])
async def test_a_client_that_wants_one_answer_only_gets_it_and_the_end(
    house: QuietHouse, streams: Streams, version: str, more: str
) -> None:
    reader, writer = streams
    writer.write(request(house.admin_key, 1, version=version, more=more))
    _, headers, event_id = await answer(reader)
    assert event_id == "event-1"
    assert headers["connection"] == "close"
    assert await reader.read() == b""


async def test_a_client_that_asks_first_is_told_to_go_on_where_the_body_is_still_to_come(
    house: QuietHouse, streams: Streams
) -> None:
    reader, writer = streams
    whole = request(house.admin_key, 1, more="Expect: 100-continue\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await answer(reader))[2] == "event-1"


async def test_a_client_that_is_gone_before_its_answer_harms_nobody(house: QuietHouse, streams: Streams) -> None:
    _, writer = streams
    writer.write(request(house.admin_key, 1))
    writer.transport.abort()
    async with house.client(house.admin_key) as client:
        assert (await client.get("/healthz")).status_code == 200
