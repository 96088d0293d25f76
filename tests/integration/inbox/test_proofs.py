"""Keys that are fetched behind the answer: from allowed hosts only, again when it fails, and never before."""

import asyncio
import json
import random

import pytest
from tests.integration.inbox import senders
from tests.integration.inbox.senders import COMPANY, KEY_URL, SIGNING_KEY

from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Objection
from posthouse.core.limits import FETCH_ATTEMPTS_MAX
from posthouse.core.model import Environment, Scope
from posthouse.gateway.principal import Principal
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

KEY = answer(body=json.dumps({"signing_key": SIGNING_KEY}).encode())


async def test_the_answer_does_not_wait_for_the_key(house: House) -> None:
    """Accepted at once; passed on when the key is there."""
    key: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: key
    source = await house.source("connectwise", COMPANY)
    assert (await house.post(source, *senders.connectwise())).status_code == 200
    (fetch,) = await house.transport.sent(1)
    assert (fetch.method, fetch.url) == ("GET", KEY_URL)
    assert await house.events() == []
    key.set_result(KEY)
    await house.read(1)
    assert [event.type for event in await house.events()] == ["ticket.updated"]


async def test_what_waits_for_a_key_holds_up_nobody(house: House) -> None:
    """Of another source or the same one."""
    house.transport.script = lambda _: asyncio.get_running_loop().create_future()
    slow, quick = await house.source("connectwise", COMPANY), await house.source("github", senders.SECRET)
    for number in range(100):
        await house.post(slow, *senders.connectwise(number, key_url=f"{KEY_URL}{number}"))
    await house.post(quick, *senders.github(senders.issue()))
    await house.read(1)
    assert [event.type for event in await house.events()] == ["issues.opened"]


@pytest.mark.parametrize(
    "key_url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://na.myconnectwise.net.evil.example/key",
        "https://na.myconnectwise.net@evil.example/key",
        "https://evil.example/na.myconnectwise.net",
        "http://na.myconnectwise.net/key",
        "https://na.myconnectwise.net:8443/key",
    ],
)
async def test_no_other_host_is_ever_asked(house: House, key_url: str) -> None:
    """The address stands in the request, so anybody can write it (D21)."""
    source = await house.source("connectwise", COMPANY)
    assert (await house.post(source, *senders.connectwise(key_url=key_url))).status_code == 401
    (entry,) = await house.quarantine()
    assert entry.objection is Objection.BAD_SIGNATURE
    assert house.transport.requests == []


async def test_a_source_may_allow_a_host_of_its_own(house: House) -> None:
    house.transport.script = lambda _: KEY
    source = await house.source("connectwise", COMPANY, key_hosts=("psa.acme.example",))
    await house.post(source, *senders.connectwise(key_url="https://psa.acme.example/callbackkey/1"))
    await house.read(1)
    assert len(await house.events()) == 1


async def test_a_forged_one_is_in_quarantine_although_it_was_acknowledged(house: House) -> None:
    house.transport.script = lambda _: KEY
    source = await house.source("connectwise", COMPANY)
    assert (await house.post(source, *senders.connectwise(key="another key"))).status_code == 200
    assert (await house.post(source, *senders.connectwise(company="stranger"))).status_code == 200
    await house.read(2)
    entries = await house.quarantine()
    assert [(entry.objection, entry.acknowledged) for entry in entries] == [(Objection.BAD_SIGNATURE, True)] * 2
    assert await house.events() == []


async def test_a_second_look_fetches_the_key_once_more(house: House) -> None:
    """What a wrong company id refused is passed on when it is corrected; what is forged comes back to quarantine."""
    house.transport.script = lambda _: KEY
    source = await house.source("connectwise", "misspelt")
    await house.post(source, *senders.connectwise(1))
    await house.post(source, *senders.connectwise(2, key="another key"))
    await house.read(2)
    gateway = house.node.gateway
    await gateway.sources.rotate_secret(Environment.LIVE, make_id(SOURCE, source.key), secret=COMPANY, overlap_ms=0)
    principal = Principal(Environment.LIVE, Scope.ADMIN, 1)
    step = await gateway.quarantine.reverify(
        principal, make_id(SOURCE, source.key), after=None, limit=100, dry_run=False
    )
    assert (step.examined, step.changed) == (2, 2)
    await house.read(4)
    assert len(await house.events()) == 1
    assert [entry.objection for entry in await house.quarantine()] == [Objection.BAD_SIGNATURE]


async def test_a_key_that_cannot_be_fetched_is_asked_for_again(house: House) -> None:
    """With pauses; then the request is in quarantine, not lost."""
    house.transport.script = lambda _: broken(Failure.READ_TIMEOUT)
    source = await house.source("connectwise", COMPANY)
    await house.post(source, *senders.connectwise())
    for attempt in range(1, FETCH_ATTEMPTS_MAX + 1):
        await house.transport.sent(attempt)
        await house.until(lambda: not house.node.inbox._proofs._tasks)
        await house.until(lambda: not house.node.inbox._reads)
        house.clock.advance(120_000)
        house.node.inbox.returned(source.key)  # as its timer would
    await house.read(1)
    (entry,) = await house.quarantine()
    assert (entry.objection, entry.acknowledged) == (Objection.KEY_UNAVAILABLE, True)
    assert len(house.transport.requests) == FETCH_ATTEMPTS_MAX


async def test_a_key_is_fetched_once_for_all_who_need_it(house: House) -> None:
    """At the same time, and for a while after that."""
    key: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: key
    source = await house.source("connectwise", COMPANY)
    for number in range(5):
        await house.post(source, *senders.connectwise(number))
    await house.transport.sent(1)
    key.set_result(KEY)
    await house.read(5)
    await house.post(source, *senders.connectwise(6))
    await house.read(6)
    assert len(house.transport.requests) == 1


async def test_every_event_has_the_type_of_its_own_envelope(house: House) -> None:
    """Kinds interleaved at random, keys that come in any order: nothing of one request is left for the next."""
    chance = random.Random(4)
    keys: list[asyncio.Future[Exchange]] = []

    def later(_: Request) -> asyncio.Future[Exchange]:
        keys.append(asyncio.get_running_loop().create_future())
        return keys[-1]

    house.transport.script = later
    source = await house.source("connectwise", COMPANY)
    kinds = [chance.choice(["ticket", "schedule", "company", "contact"]) for _ in range(200)]
    posts = [senders.connectwise(n, kind=kind, key_url=f"{KEY_URL}{n}") for n, kind in enumerate(kinds)]
    await asyncio.gather(*(house.post(source, *post) for post in posts))
    while house.node.metrics.requests_read < len(kinds):
        open_ = [key for key in keys if not key.done()]
        if open_:
            chance.choice(open_).set_result(KEY)
        await asyncio.sleep(0)
    events = await house.events()
    assert len(events) == len(kinds)
    for event in events:
        envelope = json.loads(event.data)
        assert event.type == f"{envelope['Type']}.{envelope['Action']}"


async def test_a_ticket_that_is_called_a_schedule_is_not_passed_on(house: House) -> None:
    """The envelope contradicts what it holds: in quarantine, until an operator says otherwise."""
    house.transport.script = lambda _: KEY
    source = await house.source("connectwise", COMPANY)
    body, headers = senders.connectwise(kind="schedule", is_ticket=True)
    assert (await house.post(source, body, headers)).status_code == 200
    await house.read(1)
    (entry,) = await house.quarantine()
    assert (entry.objection, entry.position, entry.type) == (Objection.TYPE_CONTRADICTION, 0, "schedule.updated")
    assert await house.events() == []
