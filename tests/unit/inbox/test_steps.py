"""The steps of an inbox: nothing before it is durable, nothing of what is held, and nobody pays for another."""

import asyncio
import json
from collections.abc import Sequence

import httpx2
from tests.integration.inbox import senders
from tests.integration.inbox.senders import COMPANY, SECRET, SIGNING_KEY

from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Objection
from posthouse.core.model import Environment
from posthouse.store.protocol import Arrival, Overtaken, PassResult, ReadRequest, StaleCatalogue
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer

KEY = answer(body=json.dumps({"signing_key": SIGNING_KEY}).encode())


async def turns(count: int = 100) -> None:
    """Let everything happen that needs no more than turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_is_done_with_a_request_before_it_is_durable(house: House) -> None:
    """Not answered, not read, and no key is fetched, however long the disk takes."""
    house.transport.script = lambda _: KEY
    inbound, slow = house.ports.store.inbound, asyncio.Event()
    take = inbound.take

    async def held(arrivals: Sequence[Arrival]) -> None:
        await slow.wait()
        await take(arrivals)

    inbound.take = held  # type: ignore[method-assign]  # this store is the test's own
    source = await house.source("connectwise", COMPANY)
    post = asyncio.create_task(house.post(source, *senders.connectwise()))
    await house.until(lambda: house.node.gateway.receiver.waiting == 1)
    await turns()
    before = post.done(), list(house.transport.requests), house.node.metrics.requests_read
    slow.set()
    assert (await post).status_code == 200
    assert before == (False, [], 0)
    await house.read(1)
    assert len(await house.events()) == 1


async def test_another_secret_counts_from_the_next_request_on(house: House) -> None:
    source = await house.source("github", "old")

    async def post(number: int, secret: str) -> httpx2.Response:
        return await house.post(source, *senders.github(senders.issue(), secret=secret, delivery=f"d-{number}"))

    assert [(await post(1, secret)).status_code for secret in ("new", "old")] == [401, 200]
    name = make_id(SOURCE, source.key)
    await house.node.gateway.sources.rotate_secret(Environment.LIVE, name, secret="new", overlap_ms=0)
    assert [(await post(2, secret)).status_code for secret in ("new", "old")] == [200, 401]


async def test_a_forged_request_stays_forged_when_it_is_routed_again(house: House) -> None:
    """The catalogue has moved on between its reading and its commit."""
    house.transport.script = lambda _: KEY
    inbound = house.ports.store.inbound
    pass_on, handed = inbound.pass_on, [0]

    async def stale_once(readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        handed[0] += len(readings)
        if handed[0] == len(readings):
            return [StaleCatalogue(reading.catalogue_version) for reading in readings]
        return await pass_on(readings, now=now)

    inbound.pass_on = stale_once  # type: ignore[method-assign]  # this store is the test's own
    source = await house.source("connectwise", COMPANY)
    await house.post(source, *senders.connectwise(key="another key"))
    await house.read(1)
    assert await house.events() == []
    (entry,) = await house.quarantine()
    assert entry.objection is Objection.BAD_SIGNATURE
    assert (handed[0], len(house.transport.requests)) == (2, 1)


async def test_a_paused_source_passes_nothing_on(house: House) -> None:
    """What another one sends meanwhile goes on, and what was held follows when it may."""
    paused, other = await house.source("github", SECRET), await house.source("github", SECRET)
    await house.pause(paused)
    for source, number in ((paused, 1), (other, 2)):
        post = senders.github(senders.issue(number), delivery=f"d-{number}")
        assert (await house.post(source, *post)).status_code == 200
    await house.read(1)
    await turns()
    assert [json.loads(event.data)["issue"]["number"] for event in await house.events()] == [2]
    await house.resume(paused)
    await house.read(2)
    assert [json.loads(event.data)["issue"]["number"] for event in await house.events()] == [2, 1]


async def test_what_spoils_a_step_is_set_aside_alone(house: House) -> None:
    """What nobody thought of raises in the store: one request is in quarantine, the others of its step are not."""
    source = await house.source("github", SECRET)
    inbound = house.ports.store.inbound
    pass_on = inbound.pass_on

    async def spoilt(readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        for reading in readings:
            if reading.events and b'"number": 3}' in reading.item.request.body:
                raise ZeroDivisionError
        return await pass_on(readings, now=now)

    inbound.pass_on = spoilt  # type: ignore[method-assign]  # this store is the test's own
    await house.pause(source)
    for number in range(6):
        await house.post(source, *senders.github(senders.issue(number), delivery=f"d-{number}"))
    await house.resume(source)
    await house.read(6)
    assert [json.loads(event.data)["issue"]["number"] for event in await house.events()] == [0, 1, 2, 4, 5]
    (entry,) = await house.quarantine()
    assert (entry.objection, entry.acknowledged) == (Objection.UNREADABLE, True)
    assert "ZeroDivisionError" in entry.detail


async def test_a_request_that_was_overtaken_is_read_again(house: House) -> None:
    """Its events get keys above what another node, whose clock is ahead, owes already."""
    inbound = house.ports.store.inbound
    pass_on = inbound.pass_on
    floors: list[int] = []
    keys: list[int] = []

    async def overtaken_once(readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        found = [event.new.event.key for reading in readings for event in reading.events]
        if not floors:
            floors.append(max(found) + (1 << 40))
            return [Overtaken(floors[0]) for _ in readings]
        keys.extend(found)
        return await pass_on(readings, now=now)

    inbound.pass_on = overtaken_once  # type: ignore[method-assign]  # this store is the test's own
    source = await house.source("github", SECRET)
    assert (await house.post(source, *senders.github(senders.issue(1), delivery="d"))).status_code == 200
    await house.read(1)
    (event,) = await house.events()
    assert keys == [event.key]
    assert event.key > floors[0]
