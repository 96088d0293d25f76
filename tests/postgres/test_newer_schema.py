"""A database whose schema is one step newer than the code that works on it: a rolling upgrade in the middle."""

from collections.abc import AsyncIterator

import pytest

from posthouse.core.errors import StoreIncompatible
from posthouse.store.postgres import store as store_module
from posthouse.store.postgres.migrating import known_migrations
from posthouse.store.postgres.store import PostgresStore
from posthouse.store.protocol import Settled
from posthouse.store.shared.migrations import Migration
from posthouse.testing.conformance import (
    Scene,
    Stores,
    TestCatalogue,
    TestInboundPassing,
    TestIntake,
    TestJobs,
    TestNodes,
    TestOrder,
    TestSettling,
)
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import drop_database, make_database, open_store_at

__all__ = ["TestCatalogue", "TestInboundPassing", "TestIntake", "TestJobs", "TestNodes", "TestOrder", "TestSettling"]

KNOWN = known_migrations()
TABLES = ("events", "obligations", "history", "attempts", "endpoints", "slots", "nodes", "jobs", "requests", "inbox")
NEWER = Migration(
    len(KNOWN) + 1,
    "newer",
    "\n".join(
        (
            "-- What the code before it need not know.",
            f"-- readable-from: {len(KNOWN)}",
            *(f"ALTER TABLE {table} ADD COLUMN newer text;" for table in TABLES),
            "CREATE TABLE newer (n integer);",
        )
    ),
)


async def opened(dsn: str, *steps: Migration) -> PostgresStore:
    """The store, by code that knows these steps besides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "known_migrations", lambda: [*KNOWN, *steps])
        return await open_store_at(dsn)


@pytest.fixture
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield cluster.dsn(name)
    await drop_database(cluster, name)


@pytest.fixture
async def stores(dsn: str) -> AsyncIterator[Stores]:
    await (await opened(dsn, NEWER)).close()
    stores = Stores(lambda: opened(dsn))
    yield stores
    await stores.close()


async def test_two_versions_work_side_by_side(dsn: str) -> None:
    """The newer one comes while the older one works, and a second older one after it."""
    stores = Stores(lambda: opened(dsn))
    older = await stores.open()
    owed = await older.owe(7)
    newer = await opened(dsn, NEWER)
    another = await opened(dsn)
    assert (await newer.admin.stats()).schema_version == len(KNOWN) + 1
    for store in (older.store, newer, another, older.store):
        scene = Scene(store, older.node, older.epochs, older.values)
        assert await scene.settle(owed) == Settled()
        owed = await scene.owe(7)
    assert await older.total() == {"owed": 5, "delivered": 4, "waiting": 1}
    for store in (newer, another):
        await store.close()
    await stores.close()


async def test_each_step_must_let_it_go_on(dsn: str) -> None:
    """The last one alone says nothing of the one before it."""
    first = NEWER._replace(script="CREATE TABLE newer (n integer);")
    second = Migration(NEWER.number + 1, "again", f"-- readable-from: {len(KNOWN)}\nCREATE TABLE more (n integer);")
    await (await opened(dsn, first, second)).close()
    with pytest.raises(StoreIncompatible, match="schema version"):
        await opened(dsn)
