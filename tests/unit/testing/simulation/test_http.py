"""The node's own HTTP, both ways, through the simulated network."""

import asyncio
import contextlib

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from posthouse.core.address import AddressPolicy
from posthouse.serving.server import ApiServer
from posthouse.testing.receiver import Answer as Scripted
from posthouse.testing.receiver import AnswerThen, Behaviour, Close, Drip, Hang, Raw, Receiver, Reset
from posthouse.testing.simulation.http_client import HttpClient, NoAnswer
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.network import SimNetwork
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Failure, Request

pytestmark = pytest.mark.usefixtures("network")

API = ("203.0.114.1", 8080)
HOOK = ("203.0.114.2", 80)


class LoopClock:
    """The clocks of a machine in the simulation."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return int(self._loop.now * 1_000)

    def monotonic(self) -> float:
        return self._loop.now


async def reverse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body in reverse, after as many seconds as the query says."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["query_string"]:
        await pass_time(float(scope["query_string"]))
    headers = [(b"content-length", b"%d" % len(body)), (b"x-path", scope["path"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[::-1]})


async def _serve(loop: SimLoop, app: ASGIApp = reverse) -> ApiServer:
    server = ApiServer(app, LoopClock(loop))
    assert await server.start(*API) == API[1]
    return server


# -- requests to a node ----------------------------------------------------------------------------


def test_a_client_gets_its_answers_on_a_kept_connection(loop: SimLoop, network: SimNetwork) -> None:
    async def main() -> None:
        server = await _serve(loop)
        client = HttpClient(*API)
        for i in range(10):
            answer = await client.request("POST", f"/p{i}", [("x-name", "ü")], b"body %d" % i)
            assert answer.status == 200
            assert answer.body == (b"body %d" % i)[::-1]
            assert answer.headers["x-path"] == f"/p{i}"
        assert server.connections == 1
        assert network.connections == {API: 1}
        together = await asyncio.gather(*(client.request("POST", "/", body=b"%d" % i) for i in range(5)))
        assert [answer.body for answer in together] == [b"0", b"1", b"2", b"3", b"4"]
        assert server.connections > 1
        client.close()
        await server.stop(1)

    loop.simulate(main())
    assert not network.connections


def test_large_bodies_go_through_torn_and_slow(loop: SimLoop, network: SimNetwork) -> None:
    network.faults.chunk = (1, 5_000)
    network.faults.loss = 0.01

    async def main() -> None:
        server = await _serve(loop)
        client = HttpClient(*API)
        body = bytes(range(256)) * 500
        answer = await client.request("POST", "/", body=body, timeout=60)
        assert answer.body == body[::-1]
        client.close()
        await server.stop(1)

    loop.simulate(main())
    assert network.happened["chunked"] >= 2


def test_the_server_closes_what_is_idle_for_too_long(loop: SimLoop) -> None:
    async def main() -> None:
        server = await _serve(loop)
        client = HttpClient(*API)
        await client.request("GET", "/")
        assert server.connections == 1
        await pass_time(600)
        assert server.connections == 0
        assert (await client.request("GET", "/")).status == 200
        client.close()
        await server.stop(1)

    loop.simulate(main())


def test_no_answer_says_whether_anything_was_sent(loop: SimLoop, network: SimNetwork) -> None:
    async def no_answer(client: HttpClient, path: str = "/", seconds: float = 5.0) -> bool:
        with pytest.raises(NoAnswer) as caught:
            await client.request("POST", path, body=b"x", timeout=seconds)
        return caught.value.sent

    async def main() -> None:
        client = HttpClient(*API)
        assert await no_answer(client) is False, "refused"
        server = await _serve(loop)
        network.faults.black_holes.add(API)
        assert await no_answer(client) is False, "nobody there"
        network.faults.black_holes.clear()
        assert await no_answer(client, "/?10") is True, "too slow"
        await client.request("POST", "/")
        network.faults.black_holes.add(API)
        assert await no_answer(client) is True, "half-open"
        network.faults.black_holes.clear()
        await client.request("POST", "/")
        network.faults.reset = 1
        assert await no_answer(client) is True, "reset"
        network.faults.reset = 0
        await client.request("POST", "/")
        asking = asyncio.create_task(no_answer(client, "/?10", 60))
        await pass_time(1)
        await server.stop(1)
        assert await asking is True, "cut off"
        client.close()

    loop.simulate(main())


def test_garbage_is_no_answer(loop: SimLoop) -> None:
    async def main() -> None:
        async with Receiver(Raw(b"no HTTP\r\n\r\n"), host=API[0]) as receiver:
            client = HttpClient(API[0], receiver.port)
            with pytest.raises(NoAnswer):
                await client.request("GET", "/")
        async with Receiver(
            Raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), host=API[0]
        ) as receiver:
            client = HttpClient(API[0], receiver.port)
            assert (await client.request("GET", "/")).body == b"ok"

    loop.simulate(main())


def test_a_node_that_is_killed_answers_no_more(loop: SimLoop, network: SimNetwork) -> None:
    async def main() -> None:
        await loop.in_life(1, _serve(loop))
        client = HttpClient(*API)
        await client.request("POST", "/")
        asking = asyncio.create_task(client.request("POST", "/?10", body=b"x"))
        await pass_time(5)
        loop.kill(1)
        network.cut_life(1, silently=False)
        with pytest.raises(NoAnswer) as caught:
            await asking
        assert caught.value.sent
        loop.bury(1)
        server = await loop.in_life(2, _serve(loop))
        assert (await client.request("POST", "/", body=b"ab")).body == b"ba"
        await loop.in_life(2, server.stop(1))
        client.close()

    loop.simulate(main())


def test_a_node_that_is_frozen_answers_when_it_goes_on(loop: SimLoop) -> None:
    async def main() -> None:
        server = await loop.in_life(1, _serve(loop))
        client = HttpClient(*API)
        loop.freeze(1)
        asking = asyncio.create_task(client.request("POST", "/", body=b"ab", timeout=60))
        await pass_time(20)
        assert not asking.done()
        loop.thaw(1)
        assert (await asking).body == b"ba"
        client.close()
        await loop.in_life(1, server.stop(1))

    loop.simulate(main())


# -- requests of a node ----------------------------------------------------------------------------


def _transport(loop: SimLoop, network: SimNetwork) -> AiohttpTransport:
    return AiohttpTransport(AddressPolicy(), LoopClock(loop), resolve=network.resolve, connect=network.connect)


def _request(url: str, body: bytes = b"{}") -> Request:
    return Request(url=url, headers={}, body=body, timeout_ms=10_000, connect_timeout_ms=3_000)


def test_a_request_arrives_and_its_connection_is_used_again(loop: SimLoop, network: SimNetwork) -> None:
    async def main() -> None:
        transport = _transport(loop, network)
        network.names["hook.example"] = (HOOK[0],)
        async with Receiver(host=HOOK[0]) as receiver:
            for i in range(5):
                exchange = await transport.send(_request(f"http://hook.example:{receiver.port}/", b"%d" % i))
                assert exchange.failure is None
                assert exchange.reused is (i > 0)
                assert exchange.peer == f"{HOOK[0]}:{receiver.port}"
                assert exchange.timings.total_us > 0
            assert [request.body for request in receiver.requests] == [b"0", b"1", b"2", b"3", b"4"]
            assert network.connections == {(HOOK[0], receiver.port): 1}
            await transport.close()
            await receiver.hung_up()

    loop.simulate(main())
    assert not network.connections


async def _send_to(loop: SimLoop, network: SimNetwork, behaviour: Behaviour) -> Exchange:
    transport = _transport(loop, network)
    async with Receiver(behaviour, host=HOOK[0]) as receiver:
        exchange = await transport.send(_request(f"http://{HOOK[0]}:{receiver.port}/"))
        await transport.close()
    return exchange


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (Scripted(), None),
        (Scripted(500, body=b"no"), Failure.STATUS),
        (Hang(), Failure.READ_TIMEOUT),
        (Close(), Failure.PROTOCOL),
        (Reset(), Failure.PROTOCOL),
        (Reset(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), Failure.PROTOCOL),
        (Raw(b"garbage\r\n\r\n"), Failure.PROTOCOL),
        (Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), Failure.PROTOCOL),
        (Drip(b"x" * 100, at_once=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"), Failure.READ_TIMEOUT),
        (AnswerThen(Scripted(), b"nobody asked"), None),
    ],
)
@pytest.mark.parametrize("chunk", [None, (1, 4)])
def test_what_a_receiver_does_comes_out_as_on_a_real_network(
    loop: SimLoop,
    network: SimNetwork,
    behaviour: Behaviour,
    failure: Failure | None,
    chunk: tuple[int, int] | None,
) -> None:
    network.faults.chunk = chunk
    exchange = loop.simulate(_send_to(loop, network, behaviour))
    assert exchange.failure is failure


async def _say_no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read(10_000)
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    writer.close()


def test_what_the_network_does_comes_out_as_on_a_real_one(loop: SimLoop, network: SimNetwork) -> None:
    url = f"http://hook.example:{HOOK[1]}/"
    failures: list[Failure | None] = []

    async def main() -> None:
        transport = _transport(loop, network)

        async def send() -> None:
            failures.append((await transport.send(_request(url))).failure)

        await send()
        network.names["hook.example"] = (HOOK[0],)
        await send()
        network.faults.black_holes.add(HOOK)
        await send()
        network.faults.black_holes.clear()
        network.faults.slow_names = 5
        await send()
        network.faults.slow_names = 0
        server = await asyncio.start_server(_say_no_content, *HOOK)
        await send()
        network.faults.reset = 1
        await send()
        network.faults.reset = 0
        network.faults.refused.add(HOOK)
        await send()
        server.close()
        await transport.close()

    loop.simulate(main())
    assert failures == [
        Failure.DNS,
        Failure.REFUSED,
        Failure.CONNECT_TIMEOUT,
        Failure.DNS,
        None,
        Failure.PROTOCOL,
        Failure.REFUSED,
    ]
