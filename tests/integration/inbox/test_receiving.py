"""From a sender's request to an event that an endpoint gets: kept first, answered in its way, passed on once."""

import hmac
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.integration.inbox import senders
from tests.integration.inbox.senders import SECRET

from posthouse.core.errors import StoreUnavailable
from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Objection, Verdict, WhilePaused
from posthouse.core.limits import SOURCE_BODY_BYTES_DEFAULT
from posthouse.core.model import Environment, Lane
from posthouse.store.protocol import RequestQuery
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock

Start = Callable[..., Awaitable[House]]


async def test_what_a_sender_posts_reaches_the_endpoint_byte_for_byte(house: House) -> None:
    await house.endpoint("issues.*")
    source = await house.source("github", SECRET)
    body, headers = senders.github(b'{ "action":"opened",\n "issue" : {"number": 1.0, "title":"\\u00e9"} }')
    response = await house.post(source, body, headers)
    assert (response.status_code, response.content) == (200, b"")
    (sent,) = await house.transport.sent(1)
    assert sent.body.endswith(b',"data":' + body + b"}")
    (event,) = await house.events()
    assert (event.type, event.data, event.tenant) == ("issues.opened", body, "default")


async def test_it_is_stored_as_it_came(house: House) -> None:
    """Method, URL with the query, headers in their order, body: before anything is read."""
    source = await house.source("github", SECRET)
    body, headers = senders.github(b"this is no JSON")
    await house.post(source, body, headers, query="?recordId=5&b=%20")
    await house.read(1)
    (record,) = await house.ports.store.inbound.requests(RequestQuery(environment=Environment.LIVE))
    whole = await house.ports.store.inbound.request(record.request.key)
    assert whole is not None
    request = whole.request
    assert (request.method, request.body, request.verdict) == ("POST", body, Verdict.GENUINE)
    assert request.url == f"http://node.test/in/{source.token}?recordId=5&b=%20"
    assert ("x-github-event", "issues") in request.headers


@pytest.mark.parametrize(
    ("provider", "post", "accepted", "forged"),
    [
        ("github", senders.github(senders.issue()), 200, 401),
        ("gocardless", senders.gocardless("EV1"), 204, 498),
        ("boldpenguin", senders.boldpenguin({"id": 1}), 200, 401),
    ],
)
async def test_each_sender_is_answered_in_its_own_codes(
    house: House, provider: str, post: senders.Post, accepted: int, forged: int
) -> None:
    """And what is forged is kept, but not passed on."""
    body, headers = post
    good, bad = await house.source(provider, SECRET), await house.source(provider, "another secret")
    assert (await house.post(good, body, headers)).status_code == accepted
    assert (await house.post(bad, body, headers)).status_code == forged
    await house.read(1)
    (entry,) = await house.quarantine()
    assert (entry.source_key, entry.objection, entry.acknowledged) == (bad.key, Objection.BAD_SIGNATURE, False)
    assert len(await house.events()) == 1


async def test_without_a_secret_nothing_is_believed(house: House) -> None:
    source = await house.source("github")
    assert (await house.post(source, *senders.github(senders.issue()))).status_code == 401
    (entry,) = await house.quarantine()
    assert entry.objection is Objection.NO_SECRET


async def test_two_secrets_are_valid_at_once(house: House) -> None:
    source = await house.source("github", "new", "old")
    for number, secret in enumerate(("old", "new")):
        post = senders.github(senders.issue(), secret=secret, delivery=f"d-{number}")
        assert (await house.post(source, *post)).status_code == 200


async def test_a_batch_becomes_events_of_their_own(house: House) -> None:
    """Of 250, one that nobody can read: the others are passed on, it is in quarantine."""
    source = await house.source("gocardless", SECRET)
    body, _ = senders.gocardless(*(f"EV{n}" for n in range(250)))
    body = body.replace(b'"EV7"', b'"EV\\u00007"')
    _, headers = senders.gocardless(secret=SECRET)
    headers["Webhook-Signature"] = hmac.digest(SECRET.encode(), body, "sha256").hex()
    assert (await house.post(source, body, headers)).status_code == 204
    await house.read(1)
    assert [event.type for event in await house.events()] == ["payments.paid"] * 249
    (entry,) = await house.quarantine()
    assert (entry.position, entry.objection, entry.acknowledged) == (7, Objection.UNREADABLE, True)


async def test_repetitions_are_suppressed_and_counted(house: House) -> None:
    """The same record with new content is another event; the same event again, five times, is none (D11)."""
    await house.endpoint()
    source = await house.source("boldpenguin", SECRET)
    first, second = {"id": 7, "state": "done"}, {"id": 7, "state": "edited"}
    for data in (first, second, first, first, second, second, second):
        assert (await house.post(source, *senders.boldpenguin(data))).status_code == 200
    await house.read(7)
    assert [json.loads(event.data) for event in await house.events()] == [first, second]
    origins = [await house.ports.store.inbound.origin(event.key) for event in await house.events()]
    assert [origin.repeats for origin in origins if origin is not None] == [2, 3]
    assert house.node.metrics.events_repeated == 5
    await house.settled(2)
    assert (await house.books()).delivered == 2


async def test_what_has_no_id_is_the_same_for_five_minutes(start: Start) -> None:
    clock = ManualClock()
    house = await start(clock)
    source = await house.source("boldpenguin", SECRET)
    for wait_ms, count in ((0, 1), (299_000, 1), (2_000, 2)):
        clock.advance(wait_ms)
        await house.post(source, *senders.boldpenguin({"id": 1}))
        await house.until(lambda: house.node.metrics.requests_read == house.node.metrics.requests_received["genuine"])
        assert len(await house.events()) == count


async def test_old_events_start_in_the_backlog_lane(start: Start) -> None:
    """By the event's own time, with a bound of the source's own."""
    house = await start(ManualClock())
    endpoint = await house.endpoint()
    house.node.engine.board.turns.close()  # nothing is to be sent
    source = await house.source("cornerstone", SECRET, fresh_seconds=3_600)
    for offset, at in enumerate(("2027-01-15T06:59:00Z", "2027-01-15T07:01:00Z")):
        await house.post(source, *senders.cornerstone(offset, at=at))
    await house.read(2)
    records = [await house.ports.store.ledger.delivery(event.key, endpoint.key) for event in await house.events()]
    assert [record.lane for record in records if record is not None] == [Lane.BACKLOG, Lane.LIVE]


async def test_an_endpoint_may_want_some_sources_only(house: House) -> None:
    wanted, other = await house.source("github", SECRET), await house.source("github", SECRET)
    endpoint = await house.endpoint(sources=(wanted.key,))
    for source in (wanted, other):
        await house.post(source, *senders.github(senders.issue(), delivery=f"d-{source.key}"))
    await house.publish()
    await house.read(2)
    await house.settled(1)
    first, _, _ = await house.events()
    assert (await house.books()).owed == 1
    assert await house.ports.store.ledger.delivery(first.key, endpoint.key) is not None


async def test_bodies_beyond_the_bound_are_refused(house: House) -> None:
    source = await house.source("github", SECRET)
    fits, exceeds = b" " * SOURCE_BODY_BYTES_DEFAULT, b" " * (SOURCE_BODY_BYTES_DEFAULT + 1)
    assert (await house.post(source, fits, {})).status_code == 401
    assert (await house.post(source, exceeds, {})).status_code == 413
    assert house.node.metrics.requests_turned_away["too_large"] == 1


@pytest.mark.parametrize(
    ("provider", "status", "retry_after"),
    [("cornerstone", 503, None), ("connectwise", 429, None), ("github", 503, "30")],
)
async def test_who_cannot_be_served_is_told_to_come_again(
    house: House, provider: str, status: int, retry_after: str | None
) -> None:
    """In the code that this very sender takes as a reason to."""
    source = await house.source(provider, SECRET)

    async def fail(_: object) -> None:
        raise StoreUnavailable("The disk is full.")

    house.ports.store.inbound.take = fail  # type: ignore[assignment, method-assign]  # this store is the test's own
    post = senders.connectwise() if provider == "connectwise" else senders.cornerstone(1)
    response = await house.post(source, *post)
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert response.json()["code"] == "store_unavailable"


async def test_an_unknown_url_is_unknown(house: House) -> None:
    source = await house.source("github", SECRET)
    await house.node.gateway.sources.delete(Environment.LIVE, _id(source.key))
    assert (await house.post(source, *senders.github(senders.issue()))).status_code == 404


# -- pausing ----------------------------------------------------------------------------------------


async def test_a_paused_source_keeps_what_comes(start: Start) -> None:
    """Acknowledged and held, over a restart, until it is resumed; then all of it is passed on in its order."""
    house = await start()
    source = await house.source("github", SECRET)
    sources = house.node.gateway.sources
    await sources.pause(Environment.LIVE, _id(source.key), while_paused=WhilePaused.HOLD)
    for number in range(3):
        post = senders.github(senders.issue(number), delivery=f"d-{number}")
        assert (await house.post(source, *post)).status_code == 200
    assert await house.events() == []
    await house.node.stop(drain_seconds=0)
    house = await start()
    assert await house.events() == []
    await house.node.gateway.sources.resume(Environment.LIVE, _id(source.key))
    await house.read(3)
    assert [json.loads(event.data)["issue"]["number"] for event in await house.events()] == [0, 1, 2]


async def test_a_paused_source_may_refuse(house: House) -> None:
    source = await house.source("connectwise", senders.COMPANY)
    await house.node.gateway.sources.pause(Environment.LIVE, _id(source.key), while_paused=WhilePaused.REFUSE)
    response = await house.post(source, *senders.connectwise())
    assert (response.status_code, response.json()["code"]) == (429, "source_paused")


# -- handshakes and heartbeats ----------------------------------------------------------------------


async def test_a_handshake_brings_the_secret(start: Start) -> None:
    """It is durable before it is answered: requests signed with it are genuine after a restart."""
    house, brought = await start(), "ab" * 32
    source = await house.source("asana")
    response = await house.post(source, b"", {"X-Hook-Secret": brought})
    assert (response.status_code, response.headers["x-hook-secret"]) == (200, brought)
    await house.node.stop(drain_seconds=0)
    house = await start()
    body = b'{"events":[]}'
    signature = hmac.digest(brought.encode(), body, "sha256").hex()
    assert (await house.post(source, body, {"X-Hook-Signature": signature})).status_code == 200
    await house.read(1)
    assert house.node.metrics.heartbeats == 1
    assert await house.events() == []


def _id(source_key: int) -> str:
    return make_id(SOURCE, source_key)
