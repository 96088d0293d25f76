"""A link takes the same from the same bytes, however they are cut, and never more than the bounds allow."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.limits import RESPONSE_HEADER_BYTES_MAX, RESPONSE_KEPT_BYTES_MAX, RESPONSE_READ_BYTES_MAX
from posthouse.testing.manual_clock import ManualClock
from posthouse.transport.link import Link
from posthouse.transport.outcome import DeadlinePassed, Disconnected, HeadTooLarge

HEAD = b"HTTP/1.1 200 OK\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection of which the test plays the other side."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False
        self.reading = True
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Ends:
    """Both ends of a connection, and the exchange that is under way on it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = ManualClock()
        self.link = Link(self.loop, self.clock, ("http", "a.example", 80))
        self.wire = Wire()
        self.link.connection_made(self.wire)
        self.task: asyncio.Task[int] | None = None

    async def ask(self, seconds: float = 60.0) -> None:
        """Begin an exchange."""

        async def exchange() -> int:
            return (await self.link.exchange(b"request", self.loop.time() + seconds)).code

        self.task = asyncio.create_task(exchange())
        await asyncio.sleep(0)

    def answer(self, *parts: bytes) -> None:
        """Deliver ``parts`` as the socket would."""
        for part in parts:
            self.link.data_received(part)

    async def status(self) -> int:
        """The status of the exchange under way, or its exception."""
        assert self.task is not None
        return await self.task


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


ANSWERS = {
    "length": (HEAD + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello", b"hello"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n", b"hello"),
    "empty": (HEAD + b"Content-Length: 0\r\n\r\n", b""),
    "interim": (INTERIM + HEAD + b"Content-Length: 1\r\n\r\nx", b"x"),
}


@given(name=st.sampled_from(sorted(ANSWERS)), places=st.lists(st.integers(0, 1_000), max_size=20))
def test_answer_is_the_same_however_it_is_cut(name: str, places: list[int]) -> None:
    data, body = ANSWERS[name]

    async def scenario() -> None:
        ends = Ends()
        await ends.ask()
        for part in cut(data, places):
            ends.answer(part)
            await asyncio.sleep(0)
        assert await ends.status() == 200
        assert ends.link.body == body
        assert ends.link.is_reusable()

    asyncio.run(scenario())


@given(
    size=st.integers(RESPONSE_HEADER_BYTES_MAX - 2, RESPONSE_HEADER_BYTES_MAX + 3),
    places=st.lists(st.integers(0, RESPONSE_HEADER_BYTES_MAX), max_size=4),
)
def test_bound_of_the_head_is_exact_however_it_is_cut(size: int, places: list[int]) -> None:
    start = HEAD + b"Content-Length: 0\r\nX-Pad: "
    data = start + b"p" * (size - len(start) - 4) + b"\r\n\r\n"

    async def scenario() -> None:
        ends = Ends()
        await ends.ask()
        ends.answer(*cut(data, places))
        if size <= RESPONSE_HEADER_BYTES_MAX:
            assert await ends.status() == 200
        else:
            with pytest.raises(HeadTooLarge):
                await ends.status()

    asyncio.run(scenario())


@given(extra=st.integers(0, 3), places=st.lists(st.integers(0, RESPONSE_READ_BYTES_MAX), max_size=4))
def test_bound_of_the_whole_answer_is_exact_however_it_is_cut(extra: int, places: list[int]) -> None:
    """What the head leaves of its share is added to that of the body."""
    whole = RESPONSE_HEADER_BYTES_MAX + RESPONSE_READ_BYTES_MAX
    head = HEAD + b"Content-Length: 99999\r\n\r\n"
    head = head.replace(b"99999", b"%05d" % (whole + extra - len(head)))
    data = head + b"b" * (whole + extra - len(head))

    async def scenario() -> None:
        ends = Ends()
        await ends.ask()
        ends.answer(*cut(data, places))
        assert await ends.status() == 200
        assert ends.link.truncated is (extra > 0)
        assert ends.link.is_reusable() is (extra == 0)
        assert ends.link.body == b"b" * RESPONSE_KEPT_BYTES_MAX
        assert ends.wire.reading is (extra == 0), "nothing more is taken from the socket"

    asyncio.run(scenario())


@given(data=st.binary(max_size=400))
def test_no_bytes_do_anything_but_answer_or_fail(data: bytes) -> None:
    """And what was left after an answer never begins the next."""

    async def scenario() -> None:
        ends = Ends()
        await ends.ask()
        ends.answer(data)
        ends.link.connection_lost(None)
        with pytest.raises(Exception):  # noqa: B017, PT011  # any, as long as it ends
            await ends.status()

    asyncio.run(scenario())


async def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    ends = Ends()
    ends.answer(HEAD)
    assert ends.wire.aborted
    assert not ends.link.is_connected()


async def test_bytes_between_two_exchanges_close_the_connection() -> None:
    ends = Ends()
    await ends.ask()
    ends.answer(ANSWERS["length"][0])
    await ends.status()
    ends.answer(HEAD)
    assert ends.wire.aborted


async def test_excess_in_the_same_packet_makes_the_connection_useless() -> None:
    ends = Ends()
    await ends.ask()
    ends.answer(ANSWERS["empty"][0] * 2)
    assert await ends.status() == 200
    assert not ends.link.is_reusable()


async def test_request_that_was_not_taken_whole_makes_the_connection_useless() -> None:
    ends = Ends()
    await ends.ask()
    ends.wire.unsent = 1
    ends.answer(ANSWERS["empty"][0])
    assert await ends.status() == 200
    assert not ends.link.is_reusable()


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    ends = Ends()
    ends.link.connection_lost(None)
    await ends.ask()
    with pytest.raises(Disconnected):
        await ends.status()
    assert not ends.wire.written


async def test_nothing_of_an_earlier_answer_is_left() -> None:
    """A later failure never shows the status of an answer that came before it."""
    ends = Ends()
    await ends.ask()
    ends.answer(ANSWERS["length"][0])
    await ends.status()
    ends.wire.aborted = True
    await ends.ask()
    with pytest.raises(Disconnected):
        await ends.status()
    assert (ends.link.head, ends.link.first_byte_at, ends.link.body) == (None, None, b"")


async def test_deadline_that_is_over_fails_the_exchange() -> None:
    ends = Ends()
    await ends.ask(-1.0)
    with pytest.raises(DeadlinePassed):
        await ends.status()


async def test_deadline_fails_the_exchange_in_the_middle_of_the_body() -> None:
    ends = Ends()
    await ends.ask(0.01)
    ends.answer(HEAD + b"Content-Length: 5\r\n\r\nhe")
    with pytest.raises(DeadlinePassed):
        await ends.status()
    assert ends.link.head is not None
    assert ends.link.body == b"he"


async def test_alarm_is_set_once_for_many_exchanges_and_goes_with_the_connection() -> None:
    ends = Ends()
    alarms = set()
    for _ in range(5):
        await ends.ask()
        ends.answer(ANSWERS["empty"][0])
        await ends.status()
        alarms.add(ends.link._alarm)
    assert len(alarms) == 1
    (alarm,) = alarms
    assert alarm is not None
    ends.link.abort()
    assert alarm.cancelled()


async def test_loss_of_the_connection_is_told_once() -> None:
    ends = Ends()
    told: list[Link] = []
    ends.link.on_lost = told.append
    ends.link.abort()
    assert told == []
    ends.link.connection_lost(None)
    assert told == [ends.link]


async def test_first_byte_is_timed_from_the_request() -> None:
    ends = Ends()
    ends.clock.advance(7)
    await ends.ask()
    ends.clock.advance(250)
    ends.answer(b"H")
    ends.clock.advance(1_000)
    ends.answer(ANSWERS["length"][0][1:])
    await ends.status()
    assert ends.link.first_byte_at is not None
    assert ends.link.first_byte_at - ends.link.sent_at == pytest.approx(0.25)
