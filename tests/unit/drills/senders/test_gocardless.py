"""GoCardless: batches, eight retries, and the API that tells the truth about each request."""

from typing import Any

import pytest
from tests.unit.drills.senders.conftest import URL, World, only, read, said, written

from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.gocardless_api import GoCardlessApi
from posthouse.drills.senders.local_server import Call, Said
from posthouse.drills.senders.wire import Failure

SECRET = "ED7D658C-D8EB-4941-948B-3973214F2D49"
TOKEN = "live_token"


def sender_in(world: World, **options: object) -> GoCardless:
    return GoCardless(URL, SECRET, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


class Api:
    def __init__(self, sender: GoCardless) -> None:
        self.api = GoCardlessApi(sender, access_token=TOKEN)

    def ask(self, path: str, method: str = "GET", **query: str) -> Said:
        return self.api(Call(method, path, query, {"authorization": f"Bearer {TOKEN}"}, b""))

    def ids(self, path: str, **query: str) -> list[str]:
        return [each["id"] for each in self.page(path, **query)[path.strip("/")]]

    def page(self, path: str, **query: str) -> dict[str, Any]:
        said = self.ask(path, **query)
        assert said.status == 200
        found: dict[str, Any] = said.document
        return found


async def test_the_preset_reads_exactly_what_was_sent(world: World) -> None:
    sender = sender_in(world)
    await world.until(sender.run(600, 100.0))
    readings = [read("gocardless", request, SECRET) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=True)
    assert [len(reading.items) for reading in readings] == [250, 250, 100]
    assert [reading.delivery for reading in readings] == list(sender.webhooks)
    assert all(item.ordering_key for reading in readings for item in reading.items)
    assert sender.books.totals().delivered == 600
    assert world.wire.gaps_s == [2.5, 2.5]


@pytest.mark.parametrize("again", [302, 400, 401, 404, 410, 429, 498, 500, 503, Failure.TIMEOUT, Failure.CUT_OFF])
async def test_all_failures_are_retried_eight_times(world: World, again: int | Failure) -> None:
    sender = sender_in(world)
    world.wire.usual = again
    await world.until(sender.run(1, 1.0))
    assert world.wire.gaps_s == [60, 120, 600, 1_800, 3_600, 10_800, 28_800, 86_400]
    assert only(sender.books).statuses == [again] * 9
    assert only(sender.books).fate is Fate.LOST
    assert set(world.wire.deadlines) == {(10.0, None)}
    assert len(set(world.wire.requests)) == 1


async def test_a_webhook_that_fails_holds_up_no_other(world: World) -> None:
    sender = sender_in(world, events_per_request=1)
    world.wire.play(503)
    await world.until(sender.run(3, 1.0))
    assert world.wire.at_s == [0, 1, 2, 60]
    assert [len(entry.attempts) for entry in sender.books.entries.values()] == [2, 1, 1]


async def test_what_is_lost_can_be_asked_for_again(world: World) -> None:
    sender = sender_in(world)
    api = Api(sender)
    world.wire.usual = 503
    await world.until(sender.run(3, 1.0))
    (key,) = sender.webhooks
    assert api.ids("/webhooks", successful="false") == [key]
    world.wire.usual = 204
    answer = api.ask(f"/webhooks/{key}/actions/retry", "POST")
    assert (answer.status, answer.document["webhooks"]["id"]) == (202, key)
    await world.until(api.api.settle())
    assert api.ids("/webhooks", successful="true") == [key]
    assert api.ask(f"/webhooks/{key}").document["webhooks"]["response_code"] == 204
    assert sender.books.totals().is_complete
    assert read("gocardless", world.wire.requests[-1], SECRET).delivery == key


async def test_a_webhook_that_was_never_attempted_is_not_successful_and_has_no_answer(world: World) -> None:
    sender = sender_in(world)
    made = sender.make(2)
    found = Api(sender).ask(f"/webhooks/{made.id}").document["webhooks"]
    assert (found["successful"], found["response_code"], made.attempts) == (False, None, 0)


async def test_lists_are_paged_newest_first_both_ways(world: World) -> None:
    sender = sender_in(world, events_per_request=1)
    await world.until(sender.run(7, 1.0))
    api = Api(sender)
    newest_first = list(sender.events)[::-1]
    assert api.ids("/events") == newest_first
    first = api.page("/events", limit="3")
    assert first["meta"] == {"cursors": {"before": None, "after": newest_first[2]}, "limit": 3}
    assert api.ids("/events", limit="3", after=newest_first[2]) == newest_first[3:6]
    last = api.page("/events", limit="3", after=newest_first[5])
    assert [each["id"] for each in last["events"]] == newest_first[6:]
    assert last["meta"]["cursors"] == {"before": newest_first[6], "after": None}
    assert api.ids("/events", limit="3", before=newest_first[6]) == newest_first[3:6]
    assert api.ids("/events", before=newest_first[0]) == []
    assert api.ids("/events", after="EV-unknown") == []
    assert api.ask(f"/events/{newest_first[0]}").document["events"]["id"] == newest_first[0]


async def test_lists_can_be_filtered(world: World) -> None:
    sender = sender_in(world, events_per_request=1)
    await world.until(sender.run(6, 1.0))
    api = Api(sender)
    events = list(sender.events.values())
    at = events[2]["created_at"]
    ids = [each["id"] for each in events][::-1]
    assert api.ids("/events", **{"created_at[gte]": at}) == ids[:4]
    assert api.ids("/events", **{"created_at[gt]": at}) == ids[:3]
    assert api.ids("/events", **{"created_at[lt]": at}) == ids[4:]
    assert api.ids("/events", **{"created_at[lte]": at}) == ids[3:]
    payments = [each["id"] for each in events if each["resource_type"] == "payments"][::-1]
    assert api.ids("/events", resource_type="payments") == payments


async def test_what_the_api_refuses(world: World) -> None:
    sender = sender_in(world)
    api = Api(sender)
    wrong = [({"limit": "x"}, 400), ({"limit": "0"}, 422), ({"limit": "501"}, 422), ({"created_at[gt]": "x"}, 400)]
    assert [api.ask("/events", **query).status for query, _ in wrong] == [status for _, status in wrong]
    assert api.ask("/events", **{"created_at[eq]": "2024-01-01T00:00:00Z"}).status == 400
    unknown = [("/", "GET"), ("/events/EV0", "GET"), ("/webhooks/WB0", "GET"), ("/webhooks/WB0/actions/retry", "POST")]
    assert {api.ask(path, method).status for path, method in unknown} == {404}
    assert api.api(Call("GET", "/events", {}, {}, b"")).status == 401
    assert api.api(Call("GET", "/events", {}, {"authorization": "Bearer é"}, b"")).status == 401
