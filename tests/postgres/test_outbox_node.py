"""A node that drains: what an application committed is delivered, also what it committed while no node ran."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from posthouse.core.model import Environment, Scope
from posthouse.sdk.outbox import outbox_schema, publish
from posthouse.testing.house import House
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, connect, drop_database, make_database


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster, template=EMPTY)
    application = await connect(cluster, name)
    await application.execute(outbox_schema())
    await application.close()
    yield name
    await drop_database(cluster, name)


async def test_events_are_delivered_and_wait_while_no_node_runs(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    application = await connect(cluster, database)
    house = await House.start(tmp_path, outbox=cluster.dsn(database))
    await house.endpoint("order.*")
    async with application.transaction():
        await publish(application, {"type": "order.paid", "data": {"order": 1}})
    (first,) = await house.transport.sent(1)
    assert msgspec.json.decode(first.body)["data"] == {"order": 1}
    await house.node.stop()
    async with application.transaction():
        await publish(application, {"type": "order.paid", "data": {"order": 2}})
    house = await House.start(tmp_path, outbox=cluster.dsn(database), clock=house.clock)
    (second,) = await house.transport.sent(1)
    assert msgspec.json.decode(second.body)["data"] == {"order": 2}
    await house.node.stop()
    await application.close()


async def test_the_api_shows_what_waits(cluster: Cluster, database: str, tmp_path: Path) -> None:
    application = await connect(cluster, database)
    holder = await connect(cluster, database)
    holding = holder.transaction()
    await holding.start()
    source = await holder.fetchval("SELECT source FROM posthouse.posthouse_outbox_v1_head FOR UPDATE")
    async with application.transaction():
        await publish(application, {"type": "a", "data": 1})
    house = await House.start(tmp_path, outbox=cluster.dsn(database))
    texts: list[str] = []
    await house.node.gateway.keys.create_key(Environment.LIVE, Scope.READ, "reader", before_stored=texts.append)
    transport = httpx2.ASGITransport(house.node.app)
    headers = {"Authorization": f"Bearer {texts[0]}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://node.test", headers=headers) as client:
        (shown,) = (await client.get("/v1/outbox")).json()["data"]
    assert shown.pop("oldest_at")
    assert shown == {"place": "elsewhere", "source": source, "waiting": 1, "doubts": 0}
    await holding.rollback()
    await house.until(lambda: house.node.metrics.outbox_taken == 1)
    assert b"posthouse_outbox_events_total 1.0" in house.node.metrics.render()
    await house.node.stop()
    await holder.close()
    await application.close()
