"""Connections are kept, shared by origin, and never trusted further than they go."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from posthouse.testing.names import Names
from posthouse.testing.receiver import Answer, AnswerThen, Behaviour, Close, Drip, Hang, Raw, Receiver, Reset
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Failure, Request

Post = Callable[..., Coroutine[None, None, Exchange]]


async def test_connection_is_used_again(post: Post, receiver: Receiver) -> None:
    exchanges = [await post(receiver.url) for _ in range(3)]
    assert [exchange.reused for exchange in exchanges] == [False, True, True]
    assert {exchange.peer for exchange in exchanges} == {f"127.0.0.1:{receiver.port}"}
    timings = exchanges[1].timings
    assert (timings.dns_us, timings.connect_us, timings.tls_us) == (None, None, None)
    assert timings.first_byte_us is not None
    assert receiver.connections == 1


async def test_requests_at_once_have_connections_of_their_own(post: Post) -> None:
    gate = asyncio.Event()
    async with Receiver(Answer(after=gate)) as receiver:
        tasks = [asyncio.create_task(post(receiver.url)) for _ in range(20)]
        await receiver.received(20)
        gate.set()
        assert {(await task).failure for task in tasks} == {None}
        assert receiver.connections == 20


@pytest.mark.parametrize("death", [Close(), Reset()], ids=repr)
async def test_kept_connection_that_dies_before_a_byte_gets_one_resend(
    post: Post, receiver: Receiver, death: Behaviour
) -> None:
    receiver.play(Answer(), death, Answer(201))
    await post(receiver.url)
    exchange = await post(receiver.url, b'{"resent": true}')
    assert (exchange.failure, exchange.status, exchange.reused) == (None, 201, False)
    assert exchange.timings.connect_us is not None
    requests = await receiver.received(3)
    assert [request.body for request in requests[1:]] == [b'{"resent": true}'] * 2
    assert [request.connection for request in requests] == [1, 1, 2]


async def test_resend_is_made_on_a_new_connection_though_others_are_idle(post: Post) -> None:
    gate = asyncio.Event()
    async with Receiver(Answer(after=gate)) as receiver:
        tasks = [asyncio.create_task(post(receiver.url)) for _ in range(2)]
        await receiver.received(2)
        gate.set()
        for task in tasks:
            await task
        receiver.play(Close(), Answer(202))
        exchange = await post(receiver.url)
        assert (exchange.status, exchange.reused) == (202, False)
        assert receiver.connections == 3


async def test_resend_is_not_repeated(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(), Close(), Close(), Answer())
    await post(receiver.url)
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.reused) == (Failure.PROTOCOL, False)
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("death", [Raw(b"H"), Reset(b"H")], ids=repr)
async def test_nothing_is_resent_after_a_byte(post: Post, receiver: Receiver, death: Behaviour) -> None:
    receiver.play(Answer(), death, Answer())
    await post(receiver.url)
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.reused) == (Failure.PROTOCOL, True)
    assert len(receiver.requests) == 2


async def test_nothing_is_resent_after_the_deadline(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(), Hang())
    await post(receiver.url)
    exchange = await post(receiver.url, timeout_ms=150)
    assert (exchange.failure, exchange.reused) == (Failure.READ_TIMEOUT, True)
    assert len(receiver.requests) == 2


async def test_resend_has_no_deadline_of_its_own(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(), Close(), Hang())
    await post(receiver.url)
    exchange = await post(receiver.url, timeout_ms=300)
    assert (exchange.failure, exchange.reused) == (Failure.READ_TIMEOUT, False)
    assert exchange.timings.total_us < 3_300_000


async def test_connection_that_the_receiver_closes_is_not_kept(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(close=True))
    await post(receiver.url)
    assert not (await post(receiver.url)).reused
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    "unasked",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\0"],
    ids=["answer", "408", "garbage"],
)
async def test_bytes_that_nobody_asked_for_are_no_answer(post: Post, receiver: Receiver, unasked: bytes) -> None:
    """Or the next event would count as delivered by an answer that was not meant for it."""
    gate = asyncio.Event()
    receiver.play(AnswerThen(Answer(), unasked, gate), Answer(503))
    await post(receiver.url)
    gate.set()
    await receiver.hung_up()
    exchange = await post(receiver.url)
    assert (exchange.status, exchange.reused) == (503, False)


async def test_connection_stays_at_the_address_it_was_dialled_to(post: Post, names: Names, receiver: Receiver) -> None:
    url = f"http://moving.example:{receiver.port}/"
    names.addresses["moving.example"] = ("127.0.0.1",)
    assert (await post(url)).peer == f"127.0.0.1:{receiver.port}"
    names.addresses["moving.example"] = ("169.254.169.254",)
    exchange = await post(url)
    assert (exchange.failure, exchange.reused, exchange.peer) == (None, True, f"127.0.0.1:{receiver.port}")
    assert names.asked == ["moving.example"]


async def test_origins_do_not_share_connections(post: Post, names: Names, receiver: Receiver) -> None:
    """Two names at one address are two origins; the path and the case of the name make no difference."""
    names.addresses.update({"a.example": ("127.0.0.1",), "b.example": ("127.0.0.1",)})
    port = receiver.port
    for url, reused in (
        (f"http://a.example:{port}/1", False),
        (f"http://A.example.:{port}/2", True),
        (f"http://b.example:{port}/1", False),
        (f"http://127.0.0.1:{port}/1", False),
    ):
        assert (await post(url)).reused is reused


async def test_cancelled_request_leaves_no_connection(transport: AiohttpTransport, receiver: Receiver) -> None:
    receiver.play(Hang(), Drip(b"x" * 100, 0.01, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"))
    for count in (1, 2):
        task = asyncio.create_task(transport.send(Request(receiver.url, {}, b"{}")))
        await receiver.received(count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await receiver.hung_up()


async def test_close_ends_idle_connections_and_those_in_use(transport: AiohttpTransport, receiver: Receiver) -> None:
    receiver.play(Answer(), Hang())
    assert (await transport.send(Request(receiver.url, {}, b"{}"))).failure is None
    task = asyncio.create_task(transport.send(Request(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")))
    await receiver.received(2)
    await transport.close()
    assert (await task).failure is Failure.PROTOCOL
    await receiver.hung_up()
    await transport.close()
    assert (await transport.send(Request(receiver.url, {}, b"{}"))).failure is not None, "closed means closed"
