"""ConnectWise: four answers are retried, all else is lost; each callback has a key of its own."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.unit.drills.senders.conftest import URL, World, only, read, received, said, written

from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.connectwise import KEY_HOST, ConnectWise
from posthouse.drills.senders.connectwise_api import ConnectWiseApi
from posthouse.drills.senders.local_server import Call
from posthouse.drills.senders.wire import Failure, Request
from posthouse.providers.preset import Reading
from posthouse.providers.senders.connectwise import PRESET

COMPANY = "acme_c"
DAY_S = 86_400


def sender_in(world: World, **options: object) -> ConnectWise:
    return ConnectWise(URL, COMPANY, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


def verified(sender: ConnectWise, request: Request) -> Reading:
    needed = PRESET.scheme.needs(received(request))
    assert needed is not None
    key = sender.keys[needed.url.rpartition("/")[2]].key
    return read("connectwise", request, COMPANY, json.dumps({"signing_key": key}).encode())


async def test_the_preset_reads_exactly_what_was_sent(world: World) -> None:
    sender = sender_in(world, records=3)
    await world.until(sender.run(60, 100.0))
    readings = [verified(sender, request) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=False)
    items = [item for reading in readings for item in reading.items]
    assert len(items) == sender.books.totals().delivered == len(sender.keys) == 60
    assert not any(item.contradiction for item in items)
    assert {item.type.partition(".")[0] for item in items} == {"ticket", "schedule", "company", "contact"}
    assert {item.type.partition(".")[2] for item in items} == {"added", "updated", "deleted"}
    for request, item in zip(world.wire.requests, items, strict=True):
        kind, _, action = item.type.partition(".")
        query = dict(parse_qsl(urlsplit(request.url).query))
        assert query == {"recordId": json.loads(item.data)["ID"].__str__(), "action": action}
        assert item.ordering_key == f"{kind}/{query['recordId']}"
        entity = json.loads(item.data)["Entity"]
        assert (entity is None) is (action == "deleted")
        assert entity is None or json.loads(entity)["id"] == int(query["recordId"])


async def test_a_query_that_is_there_is_kept(world: World) -> None:
    sender = ConnectWise(f"{URL}?tenant=a", COMPANY, wire=world.wire, pace=world.pace)
    await world.until(sender.run(1, 1.0))
    assert world.wire.requests[0].url == f"{URL}?tenant=a&recordId=1&action=added"


@pytest.mark.parametrize("again", [404, 409, 419, 429])
async def test_four_answers_are_retried_twice(world: World, again: int) -> None:
    sender = sender_in(world)
    world.wire.usual = again
    await world.until(sender.run(1, 1.0))
    assert world.wire.gaps_s == [2, 4]
    assert len(set(world.wire.requests)) == 1
    assert only(sender.books).fate is Fate.LOST
    assert world.wire.deadlines == [(5.0, None)] * 3


async def test_a_retry_saves_it(world: World) -> None:
    sender = sender_in(world)
    world.wire.play(429, 429)
    await world.until(sender.run(1, 1.0))
    assert only(sender.books).statuses == [429, 429, 200]
    assert only(sender.books).fate is Fate.DELIVERED


@pytest.mark.parametrize(
    "never", [301, 400, 401, 403, 408, 500, 502, 503, 504, Failure.TIMEOUT, Failure.REFUSED, Failure.CUT_OFF]
)
async def test_all_else_is_lost_at_once(world: World, never: int | Failure) -> None:
    sender = sender_in(world)
    world.wire.usual = never
    await world.until(sender.run(1, 1.0))
    assert only(sender.books).statuses == [never]
    assert only(sender.books).fate is Fate.LOST


async def test_after_three_days_of_failures_it_is_disabled(world: World) -> None:
    sender = sender_in(world)
    world.wire.usual = 503
    await world.until(sender.run(10, 1 / DAY_S))
    assert world.wire.at_s == [0, DAY_S, 2 * DAY_S, 3 * DAY_S]
    assert sender.is_disabled
    assert (sender.books.totals().lost, sender.books.totals().sent) == (10, 4)


async def test_a_success_begins_the_three_days_anew(world: World) -> None:
    sender = sender_in(world)
    world.wire.usual = 503
    world.wire.play(503, 503, 503, 200)
    await world.until(sender.run(6, 1 / DAY_S))
    assert not sender.is_disabled
    assert len(world.wire.requests) == 6


def test_the_key_is_where_the_preset_looks_for_it(world: World) -> None:
    parcel = sender_in(world).make()
    needed = PRESET.scheme.needs(received(parcel.make(1)))
    assert needed is not None
    assert urlsplit(needed.url).hostname == KEY_HOST


async def test_the_lists_show_what_there_is_now(world: World) -> None:
    sender = sender_in(world, types=("ticket",))
    await world.until(sender.run(10, 1.0))
    api = ConnectWiseApi(sender)

    def listed(**query: str) -> list[int]:
        path = "/v4_6_release/apis/3.0/service/tickets"
        return [entity["id"] for entity in api(Call("GET", path, query, {}, b"")).document]

    assert listed() == list(range(1, 11))
    assert listed(pageSize="3", page="4") == [10]
    assert api(Call("GET", "/service/tickets", {"pageSize": "3"}, {}, b"")).headers[0][0] == "Link"
    since = sender.entities["ticket"][7]["_info"]["lastUpdated"]
    assert listed(conditions=f"(lastUpdated>[{since}])") == [8, 9, 10]
    assert listed(conditions=f"lastUpdated >= [{since}]") == [7, 8, 9, 10]
    refused = [{"conditions": "summary='x'"}, {"conditions": "lastUpdated>[x]"}, {"page": "0"}, {"pageSize": "x"}]
    assert {api(Call("GET", "/service/tickets", query, {}, b"")).status for query in refused} == {400}
    assert api(Call("GET", "/service/boards", {}, {}, b"")).status == 404
    assert api(Call("POST", "/service/tickets", {}, {}, b"")).status == 404
