"""A node whose connections end: what it remembers of the database is read anew before it goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT
from posthouse.core.model import Environment
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.postgres.store import PostgresStore
from posthouse.testing.house import House
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect
from posthouse.testing.scripted_transport import answer
from posthouse.transport.protocol import Exchange

CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = $1 AND application_name LIKE 'posthouse:%'"""


@pytest.fixture
async def looker(cluster: Cluster, hooks: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Changes what a failover would, behind the node's back."""
    connection = await connect(cluster, hooks)
    await connection.execute(f"SET search_path = {SCHEMA}")
    yield connection
    await connection.close()


async def cut(looker: "asyncpg.Connection[asyncpg.Record]", hooks: str, house: House) -> None:
    """End all the node's connections; it has new ones when this returns."""
    back = asyncio.Event()
    house.ports.store.when_back(back.set)
    await looker.execute(CUT, hooks)
    await back.wait()
    await house.until(lambda: house.ports.store.alive and house.node.engine.is_ready)


async def test_rows_that_the_new_server_does_not_have_are_not_sent(
    house: House, hooks: str, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    endpoint = await house.endpoint()
    gate: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: gate
    events = [await house.publish() for _ in range(IN_FLIGHT_PER_ENDPOINT + 3)]
    await house.transport.sent(IN_FLIGHT_PER_ENDPOINT)
    sent = {request.headers["webhook-id"] for request in house.transport.requests}
    forgotten, *kept = (event for event in events if event.id not in sent)
    await looker.execute("DELETE FROM obligations WHERE event_key = $1", forgotten.key)
    await cut(looker, hooks, house)
    await house.until(lambda: house.node.engine.board.items == len(kept))
    gate.set_result(answer())
    await house.settled(len(events) - 1)
    for event in kept:
        assert (await house.delivery(event, endpoint)).state is State.DELIVERED
    ids = [request.headers["webhook-id"] for request in house.transport.requests]
    assert sorted(ids) == sorted(event.id for event in events if event is not forgotten)


async def test_a_catalogue_that_went_back_is_read_anew(
    house: House, hooks: str, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    endpoint = await house.endpoint()
    name, version = make_id(ENDPOINT, endpoint.key), house.node.gateway.catalogue.version
    await house.node.gateway.endpoints.update(Environment.LIVE, name, EndpointChange(url="http://203.0.114.9/new"))
    lost = await house.endpoint("never")
    house.node.engine.board.desk(lost.key)
    await looker.execute("DELETE FROM endpoints WHERE key = $1", lost.key)
    await looker.execute("UPDATE endpoints SET url = $1", endpoint.url)
    await looker.execute("UPDATE catalogue SET version = $1", version)
    await cut(looker, hooks, house)
    await house.until(lambda: house.node.gateway.catalogue.version == version)
    assert house.node.gateway.catalogue.endpoint(lost.key) is None
    await house.publish()
    (request,) = await house.transport.sent(1)
    assert request.url == endpoint.url
    assert house.node.engine.board.find(lost.key) is None


async def test_what_comes_after_connections_ended_is_taken_and_delivered(
    house: House, hooks: str, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await house.endpoint()
    for number in range(3):
        await cut(looker, hooks, house)
        await house.publish(data=number)
        await house.settled(number + 1)
    assert (await house.books()).imbalance == 0


async def test_nothing_is_sent_until_the_new_server_has_said_whose_the_slots_are(
    house: House, hooks: str, looker: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.endpoint()
    ownership = house.ports.store.ownership
    acquire, asked, may_answer = ownership.acquire, asyncio.Event(), asyncio.Event()

    async def held(*args: Any, **fields: Any) -> Any:
        asked.set()
        await may_answer.wait()
        return await acquire(*args, **fields)

    monkeypatch.setattr(ownership, "acquire", held)
    await looker.execute(CUT, hooks)
    await asked.wait()
    await house.until(lambda: house.ports.store.alive)
    assert not house.node.engine.is_ready
    await house.publish()
    await house.node.engine.survey()
    assert house.transport.requests == []
    may_answer.set()
    await house.settled(1)


async def test_a_node_that_cannot_write_all_that_it_must_is_not_ready(house: House) -> None:
    """A probe alone would not tell: it goes another way than what is accepted."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(house.node.app), base_url="http://node.test"
    ) as client:
        assert (await client.get("/readyz")).status_code == 200
        store = house.ports.store
        assert isinstance(store, PostgresStore)
        await store.lanes.intake.close()
        response = await client.get("/readyz")
    assert response.status_code == 503
    assert "takes no writes" in response.json()["detail"]
