"""The publisher against a scripted node: every event is repeated until its 202, and a refusal ends the drill."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest

from posthouse.drills.events import Outgoing, outgoing
from posthouse.drills.line import CutOff, Line, NotConnected
from posthouse.drills.plan import DrillFailed
from posthouse.drills.publisher import Publisher
from posthouse.testing.receiver import Answer, Behaviour, Close, Raw, Received, Receiver

FAST = 5_000.0

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def accepted(*, duplicate: bool = False) -> Answer:
    return Answer(202, body=json.dumps({"id": "evt_1", "deliveries": 2, "duplicate": duplicate}).encode())


def publisher(receiver: Receiver) -> Publisher:
    return Publisher(receiver.url.removesuffix("/hook"), "key", tenant="t")


def events(total: int | None = None) -> Iterator[Outgoing]:
    return outgoing(["drill.a"], seed=1, total=total)


def by_turn(*behaviours: Behaviour) -> Callable[[Received], Behaviour]:
    """What the n-th request of each event gets; later ones get a 202."""
    turns: Counter[str] = Counter()

    def behave(request: Received) -> Behaviour:
        event = json.loads(request.body)["id"]
        turns[event] += 1
        return behaviours[turns[event] - 1] if turns[event] <= len(behaviours) else accepted()

    return behave


async def test_every_event_is_published_once_as_it_is() -> None:
    async with Receiver(accepted()) as node:
        made = publisher(node)
        await made.run(events(100), rate=FAST)
    bodies = {json.loads(request.body)["id"]: request for request in node.requests}
    assert (made.acknowledged, made.owed, made.repeats, len(made.sent), len(bodies)) == (100, 200, 0, 100, 100)
    for event in events(100):
        assert event.data in bodies[event.id].body
        assert made.sent[event.id].digest == event.digest
    head = bodies["drill-0"]
    assert (head.method, head.path, head.header("authorization")) == ("POST", "/v1/events", "Bearer key")
    assert json.loads(head.body)["tenant"] == "t"


async def test_an_event_without_an_answer_or_with_a_refusal_for_now_is_published_again() -> None:
    async with Receiver(by_turn(Close(), Answer(503), accepted(duplicate=True))) as node:
        made = publisher(node)
        await made.run(events(10), rate=FAST)
    assert made.acknowledged == 10
    assert len(made.cut_off) >= 10
    assert made.refused == 10
    assert made.repeats == 10


async def test_a_refusal_for_good_ends_it() -> None:
    async with Receiver(Answer(422, body=b'{"code":"invalid_input"}')) as node:
        made = publisher(node)
        with pytest.RaisesGroup(pytest.RaisesExc(DrillFailed, match="422"), flatten_subgroups=True):
            await made.run(events(10), rate=FAST)
    assert made.acknowledged == 0


async def test_a_node_that_is_not_there_is_waited_for(until: Until) -> None:
    async with Receiver(accepted()) as node:
        port = node.port
    made = Publisher(f"http://127.0.0.1:{port}", "key", tenant="t")
    running = asyncio.ensure_future(made.run(events(3), rate=FAST))
    await until(lambda: len(made.sent) == 3)
    assert made.acknowledged == 0
    server = await asyncio.start_server(_say_accepted, "127.0.0.1", port)
    async with server:
        await asyncio.wait_for(running, 10)
    assert made.acknowledged == 3


async def _say_accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        writer.write(accepted().to_bytes())
    writer.close()


async def test_it_keeps_its_rate_and_stops_when_told() -> None:
    loop = asyncio.get_running_loop()
    async with Receiver(accepted()) as node:
        made = publisher(node)
        started = loop.time()
        running = asyncio.ensure_future(made.run(events(), rate=400))
        await node.received(200)
        made.stop()
        await asyncio.wait_for(running, 10)
    assert loop.time() - started > 0.9 * 200 / 400
    assert len(made.sent) == made.acknowledged < 300


async def test_its_rate_can_be_changed_meanwhile() -> None:
    loop = asyncio.get_running_loop()
    async with Receiver(accepted()) as node:
        made = publisher(node)
        running = asyncio.ensure_future(made.run(events(), rate=2_000))
        await node.received(100)
        made.rate = 200
        began, before = loop.time(), len(made.sent)
        await node.received(before + 200)
        took = loop.time() - began
        made.stop()
        await asyncio.wait_for(running, 10)
    assert took > 0.4 * 200 / 200, "ten times as slow as before, but for what a late loop makes up for"


async def test_of_one_ordering_key_each_waits_for_the_202_of_the_one_before() -> None:
    keyed = [Outgoing(f"{n}", "drill.a", b"{}", ordering_key=f"k{n % 3}") for n in range(60)]
    first_try_fails = by_turn(Answer(503))

    async with Receiver(first_try_fails) as node:
        made = publisher(node)
        await made.run(iter(keyed), rate=FAST)
    bodies = [json.loads(request.body) for request in node.requests]
    assert made.acknowledged == 60
    for key in ("k0", "k1", "k2"):
        came = [int(body["id"]) for body in bodies if body["ordering_key"] == key]
        assert came == sorted(came)
        assert len(came) == 2 * 20


async def test_a_line_keeps_its_connection_and_says_what_went_wrong() -> None:
    async with Receiver() as node:
        line = Line(node.url.removesuffix("/hook"), "key")
        node.play(Answer(404, body=b"no"), Answer(200, close=True), Answer(200), Close(), Raw(b"nonsense\r\n\r\n"))
        refused = await line.ask("GET", "/a")
        assert (refused.status, refused.body) == (404, b"no")
        assert (await line.ask("GET", "/b")).status == 200
        assert (await line.ask("GET", "/c", b"{}")).status == 200
        assert [request.connection for request in node.requests] == [1, 1, 2]
        for _ in range(2):
            with pytest.raises(CutOff):
                await line.ask("GET", "/d")
        assert (await line.ask("GET", "/e")).status == 200
        line.close()
        line.close()
    with pytest.raises(NotConnected):
        await line.ask("GET", "/f")
