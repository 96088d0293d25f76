"""Answers that are no HTTP or do not come whole, and connections that break."""

from collections.abc import Callable, Coroutine

import pytest

from posthouse.testing.receiver import Behaviour, Close, Raw, Receiver, Reset
from posthouse.transport.protocol import Exchange, Failure

Post = Callable[..., Coroutine[None, None, Exchange]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        Close(),
        Reset(),
        Raw(b"\r\n"),
        Raw(b"\0\0\0\x12garbage"),
        Raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Raw(b"220 mail.example ESMTP\r\n", then_close=False),
        Raw(b"\x15\x03\x01\0\x02\x02\x46", then_close=False),
        Raw(b"HTTP/2 200\r\n\r\n", then_close=False),
        Raw(b"HTTP/1.1 abc OK\r\n\r\n", then_close=False),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", then_close=False),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", then_close=False),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", then_close=False),
        Raw(b"HTTP/1.1 200 OK\r\nA"),
        Raw(b"HTTP/1.1 200 OK\r\n\0: x\r\n\r\n", then_close=False),
        Reset(b"HTTP/1.1 200 OK\r\nContent-"),
    ],
    ids=repr,
)
async def test_answer_that_is_not_http_is_a_protocol_failure(
    post: Post, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.play(behaviour)
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status) == (Failure.PROTOCOL, None)
    assert_one_line(exchange.error)
    await receiver.hung_up()
    assert len(receiver.requests) == 1, "a new connection's death is not resent"


@pytest.mark.parametrize(
    ("behaviour", "body"),
    [
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), b"short"),
        (Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), b"short"),
        (Raw(CHUNKED + b"5\r\nshort\r\n"), b"short"),
        (Raw(CHUNKED + b"5\r\nsho"), b"sho"),
        (Raw(CHUNKED + b"zz\r\n", then_close=False), b""),
        (Raw(CHUNKED + b"5\r\ntoo long\r\n", then_close=False), b""),
        (Raw(CHUNKED + b"ffffffffffffffffffff\r\n", then_close=False), b""),
    ],
    ids=repr,
)
async def test_2xx_whose_body_breaks_off_is_a_protocol_failure(
    post: Post, receiver: Receiver, behaviour: Behaviour, body: bytes
) -> None:
    """It may be the end of a process that died in the middle of its work."""
    receiver.play(behaviour)
    exchange = await post(receiver.url)
    assert exchange.failure is Failure.PROTOCOL
    assert exchange.status in {200, None}, "broken framing may arrive together with the head"
    assert body.startswith(exchange.body)
    assert_one_line(exchange.error)


async def test_other_status_is_named_though_the_body_breaks_off(post: Post, receiver: Receiver) -> None:
    receiver.play(Raw(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 9\r\nContent-Length: 9\r\n\r\nshort"))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status, exchange.retry_after) == (Failure.STATUS, 429, "9")


async def test_excess_after_the_answer_ends_the_connection(post: Post, receiver: Receiver) -> None:
    """What follows an answer is never the answer to the next request."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    receiver.play(Raw(whole + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", then_close=False))
    first, second = await post(receiver.url), await post(receiver.url)
    assert (first.status, second.status, second.reused) == (200, 200, False)


async def test_error_repeats_nothing_that_the_other_side_sent(post: Post, receiver: Receiver) -> None:
    for data in (b"secret", b"HTTP/1.1 2secret\r\n\r\n", b"HTTP/1.1 200 OK\r\nse\0cret: secret\r\n\r\n"):
        receiver.play(Raw(data))
        exchange = await post(f"{receiver.url}?token=secret")
        assert exchange.failure is Failure.PROTOCOL
        assert exchange.error is not None
        assert "secret" not in exchange.error


def assert_one_line(error: str | None) -> None:
    assert error is not None
    assert error.isprintable()
    assert error.endswith(".")
