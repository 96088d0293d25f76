"""Time and bytes are bounded, whatever a receiver does."""

from collections.abc import Callable, Coroutine

import pytest

from posthouse.core.limits import (
    KIB,
    MIB,
    RESPONSE_HEADER_BYTES_MAX,
    RESPONSE_KEPT_BYTES_MAX,
    RESPONSE_READ_BYTES_MAX,
)
from posthouse.testing.receiver import Answer, Behaviour, Drip, Flood, Hang, Raw, Receiver
from posthouse.transport.protocol import Exchange, Failure

Post = Callable[..., Coroutine[None, None, Exchange]]

TIMEOUT_MS = 200
SLACK_US = 3_000_000  #: for a machine that is busy; far below what the receivers would take

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behaviour", "status", "says"),
    [
        (Hang(), None, "No answer"),
        (Drip(HEAD * 1_000, 0.02), None, "headers"),
        (Drip(b"x" * 1_000, 0.02, HEAD + b"Content-Length: 1000\r\n\r\n"), 200, "status 200"),
        (Drip(b"1\r\nx\r\n" * 1_000, 0.02, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), 200, "status 200"),
        (Drip(b"x" * 1_000, 0.02, HEAD + b"\r\n"), 200, "status 200"),
        (Drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, 0.005), None, "headers"),
    ],
    ids=["hang", "headers", "body", "chunks", "body until the end", "interim answers"],
)
async def test_one_deadline_for_the_whole_exchange(
    post: Post, receiver: Receiver, behaviour: Behaviour, status: int | None, says: str
) -> None:
    """Bytes that come do not extend it."""
    receiver.play(behaviour)
    exchange = await post(receiver.url, timeout_ms=TIMEOUT_MS)
    assert (exchange.failure, exchange.status) == (Failure.READ_TIMEOUT, status)
    assert TIMEOUT_MS * 1_000 * 0.95 < exchange.timings.total_us < TIMEOUT_MS * 1_000 + SLACK_US
    assert exchange.error is not None
    assert says in exchange.error
    assert f"within {TIMEOUT_MS} ms" in exchange.error
    await receiver.hung_up()


async def test_deadline_holds_while_the_request_is_not_taken(post: Post) -> None:
    async with Receiver(silent=True) as receiver:
        exchange = await post(receiver.url, bytes(64 * MIB), timeout_ms=5 * TIMEOUT_MS)
    assert exchange.failure is Failure.READ_TIMEOUT
    assert exchange.timings.total_us < 5 * TIMEOUT_MS * 1_000 + SLACK_US


async def test_each_exchange_of_a_connection_has_its_own_deadline(post: Post, receiver: Receiver) -> None:
    """Also a longer one after a shorter one, and the other way round."""
    receiver.play(Answer(), Answer(), Answer(), Hang())
    for timeout_ms in (10_000, 60_000, 5_000):
        assert (await post(receiver.url, timeout_ms=timeout_ms)).failure is None
    exchange = await post(receiver.url, timeout_ms=TIMEOUT_MS)
    assert (exchange.failure, exchange.reused) == (Failure.READ_TIMEOUT, True)
    assert exchange.timings.total_us < TIMEOUT_MS * 1_000 + SLACK_US
    assert receiver.connections == 1


async def test_deadline_outlives_the_alarm_of_an_earlier_exchange(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(), Hang())
    assert (await post(receiver.url, timeout_ms=100)).failure is None
    exchange = await post(receiver.url, timeout_ms=TIMEOUT_MS)
    assert (exchange.failure, exchange.reused) == (Failure.READ_TIMEOUT, True)
    assert exchange.timings.total_us > TIMEOUT_MS * 1_000 * 0.95


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 %d Scripted\r\nContent-Length: 1000000000000\r\n\r\n",
        b"HTTP/1.1 %d Scripted\r\n\r\n",
        b"HTTP/1.1 %d Scripted\r\nTransfer-Encoding: chunked\r\n\r\n1000000000\r\n",
    ],
    ids=["length", "until the end", "one chunk"],
)
async def test_status_decides_when_the_body_has_no_end(
    post: Post, receiver: Receiver, head: bytes, status: int
) -> None:
    """What is beyond the bound is not read, and the connection is closed."""
    receiver.play(Flood(b"x" * MIB, head % status))
    exchange = await post(receiver.url)
    assert exchange.status == status
    assert exchange.failure == (None if status == 200 else Failure.STATUS)
    assert exchange.body == b"x" * RESPONSE_KEPT_BYTES_MAX
    await receiver.hung_up()
    assert not (await post(receiver.url)).reused


async def test_framing_without_end_is_bounded_too(post: Post, receiver: Receiver) -> None:
    """A body of nothing but chunk extensions is not read for ever."""
    receiver.play(Flood(b"e" * 4 * KIB, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x="))
    exchange = await post(receiver.url)
    assert (exchange.status, exchange.body) == (200, b"")
    await receiver.hung_up()


async def test_body_of_many_small_chunks_comes_whole(post: Post, receiver: Receiver) -> None:
    count = RESPONSE_READ_BYTES_MAX // 6 - 10
    chunks = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    receiver.play(Raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, then_close=False))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.body) == (None, b"x" * RESPONSE_KEPT_BYTES_MAX)


async def test_as_much_of_the_body_is_kept_as_the_request_says(post: Post, receiver: Receiver) -> None:
    """An answer to a batch may name many events; that of the next exchange on the connection is kept as usual."""
    body = bytes(range(256)) * (RESPONSE_READ_BYTES_MAX // 512)
    receiver.play(Answer(200, (), body), Answer(200, (), body))
    assert (await post(receiver.url, kept_bytes=RESPONSE_READ_BYTES_MAX)).body == body
    again = await post(receiver.url)
    assert (again.body, again.reused) == (body[:RESPONSE_KEPT_BYTES_MAX], True)


async def test_as_much_is_kept_of_a_body_in_chunks(post: Post, receiver: Receiver) -> None:
    chunks = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    receiver.play(Raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, then_close=False))
    assert (await post(receiver.url, kept_bytes=9_999)).body == b"x" * 9_999


async def test_body_within_the_bound_leaves_the_connection_usable(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(200, (), b"x" * RESPONSE_READ_BYTES_MAX))
    assert (await post(receiver.url)).failure is None
    assert (await post(receiver.url)).reused


def _head(size: int) -> bytes:
    """A complete head of exactly ``size`` bytes."""
    start = HEAD + b"Content-Length: 0\r\nX-Pad: "
    return start + b"p" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("size", [RESPONSE_HEADER_BYTES_MAX - 1, RESPONSE_HEADER_BYTES_MAX])
async def test_headers_up_to_the_bound_are_read(post: Post, receiver: Receiver, size: int) -> None:
    receiver.play(Raw(_head(size)))
    assert (await post(receiver.url)).failure is None


@pytest.mark.parametrize(
    "behaviour",
    [
        Raw(_head(RESPONSE_HEADER_BYTES_MAX + 1)),
        Raw(_head(10 * RESPONSE_HEADER_BYTES_MAX)),
        Flood(b"X-Many: 1\r\n" * 10, HEAD),
        Flood(b"r" * KIB, b"HTTP/1.1 200 "),
        Flood(b"v" * KIB, HEAD + b"X-Long: "),
        Flood(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Flood(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 1_000),
    ],
    ids=["one too many", "large", "many", "long reason", "long value", "interim", "interim at once"],
)
async def test_headers_beyond_the_bound_are_not_read(post: Post, receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.play(behaviour)
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status) == (Failure.TOO_LARGE, None)
    await receiver.hung_up()
