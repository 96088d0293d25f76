"""Simulated senders over real sockets: each is answered badly for a while, and what it then does is in its books."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from posthouse.drills.http_client import Answer
from posthouse.drills.senders.asana import Asana
from posthouse.drills.senders.autotask import Autotask
from posthouse.drills.senders.boldpenguin import BoldPenguin, BoldPenguinApi
from posthouse.drills.senders.books import Books, Fate
from posthouse.drills.senders.connectwise import KEY_PATH, ConnectWise
from posthouse.drills.senders.connectwise_api import ConnectWiseApi, key_server
from posthouse.drills.senders.cornerstone import Cornerstone
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.gocardless_api import GoCardlessApi
from posthouse.drills.senders.local_server import LocalServer, Said
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Connections, Request
from posthouse.providers.index import PRESETS
from posthouse.providers.preset import Reading
from posthouse.providers.received import Received as Arrived
from posthouse.sdk.verify import document, verify
from posthouse.system import SystemClock
from posthouse.testing.receiver import Answer as Answered
from posthouse.testing.receiver import Behaviour, Received, Receiver

SECRET = "a-secret-of-the-test"
SPEED = 1e4
RATE = 2_000.0
DEADLINE_S = 10.0


class World:
    """A receiver that answers by the preset, and what a sender needs."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.wire = Connections(8)
        self.pace = Pace(SystemClock(), speed=SPEED)
        self.url = receiver.url

    def readings(self, name: str, secret: str, fetch: Callable[[str], bytes] | None = None) -> list[Reading]:
        """What the SDK makes of every request that is no handshake."""
        found = []
        for request in self.receiver.requests:
            if request.header("x-hook-secret") is None:
                needed = document(name, request.headers, request.body)
                fetched = fetch(needed.url) if needed is not None and fetch is not None else None
                found.append(verify(name, request.headers, request.body, secret, fetched=fetched))
        return found


def answers_handshakes(request: Received) -> Behaviour:
    preset = PRESETS["asana"]
    assert preset.handshake is not None
    found = preset.handshake(Arrived.of("POST", request.path, request.headers, request.body, 0), [])
    return Answered() if found is None else Answered(found.reply.status, found.reply.headers)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with Receiver(answers_handshakes) as receiver:
        made = World(receiver)
        yield made
        made.wire.close()


def agree(readings: list[Reading], books: Books) -> None:
    """What came is what was sent."""
    types = sorted(item.type for reading in readings for item in reading.items)
    assert types == sorted(entry.type for entry in books.entries.values() for _ in entry.attempts)
    assert books.totals().is_complete


async def test_cornerstone(world: World) -> None:
    sender = Cornerstone(world.url, SECRET, wire=world.wire, pace=world.pace)
    sender.log(1_000, oldest_s=24 * 3_600)
    world.receiver.play(Answered(503), Answered(500), Answered(408))
    await sender.run(fresh=50, fresh_rate=RATE, replay_rate=1e5)
    agree(world.readings("cornerstone", SECRET), sender.books)
    codes = sender.books.totals().codes
    assert {"503", "500", "408"} < codes.keys()


async def test_asana(world: World) -> None:
    sender = Asana(world.url, wire=world.wire, pace=world.pace)
    await sender.shake_hands()
    world.receiver.play(Answered(), Answered(503), Answered(429))
    await sender.run(50, RATE)
    agree(world.readings("asana", sender.secret), sender.books)
    assert sender.books.totals().heartbeats >= 1


async def test_gocardless_and_its_api(world: World) -> None:
    sender = GoCardless(world.url, SECRET, wire=world.wire, pace=world.pace, events_per_request=10)
    world.receiver.play(*[Answered(498)] * 3)
    await sender.run(50, RATE)
    agree(world.readings("gocardless", SECRET), sender.books)
    api = GoCardlessApi(sender, access_token=SECRET)
    async with LocalServer(api) as server:
        headers = (("Authorization", f"Bearer {SECRET}"), ("GoCardless-Version", "2015-07-06"))

        async def ask(target: str, method: str = "GET") -> tuple[int, dict[str, list[dict[str, str]]]]:
            request = Request(server.url + target, headers, method=method)
            answer = await world.wire.send(request, deadline_s=DEADLINE_S)
            assert isinstance(answer, Answer)
            return answer.status, json.loads(answer.body)

        _, page = await ask("/events?limit=30")
        assert [each["id"] for each in page["events"]] == list(sender.books.entries)[:19:-1]
        key = next(iter(sender.webhooks))
        status, _ = await ask(f"/webhooks/{key}/actions/retry", "POST")
        assert status == HTTPStatus.ACCEPTED
        await api.settle()
        assert (await ask("/nothing"))[0] == HTTPStatus.NOT_FOUND
        assert server.calls == 3
    assert sender.webhooks[key].attempts >= 2


async def test_connectwise_and_its_keys(world: World) -> None:
    authority = Authority()
    sender = ConnectWise(world.url, "acme_c", wire=world.wire, pace=world.pace)
    world.receiver.play(Answered(429), Answered(404))
    await sender.run(20, RATE)
    trusting = Connections(2, tls=authority.client_context())
    async with key_server(sender, authority, pace=world.pace) as keys:
        fetched: dict[str, bytes] = {}
        for handle in sender.keys:
            url = f"{keys.url}{KEY_PATH}{handle}"
            answer = await trusting.send(Request(url, method="GET"), deadline_s=DEADLINE_S)
            assert isinstance(answer, Answer)
            fetched[handle] = answer.body
        missing = await trusting.send(Request(f"{keys.url}{KEY_PATH}none", method="GET"), deadline_s=DEADLINE_S)
        assert isinstance(missing, Answer)
        assert missing.status == HTTPStatus.NOT_FOUND
    trusting.close()
    agree(world.readings("connectwise", "acme_c", lambda url: fetched[url.rpartition("/")[2]]), sender.books)
    assert {key.fetched for key in sender.keys.values()} == {1}
    assert all("recordId" in urlsplit(request.path).query for request in world.receiver.requests)


async def test_keys_expire(world: World) -> None:
    authority = Authority()
    sender = ConnectWise(world.url, "acme_c", wire=world.wire, pace=world.pace)
    handle = sender.make().name
    trusting = Connections(1, tls=authority.client_context())
    async with key_server(sender, authority, pace=world.pace, expires_s=1e-9) as keys:
        url = f"{keys.url}{KEY_PATH}{handle}"
        answer = await trusting.send(Request(url, method="GET"), deadline_s=DEADLINE_S)
    trusting.close()
    assert isinstance(answer, Answer)
    assert answer.status == HTTPStatus.NOT_FOUND


async def test_connectwise_loses_what_is_answered_503(world: World) -> None:
    sender = ConnectWise(world.url, "acme_c", wire=world.wire, pace=world.pace)
    world.receiver.play(Answered(503))
    await sender.run(3, RATE)
    assert len(sender.books.named(Fate.LOST)) == 1
    async with LocalServer(ConnectWiseApi(sender)) as server:
        answer = await world.wire.send(Request(f"{server.url}/service/tickets", method="GET"), deadline_s=DEADLINE_S)
    assert isinstance(answer, Answer)
    assert [each["id"] for each in json.loads(answer.body)] == [1], "the list still has what the callback lost"


async def test_autotask(world: World) -> None:
    sender = Autotask(world.url, SECRET, wire=world.wire, pace=world.pace, webhooks=2, escapes=True)
    world.receiver.play(*[Answered(503)] * 3)
    await sender.run(40, RATE)
    agree(world.readings("autotask", SECRET), sender.books)


async def test_boldpenguin_and_its_api(world: World) -> None:
    sender = BoldPenguin(world.url, SECRET, wire=world.wire, pace=world.pace)
    world.receiver.play(*[Answered(503)] * 3)
    await sender.run(20, RATE)
    agree(world.readings("boldpenguin", SECRET), sender.books)
    api = BoldPenguinApi(sender, access_token=SECRET)
    async with LocalServer(api) as server:
        url = f"{server.url}/hooks/1/requests/1/redeliver"
        request = Request(url, (("Authorization", f"Bearer {SECRET}"), ("Connection", "close")))
        answer = await world.wire.send(request, deadline_s=DEADLINE_S)
        await api.settle()
    assert isinstance(answer, Answer)
    assert answer.status == HTTPStatus.CREATED
    assert len(world.receiver.requests) == 24


@pytest.mark.parametrize(
    "sent", [b"garbage\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 99_999]
)
async def test_the_local_server_breaks_off_what_is_no_call(sent: bytes) -> None:
    async with LocalServer(lambda _: Said({})) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(sent)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
        assert server.calls == 0


def test_a_usual_port_is_not_written() -> None:
    context = Authority().server_context(("keys.example.com",))
    assert (
        LocalServer(lambda _: Said({}), host="keys.example.com", port=443, tls=context).url
        == "https://keys.example.com"
    )
    assert LocalServer(lambda _: Said({}), port=80).url == "http://127.0.0.1"
    assert LocalServer(lambda _: Said({}), port=443).url == "http://127.0.0.1:443"
