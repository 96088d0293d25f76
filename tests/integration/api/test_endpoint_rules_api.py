"""The rules of endpoints over the API: set, changed, taken away; and how an endpoint is."""

import asyncio
from typing import Any

import httpx2
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.core.model import Endpoint, EndpointState, Environment, Lane
from posthouse.core.rules import DEFAULT_RULES, Batch, Format, Order, Payload, Rules
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.gateway.hints import Condition
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"
FIELDS: dict[str, Any] = {
    "rate": "100/s",
    "in_flight_max": 4,
    "order": "fifo",
    "block_seconds": 600,
    "payload": "full",
    "format": "gocardless",
    "batch": {"max_events": 100, "max_wait_ms": 500},
    "success": "200-299,409",
    "sources": [],
    "filter": "data.quantity > 0",
    "transform": {"sku": "data.sku", "left": {"pieces": "data.quantity"}},
    "disable_after_days": 14,
}
DEFAULTS: dict[str, Any] = {
    "rate": None,
    "in_flight_max": None,
    "order": "none",
    "block_seconds": None,
    "payload": "full",
    "format": "standard-webhooks",
    "batch": None,
    "success": "200-299",
    "sources": [],
    "filter": None,
    "transform": None,
    "disable_after_days": 30,
}


async def create(client: httpx2.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await client.post("/v1/endpoints", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def key_of(endpoint: dict[str, Any]) -> int:
    key = parse_id(ENDPOINT, endpoint["id"])
    assert key is not None
    return key


async def stored(house: QuietHouse, endpoint: dict[str, Any]) -> Endpoint:
    found = await house.store.catalogue.endpoint(key_of(endpoint))
    assert found is not None
    assert found == house.gateway.catalogue.endpoint(found.key) == house.hints.endpoints[-1]
    return found


def rules_in(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in FIELDS}


async def test_without_a_word_there_is_no_rule_but_the_usual_ones(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    endpoint = await create(client)
    assert rules_in(endpoint) == DEFAULTS
    assert (await stored(house, endpoint)).rules == DEFAULT_RULES


async def test_every_rule_is_kept(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, **FIELDS)
    assert rules_in(endpoint) == FIELDS
    assert rules_in((await client.get(f"/v1/endpoints/{endpoint['id']}")).json()) == FIELDS
    assert (await stored(house, endpoint)).rules == Rules(
        rate="100/s",
        in_flight_max=4,
        order=Order.FIFO,
        block_seconds=600,
        payload=Payload.FULL,
        format=Format.GOCARDLESS,
        batch=Batch(100, 500),
        success="200-299,409",
        filter="data.quantity > 0",
        transform='{"sku":"data.sku","left":{"pieces":"data.quantity"}}',
        disable_after_days=14,
    )


async def test_every_rule_is_changed_by_itself_and_taken_away(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client)
    place = f"/v1/endpoints/{endpoint['id']}"
    now = dict(DEFAULTS)
    for name, value in FIELDS.items():
        answer = await client.patch(place, json={name: value})
        assert answer.status_code == 200, answer.text
        now[name] = value
        if name == "order":
            now["block_seconds"] = 3_600
        assert rules_in(answer.json()) == now
    unset: dict[str, Any] = dict.fromkeys(FIELDS) | {"order": "none", "payload": "full", "format": "standard-webhooks"}
    answer = await client.patch(place, json=unset)
    assert rules_in(answer.json()) == {**DEFAULTS, "disable_after_days": None}
    assert (await stored(house, endpoint)).rules == Rules(disable_after_days=None)


async def test_null_stands_for_the_default_of_a_new_one_too(client: httpx2.AsyncClient) -> None:
    nulls = {name: None for name in FIELDS if name not in {"order", "payload", "format"}}
    assert rules_in(await create(client, **nulls)) == {**DEFAULTS, "disable_after_days": None}


async def test_with_a_format_come_the_ways_of_that_system(client: httpx2.AsyncClient) -> None:
    """Unless the request says otherwise; and a later change of the format changes nothing else."""
    made = await create(client, format="gocardless")
    assert (made["timeout_ms"], made["batch"]) == (10_000, {"max_events": 250, "max_wait_ms": 1_000})
    assert made["retry"].startswith("custom:1m,2m,10m")
    own = await create(client, format="asana", retry="none", batch=None, timeout_ms=7_000)
    assert (own["retry"], own["batch"], own["timeout_ms"], own["success"]) == ("none", None, 7_000, "200,204")
    answer = await client.patch(f"/v1/endpoints/{own['id']}", json={"format": "raw"})
    changed = answer.json()
    assert {name for name in changed if changed[name] != own[name]} <= {"format", "updated_at"}
    assert changed["format"] == "raw"


async def test_a_batch_waits_a_second_unless_somebody_says_otherwise(client: httpx2.AsyncClient) -> None:
    assert (await create(client, batch={"max_events": 2}))["batch"] == {"max_events": 2, "max_wait_ms": 1_000}


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"rate": "fast"}, "rate", "rate"),
        ({"rate": 5}, "rate", "string_type"),
        ({"in_flight_max": 0}, "in_flight_max", "out_of_range"),
        ({"in_flight_max": 1.5}, "in_flight_max", "int_type"),
        ({"order": "lifo"}, "order", "literal_error"),
        ({"order": None}, "order", "literal_error"),
        ({"block_seconds": 60}, "block_seconds", "without_order"),
        ({"payload": "slim"}, "payload", "literal_error"),
        ({"format": "soap"}, "format", "literal_error"),
        ({"format": "raw", "batch": {"max_events": 2}}, "batch", "without_list"),
        ({"payload": "thin", "transform": {"a": "data.a"}}, "transform", "unseen"),
        ({"batch": {"max_events": 1}}, "batch.max_events", "out_of_range"),
        ({"batch": {}}, "batch.max_events", "missing"),
        ({"batch": {"max_events": 2, "size": 3}}, "batch.size", "extra_forbidden"),
        ({"batch": 5}, "batch", "model_attributes_type"),
        ({"success": "2xx"}, "success", "success"),
        ({"success": "200,429"}, "success", "success"),
        ({"sources": ["src_0000000000001"]}, "sources[0]", "unknown"),
        ({"sources": ["ep_0000000000001"]}, "sources[0]", "unknown"),
        ({"sources": "src_0000000000001"}, "sources", "list_type"),
        ({"filter": "data.n >"}, "filter", "expression"),
        ({"filter": {"n": 1}}, "filter", "string_type"),
        ({"transform": {"n": "data."}}, "transform", "expression"),
        ({"transform": {"n": 5}}, "transform", "expression"),
        ({"transform": "data"}, "transform", "dict_type"),
        ({"disable_after_days": 0}, "disable_after_days", "out_of_range"),
        ({"disable_after_days": 366}, "disable_after_days", "out_of_range"),
        ({"health": {}}, "health", "extra_forbidden"),
    ],
)
async def test_a_bad_rule_is_named_and_nothing_is_stored(
    client: httpx2.AsyncClient, house: QuietHouse, fields: dict[str, object], path: str, code: str
) -> None:
    endpoint = await create(client)
    before = await house.store.catalogue.load()
    for answer in (
        await client.post("/v1/endpoints", json={"url": URL, **fields}),
        await client.patch(f"/v1/endpoints/{endpoint['id']}", json=fields),
    ):
        assert answer.status_code == 422, answer.text
        assert (path, code) in [(error["path"], error["code"]) for error in answer.json()["errors"]]
    assert await house.store.catalogue.load() == before


async def test_all_bad_rules_are_named_at_once(client: httpx2.AsyncClient) -> None:
    fields = {
        "rate": "x",
        "batch": {"max_events": 0, "max_wait_ms": -1},
        "success": "1",
        "filter": "(",
        "timeout_ms": 1,
    }
    answer = await client.post("/v1/endpoints", json={"url": URL, **fields})
    paths = {error["path"] for error in answer.json()["errors"]}
    assert paths == {"rate", "batch.max_events", "batch.max_wait_ms", "success", "filter", "timeout_ms"}


# -- how an endpoint is ---------------------------------------------------------------------


async def test_an_endpoint_says_how_it_is(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client)
    well = {
        "state": "ok",
        "failing_since": None,
        "next_probe_at": None,
        "disables_at": None,
        "rate_now": None,
        "in_flight": 0,
        "node": None,
    }
    assert endpoint["health"] == well
    house.hints.conditions[key_of(endpoint)] = Condition(
        state="down",
        failing_since=1_000,
        next_probe_at=2_000,
        disables_at=3_000,
        rate_now=0.5,
        in_flight=1,
        node="node-a",
    )
    down = {
        "state": "down",
        "failing_since": "1970-01-01T00:00:01.000Z",
        "next_probe_at": "1970-01-01T00:00:02.000Z",
        "disables_at": "1970-01-01T00:00:03.000Z",
        "rate_now": 0.5,
        "in_flight": 1,
        "node": "node-a",
    }
    place = f"/v1/endpoints/{endpoint['id']}"
    assert (await client.get(place)).json()["health"] == down
    assert (await client.patch(place, json={"description": "x"})).json()["health"] == down
    assert [shown["health"] for shown in (await client.get("/v1/endpoints")).json()["data"]] == [down]


# -- another order --------------------------------------------------------------------------


async def publish(client: httpx2.AsyncClient, *ordering_keys: str | None) -> None:
    for number, ordering_key in enumerate(ordering_keys):
        event = {"type": "t", "data": number, "ordering_key": ordering_key}
        assert (await client.post("/v1/events", json=event)).status_code == 202


async def heads(house: QuietHouse, endpoint: dict[str, Any]) -> list[bytes]:
    """The data of what a node may send now."""
    refill = await house.store.work.fetch(
        key_of(endpoint), Lane.LIVE, now=house.clock.now_ms(), limit=100, bytes_max=1_000_000
    )
    return [work.event.data for work in refill.work]


async def test_what_is_owed_is_brought_in_line_before_anything_is_sent(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    endpoint = await create(client)
    await publish(client, "a", "a", None, "b", "b")
    assert await heads(house, endpoint) == [b"0", b"1", b"2", b"3", b"4"]
    seen: list[tuple[Endpoint, list[bytes]]] = []
    reorder = house.store.work.reorder

    async def watched(*args: Any, **options: Any) -> int:
        seen.append((house.hints.endpoints[-1], await heads(house, endpoint)))
        return await reorder(*args, **options)

    house.store.work.reorder = watched  # type: ignore[method-assign]  # this store is the test's own
    changed = (await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "fifo"})).json()
    assert (changed["state"], changed["state_reason"], changed["order"]) == ("active", None, "fifo")
    assert await heads(house, endpoint) == [b"0", b"2", b"3"]
    assert len(seen) >= 2
    for held, _ in seen:
        assert (held.state, held.state_reason, held.rules.order) == (EndpointState.PAUSED, "reordering", Order.FIFO)
    assert (await stored(house, endpoint)).state is EndpointState.ACTIVE

    back = (await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "none"})).json()
    assert (back["order"], back["state"]) == ("none", "active")
    assert sorted(await heads(house, endpoint)) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("verb", ["pause", "disable"])
async def test_an_endpoint_that_was_held_before_is_held_afterwards(
    client: httpx2.AsyncClient, house: QuietHouse, verb: str
) -> None:
    endpoint = await create(client)
    if verb == "pause":
        await client.post(f"/v1/endpoints/{endpoint['id']}/pause")
    else:
        await house.gateway.endpoints.disable(key_of(endpoint), "gone")
    before = await stored(house, endpoint)
    await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "latest"})
    after = await stored(house, endpoint)
    assert (after.state, after.state_reason) == (before.state, before.state_reason)
    assert EndpointState.ACTIVE not in {e.state for e in house.hints.endpoints[-2:]}


async def test_one_request_may_resume_and_reorder(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, active=False)
    changed = (await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "fifo", "active": True})).json()
    assert (changed["state"], changed["state_reason"]) == ("active", None)
    states = [e.state for e in house.hints.endpoints]
    assert states == [EndpointState.PAUSED, EndpointState.PAUSED, EndpointState.ACTIVE]
    assert house.hints.dues


async def interrupted(client: httpx2.AsyncClient, house: QuietHouse, endpoint: dict[str, Any]) -> None:
    """A change of the order that breaks off when the endpoint is held."""
    reorder = house.store.work.reorder

    async def broken(*args: object, **options: object) -> int:
        raise StoreUnavailable

    house.store.work.reorder = broken  # type: ignore[method-assign]  # this store is the test's own
    answer = await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "fifo"})
    assert answer.status_code == 503
    house.store.work.reorder = reorder  # type: ignore[method-assign]


async def test_an_interrupted_change_is_finished_at_the_start(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint, paused = await create(client), await create(client)
    await client.post(f"/v1/endpoints/{paused['id']}/pause")
    await publish(client, "a", "a")
    await interrupted(client, house, endpoint)
    await interrupted(client, house, paused)
    assert house.gateway.endpoints.get(Environment.LIVE, paused["id"]).state_reason == "reordering:paused_by_operator"
    assert await heads(house, endpoint) == [b"0", b"1"]
    assert await house.gateway.endpoints.finish_reorders() == 2
    for one, state, reason in ((endpoint, "active", None), (paused, "paused", "paused_by_operator")):
        shown = (await client.get(f"/v1/endpoints/{one['id']}")).json()
        assert (shown["state"], shown["state_reason"], shown["order"]) == (state, reason, "fifo")
        assert await heads(house, one) == [b"0"]
    assert await house.gateway.endpoints.finish_reorders() == 0


@pytest.mark.parametrize("verb", ["resume", "pause", "change"])
async def test_an_interrupted_change_is_finished_by_the_next_one(
    client: httpx2.AsyncClient, house: QuietHouse, verb: str
) -> None:
    endpoint = await create(client)
    await publish(client, "a", "a")
    await interrupted(client, house, endpoint)
    place = f"/v1/endpoints/{endpoint['id']}"
    if verb == "change":
        shown = (await client.patch(place, json={"description": "x"})).json()
    else:
        shown = (await client.post(f"{place}/{verb}")).json()
    assert await heads(house, endpoint) == [b"0"]
    expected = ("paused", "paused_by_operator") if verb == "pause" else ("active", None)
    assert (shown["state"], shown["state_reason"]) == expected


async def test_whoever_resumes_meanwhile_waits_until_it_is_in_line(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    endpoint = await create(client)
    await publish(client, *["a"] * 5)
    endpoints = house.gateway.endpoints
    await asyncio.gather(
        endpoints.update(Environment.LIVE, endpoint["id"], EndpointChange(order=Order.FIFO)),
        endpoints.resume(Environment.LIVE, endpoint["id"]),
        endpoints.disable(key_of(endpoint), "gone"),
    )
    assert await heads(house, endpoint) == [b"0"]
    assert not any(e.state is EndpointState.ACTIVE and e.rules.order is Order.NONE for e in house.hints.endpoints[1:])


async def test_the_same_order_again_holds_nothing(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, order="fifo")
    await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"order": "fifo", "rate": "5/s"})
    assert {e.state for e in house.hints.endpoints} == {EndpointState.ACTIVE}
