"""A store whose schema is one step newer than the code that works on it: a rolling upgrade in the middle."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthouse.core.errors import StoreIncompatible, StoreInUse
from posthouse.store.open import open_store
from posthouse.store.protocol import Settled, Store
from posthouse.store.shared.migrations import Migration
from posthouse.store.sqlite import store as store_module
from posthouse.store.sqlite.migrating import known_migrations
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
from posthouse.testing.manual_clock import ManualClock

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
            *(f"ALTER TABLE {table} ADD COLUMN newer TEXT;" for table in TABLES),
            "CREATE TABLE newer (n INTEGER) STRICT;",
        )
    ),
)


async def opened(directory: Path, *steps: Migration, shared: bool = True) -> Store:
    """The store, by code that knows these steps besides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "known_migrations", lambda: [*KNOWN, *steps])
        return await open_store(directory, clock=ManualClock(), commit_interval_ms=0, shared=shared)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    await (await opened(tmp_path, NEWER)).close()
    stores = Stores(lambda: opened(tmp_path, shared=False))
    yield stores
    await stores.close()


async def test_two_versions_work_side_by_side(tmp_path: Path) -> None:
    """The newer one comes while the older one works, and a second older one after it."""
    stores = Stores(lambda: opened(tmp_path))
    older = await stores.open()
    owed = await older.owe(7)
    newer = await opened(tmp_path, NEWER)
    another = await opened(tmp_path)
    assert (await newer.admin.stats()).schema_version == len(KNOWN) + 1
    for store in (older.store, newer, another, older.store):
        scene = Scene(store, older.node, older.epochs, older.values)
        assert await scene.settle(owed) == Settled()
        owed = await scene.owe(7)
    assert await older.total() == {"owed": 5, "delivered": 4, "waiting": 1}
    for store in (newer, another):
        await store.close()
    await stores.close()


async def test_who_cannot_go_on_keeps_a_newer_one_out_and_is_kept_out(tmp_path: Path) -> None:
    step = NEWER._replace(script="CREATE TABLE newer (n INTEGER) STRICT;")
    older = await opened(tmp_path)
    with pytest.raises(StoreInUse, match="older version"):
        await opened(tmp_path, step)
    await older.admin.probe(now=1)
    await older.close()
    newer = await opened(tmp_path, step)
    with pytest.raises(StoreIncompatible, match="schema version"):
        await opened(tmp_path)
    await newer.close()


async def test_each_step_must_let_it_go_on(tmp_path: Path) -> None:
    """The last one alone says nothing of the one before it."""
    first = NEWER._replace(script="CREATE TABLE newer (n INTEGER) STRICT;")
    second = Migration(
        NEWER.number + 1, "again", f"-- readable-from: {len(KNOWN)}\nCREATE TABLE more (n INTEGER) STRICT;"
    )
    await (await opened(tmp_path, first, second)).close()
    with pytest.raises(StoreIncompatible, match="schema version"):
        await opened(tmp_path)
