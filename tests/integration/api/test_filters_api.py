"""``/v1/filters/test``, and filters when events are accepted."""

from typing import Any

import httpx2
import pytest

from posthouse.core import limits
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"


async def publish(
    client: httpx2.AsyncClient, type_: str = "order.paid", data: Any = 1, **fields: Any
) -> dict[str, Any]:
    answer = await client.post("/v1/events", json={"type": type_, "data": data, **fields})
    assert answer.status_code == 202, answer.text
    published: dict[str, Any] = answer.json()
    return published


async def trial(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/filters/test", json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def test_each_event_says_what_came_of_it(client: httpx2.AsyncClient) -> None:
    published = [await publish(client, data={"n": n} if n else {}) for n in range(3)]
    result = await trial(client, filter="data.n > 1", transform={"twice": "data.n * 2"})
    assert {name: result[name] for name in ("matched", "not_matched", "errors", "scanned")} == {
        "matched": 1,
        "not_matched": 1,
        "errors": 1,
        "scanned": 3,
    }
    assert [item["id"] for item in result["data"]] == [event["id"] for event in reversed(published)]
    assert [(item["outcome"], item["data"]) for item in result["data"]] == [
        ("matched", '{"twice":4}'),
        ("not_matched", None),
        ("error", None),
    ]
    assert result["data"][2]["reason"] == "There is no field 'n'; ask with has(…) first."
    assert result["data"][0]["accepted_at"].endswith("Z")


async def test_nothing_is_stored_and_nobody_is_told(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await publish(client)
    told = len(house.hints.work)
    before = (await client.get("/v1/audit")).json()
    await trial(client, filter="true")
    assert (await client.get("/v1/audit")).json() == before
    assert len(house.hints.work) == told


async def test_types_tenant_and_limit_say_which_events(client: httpx2.AsyncClient) -> None:
    for n in range(30):
        await publish(client, type_="order.paid" if n % 3 else "user.made", tenant="a" if n % 2 else "b")
    everything = await trial(client, filter="true")
    assert (everything["matched"], everything["scanned"]) == (30, 30)
    orders = await trial(client, filter="true", types=["order.*"], limit=5)
    assert (orders["matched"], orders["scanned"]) == (5, 7)
    ours = await trial(client, filter="tenant == 'a'", tenant="a", types=["user.made"])
    assert (ours["matched"], ours["not_matched"], ours["scanned"]) == (5, 0, 15)


async def test_an_endpoint_lends_what_is_not_given(client: httpx2.AsyncClient) -> None:
    rules = {"filter": "data > 1", "transform": {"n": "data"}, "events": ["order.*"], "tenant": "acme"}
    endpoint = (await client.post("/v1/endpoints", json={"url": URL, **rules})).json()["id"]
    for tenant in ("acme", "other"):
        for n in range(3):
            await publish(client, data=n, tenant=tenant)
            await publish(client, type_="user.made", data=n, tenant=tenant)
    result = await trial(client, endpoint_id=endpoint)
    assert [(item["outcome"], item["data"]) for item in result["data"]] == [
        ("matched", '{"n":2}'),
        ("not_matched", None),
        ("not_matched", None),
    ]
    assert (await trial(client, endpoint_id=endpoint, filter="true"))["matched"] == 3
    assert (await trial(client, endpoint_id=endpoint, types=["*"]))["matched"] == 2
    answer = await client.post("/v1/filters/test", json={"endpoint_id": endpoint, "tenant": "other"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "tenant")


async def test_a_long_result_is_cut(client: httpx2.AsyncClient) -> None:
    await publish(client, data="x" * 5_000)
    (item,) = (await trial(client, transform={"all": "data"}))["data"]
    assert (len(item["data"]), item["data_is_cut"]) == (limits.FILTER_TEST_PREVIEW_CHARS_MAX, True)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "filter"),
        ({"filter": "data ="}, "filter"),
        ({"transform": {}}, "transform"),
        ({"transform": {"a": 1}}, "transform"),
        ({"filter": "true", "types": ["ok", "a.*.b"]}, "types[1]"),
        ({"filter": "true", "limit": 0}, "limit"),
        ({"filter": "true", "limit": 1_001}, "limit"),
        ({"filter": "true", "last": 5}, "last"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    client: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    answer = await client.post("/v1/filters/test", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]


async def test_an_unknown_endpoint_is_not_found(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/filters/test", json={"endpoint_id": "ep_0000000000000"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_endpoint_is_owed_what_its_filter_lets_through(client: httpx2.AsyncClient) -> None:
    for text in ("data.total > 10", "data.total <= 10", "data.nothing"):
        await client.post("/v1/endpoints", json={"url": URL, "filter": text})
    assert [(await publish(client, data={"total": total}))["deliveries"] for total in (5, 15)] == [2, 2]
    changed = (await client.get("/v1/endpoints")).json()["data"][0]["id"]
    await client.patch(f"/v1/endpoints/{changed}", json={"filter": None})
    assert (await publish(client, data={"total": 5}))["deliveries"] == 3
