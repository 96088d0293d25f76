"""Nodes whose store is a database, for the tests that are otherwise of the embedded one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import drop_database, make_database, open_store_at

Start = Callable[..., Awaitable[House]]


@pytest.fixture
async def hooks(cluster: Cluster) -> AsyncIterator[str]:
    """The name of a database with an empty store in it."""
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def start(cluster: Cluster, hooks: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts nodes, one after the other on the same database, and stops what still runs."""
    async with AsyncExitStack() as stack:

        async def begin(clock: ManualClock | None = None) -> House:
            clock = clock or ManualClock()
            house = await House.start(tmp_path, clock=clock, store=await open_store_at(cluster.dsn(hooks)))
            stack.push_async_callback(house.node.stop, drain_seconds=0)
            return house

        yield begin


@pytest.fixture
async def house(start: Start) -> House:
    """A running node on a new store."""
    return await start()
