"""The feed over the API: pages, waiting, streams, consumers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from posthouse.core import limits
from posthouse.core.model import Environment, Scope
from posthouse.serving.server import ApiServer
from posthouse.store.protocol import FeedPage, FeedQuery
from posthouse.testing.conformance.values import DAY_MS
from posthouse.testing.quiet_house import QuietHouse

STREAM = {"Accept": "text/event-stream"}


async def publish(client: httpx2.AsyncClient, *types: str, **fields: Any) -> list[str]:
    ids = []
    for event_type in types:
        answer = await client.post("/v1/events", json={"type": event_type, "data": {"n": 1}, **fields})
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    return ids


async def read(client: httpx2.AsyncClient, **query: object) -> dict[str, Any]:
    answer = await client.get("/v1/feed", params={k: str(v) for k, v in query.items()})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids_of(found: dict[str, Any]) -> list[str]:
    return [event["id"] for event in found["data"]]


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["hint"]
    return problem


async def test_pages_follow_each_other(client: httpx2.AsyncClient) -> None:
    ids = await publish(client, "a", "b", "c")
    first = await read(client, limit=2)
    assert (ids_of(first), first["more"]) == (ids[:2], True)
    second = await read(client, cursor=first["next_cursor"])
    assert (ids_of(second), second["more"]) == (ids[2:], False)
    assert second["next_cursor"] == second["data"][-1]["cursor"]
    third = await read(client, cursor=second["next_cursor"])
    assert third == {"data": [], "next_cursor": second["next_cursor"], "more": False}
    assert ids_of(await read(client, cursor="start")) == ids
    assert ids_of(await read(client, cursor="end")) == []


async def test_an_event_is_shown_whole(client: httpx2.AsyncClient) -> None:
    """Its data byte for byte."""
    body = b'{"type": "a", "tenant": "acme", "ordering_key": "k", "data": {"n":  1.50,\n "u": "\\u00e9"}}'
    await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    answer = await client.get("/v1/feed")
    (event,) = answer.json()["data"]
    assert b'"data":{"n":  1.50,\n "u": "\\u00e9"}}' in answer.content
    assert (event["type"], event["tenant"], event["ordering_key"], event["occurred_at"]) == ("a", "acme", "k", None)
    assert event["accepted_at"].endswith("Z")


async def test_tenants_types_and_environments_are_kept_apart(house: QuietHouse, client: httpx2.AsyncClient) -> None:
    mine = await publish(client, "order.paid", "order.sent", tenant="acme")
    await publish(client, "order.paid", tenant="other")
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as test:
        theirs = await publish(test, "order.paid", tenant="acme")
        assert ids_of(await read(test)) == theirs
    assert ids_of(await read(client, tenant="acme")) == mine
    assert ids_of(await read(client, tenant="acme", types="x,order.paid.*")) == []
    assert ids_of(await read(client, tenant="acme", types="x,order.paid")) == mine[:1]
    assert ids_of(await read(client, tenant="acme", types="order.*")) == mine


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"limit": "1001"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"wait": "31"}, "wait"),
        ({"types": "a b"}, "types"),
        ({"types": ",".join(["a"] * 101)}, "types"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "start", "consumer": "a"}, "consumer"),
        ({"since": "x"}, "since"),
    ],
)
async def test_bad_questions_are_refused(client: httpx2.AsyncClient, query: dict[str, str], path: str) -> None:
    problem = refused(await client.get("/v1/feed", params=query), 422, "invalid_input")
    assert problem["errors"][0]["path"] == path


async def test_who_only_publishes_reads_nothing(house: QuietHouse) -> None:
    async with house.client(await house.create_key(Environment.LIVE, Scope.PUBLISH)) as publisher:
        refused(await publisher.get("/v1/feed"), 403, "forbidden")
    async with house.client(await house.create_key(Environment.LIVE, Scope.READ)) as reader:
        assert (await reader.get("/v1/feed")).status_code == 200
        refused(await reader.put("/v1/feed/consumers/a", json={"cursor": "end"}), 403, "forbidden")


async def test_a_cursor_of_another_store_is_refused_with_a_fresh_one(client: httpx2.AsyncClient) -> None:
    ids = await publish(client, "a", "b")
    other = "ZgAAAAAAAAABAAAAAAAAAAkAAAAAAAAAAQ"
    problem = refused(await client.get("/v1/feed", params={"cursor": other}), 412, "feed_cursor_gone")
    (error,) = problem["errors"]
    assert (error["path"], error["code"]) == ("cursor", "unknown")
    assert ids_of(await read(client, cursor=error["cursor"])) == ids
    refused(await client.put("/v1/feed/consumers/a", json={"cursor": other}), 412, "feed_cursor_gone")
    refused(await client.get("/v1/feed", params={"cursor": other}, headers=STREAM), 412, "feed_cursor_gone")


async def test_what_is_not_kept_any_more_is_named(house: QuietHouse, client: httpx2.AsyncClient) -> None:
    await publish(client, "a", "b", "c")
    cursor = (await read(client, limit=1))["next_cursor"]
    await client.put("/v1/feed/consumers/a", json={"cursor": cursor})
    assert await house.store.feed.forget(before=house.clock.now_ms() + DAY_MS, limit=10) == 2
    problem = refused(await client.get("/v1/feed", params={"cursor": cursor}), 412, "feed_cursor_gone")
    (error,) = problem["errors"]
    assert error["code"] == "expired"
    assert error["from"] <= error["to"]
    assert len((await read(client, cursor=error["cursor"]))["data"]) == 1
    refused(await client.get("/v1/feed", params={"consumer": "a"}), 412, "feed_cursor_gone")
    shown = (await client.get("/v1/feed/consumers/a")).json()
    assert (shown["state"], shown["lag"]) == ("expired", None)


# -- waiting -----------------------------------------------------------------------------------


async def test_who_waits_hears_of_the_next_event(client: httpx2.AsyncClient) -> None:
    cursor = (await read(client))["next_cursor"]
    waiting = asyncio.create_task(read(client, cursor=cursor, wait=30, types="b"))
    await asyncio.sleep(0)
    await publish(client, "a")
    ids = await publish(client, "b")
    async with asyncio.timeout(20):
        assert ids_of(await waiting) == ids


async def somebody_waits(house: QuietHouse) -> None:
    for _ in range(100_000):
        if house.gateway.feed.readers:
            return
        await asyncio.sleep(0)
    pytest.fail("Nobody waits.")


async def test_waiting_ends(house: QuietHouse) -> None:
    query = FeedQuery(environment=Environment.LIVE)
    assert await house.gateway.feed.page(query, None, limit=1, wait_s=0.01) == FeedPage(
        (), await house.gateway.feed.start(), is_end=True
    )


async def test_waiting_ends_when_the_node_goes_away(house: QuietHouse, client: httpx2.AsyncClient) -> None:
    waiting = asyncio.create_task(read(client, wait=30))
    await somebody_waits(house)
    house.gateway.feed.let_go()
    async with asyncio.timeout(10):
        assert ids_of(await waiting) == []


async def test_the_number_of_those_who_wait_is_bounded(
    house: QuietHouse, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthouse.gateway.feed.FEED_READERS_MAX", 1)
    waiting = asyncio.create_task(read(client, wait=30))
    await somebody_waits(house)
    refused(await client.get("/v1/feed", params={"wait": "1"}), 429, "overloaded")
    refused(await client.get("/v1/feed", headers=STREAM), 429, "overloaded")
    assert (await client.get("/v1/feed")).status_code == 200
    house.gateway.feed.let_go()
    await waiting
    assert house.gateway.feed.readers == 0
    assert limits.FEED_READERS_MAX > 1


# -- streams -----------------------------------------------------------------------------------


@pytest.fixture
async def wire(house: QuietHouse) -> AsyncIterator[httpx2.AsyncClient]:
    """Over a real connection, whose answer can be read while it grows."""
    server = ApiServer(house.app, house.clock)
    port = await server.start("127.0.0.1", 0)
    headers = {"Authorization": f"Bearer {house.admin_key}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as opened:
        yield opened
    house.gateway.feed.let_go()
    await server.stop(grace_seconds=5)


async def messages(answer: httpx2.Response, count: int) -> list[dict[str, str]]:
    """The next messages of a stream; comments are left out."""
    found: list[dict[str, str]] = []
    message: dict[str, str] = {}
    async with asyncio.timeout(20):
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                message[name] = f"{message[name]}\n{value}" if name == "data" and name in message else value
                continue
            if "data" in message:
                found.append(message)
                if len(found) == count:
                    return found
            message = {}
    return found


async def test_a_stream_goes_on_with_what_comes(client: httpx2.AsyncClient, wire: httpx2.AsyncClient) -> None:
    ids = await publish(client, "a", "b")
    async with wire.stream("GET", "/v1/feed", headers=STREAM) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        first = await messages(answer, 2)
    assert [json.loads(message["data"])["id"] for message in first] == ids
    async with wire.stream("GET", "/v1/feed", headers={**STREAM, "Last-Event-ID": first[0]["id"]}) as answer:
        more = await publish(client, "c")
        again = await messages(answer, 2)
    assert [json.loads(message["data"])["id"] for message in again] == [ids[1], *more]


async def test_data_with_line_ends_is_one_message(client: httpx2.AsyncClient, wire: httpx2.AsyncClient) -> None:
    body = b'{"type": "a", "data": {"n": 1,\r\n "m":\n 2,\r "o": 3}}'
    await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    async with wire.stream("GET", "/v1/feed", headers=STREAM) as answer:
        (message,) = await messages(answer, 1)
    assert json.loads(message["data"])["data"] == {"n": 1, "m": 2, "o": 3}


async def test_a_stream_gives_signs_of_life_and_ends_with_the_node(
    house: QuietHouse, wire: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthouse.gateway.feed.FEED_HEARTBEAT_SECONDS", 0.01)
    async with wire.stream("GET", "/v1/feed", headers=STREAM) as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(20):
            heard = [await anext(lines) for _ in range(6)]
            house.gateway.feed.let_go()
            assert all([line == "" or line.startswith((":", "id: ")) async for line in lines])
    assert heard.count(": still here") == 2


# -- consumers ---------------------------------------------------------------------------------


async def test_a_consumer_goes_on_where_it_was(client: httpx2.AsyncClient) -> None:
    ids = await publish(client, "a", "b", "c")
    refused(await client.get("/v1/feed", params={"consumer": "books"}), 404, "not_found")
    made = await client.put("/v1/feed/consumers/books", json={"cursor": "start"})
    assert made.status_code == 200
    assert made.json()["name"] == "books"
    found = await read(client, consumer="books", limit=2)
    assert ids_of(found) == ids[:2]
    shown = (await client.get("/v1/feed/consumers/books")).json()
    assert (shown["state"], shown["lag"], shown["lag_is_exact"]) == ("reading", 3, True)
    await client.put("/v1/feed/consumers/books", json={"cursor": found["next_cursor"]})
    assert ids_of(await read(client, consumer="books")) == ids[2:]
    assert (await client.get("/v1/feed/consumers/books", params={"types": "b"})).json()["lag"] == 0
    (listed,) = (await client.get("/v1/feed/consumers")).json()["data"]
    assert (listed["name"], listed["cursor"]) == ("books", found["next_cursor"])


async def test_a_consumer_moves_back_only_with_a_word(client: httpx2.AsyncClient) -> None:
    await publish(client, "a", "b")
    end = (await read(client))["next_cursor"]
    await client.put("/v1/feed/consumers/a", json={"cursor": "end"})
    problem = refused(await client.put("/v1/feed/consumers/a", json={"cursor": "start"}), 409, "feed_consumer_ahead")
    assert problem["errors"][0]["cursor"] == end
    moved = await client.put("/v1/feed/consumers/a", json={"cursor": "start", "back": True})
    assert moved.status_code == 200
    assert len((await read(client, consumer="a"))["data"]) == 2


async def test_a_consumer_is_forgotten(client: httpx2.AsyncClient) -> None:
    await client.put("/v1/feed/consumers/a", json={"cursor": "end"})
    assert (await client.delete("/v1/feed/consumers/a")).status_code == 204
    refused(await client.delete("/v1/feed/consumers/a"), 404, "not_found")
    refused(await client.put("/v1/feed/consumers/a b", json={"cursor": "end"}), 422, "invalid_input")
