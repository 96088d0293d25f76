"""Large tables are divided into days, which are made ahead and hold up nobody."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres import days
from posthouse.store.postgres.days import DAY_MS, TABLES, day_of, keys_of, make_days
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.postgres.store import PostgresStore
from posthouse.testing.conformance.scene import Scene
from posthouse.testing.conformance.values import NOW, Values
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database, open_store_at
from posthouse.testing.seizing import seize

Looker: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
TODAY = day_of(NOW)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def store(cluster: Cluster, database: str) -> AsyncIterator[PostgresStore]:
    store = await open_store_at(cluster.dsn(database))
    yield store
    await store.close()


@pytest.fixture
async def looker(cluster: Cluster, database: str) -> AsyncIterator[Looker]:
    connection = await connect(cluster, database)
    await connection.execute(f"SET search_path = {SCHEMA}")
    yield connection
    await connection.close()


async def parts(looker: Looker, table: str) -> set[str]:
    """What a table is divided into."""
    rows = await looker.fetch("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", table)
    return {row[0] for row in rows}


async def where_it_lies(looker: Looker, table: str, column: str, key: int) -> list[str]:
    rows = await looker.fetch(f"SELECT tableoid::regclass::text FROM {table} WHERE {column} = $1", key)  # noqa: S608 - ours
    return [row[0] for row in rows]


REOPENED = "INSERT INTO reopened (event_key, endpoint_key, round, previous_state, at) VALUES ($1, 1, 1, 'delivered', 0)"


async def scene_of(store: PostgresStore) -> Scene:
    grant = await seize(store.ownership, "node", now=NOW)
    return Scene(store, "node", dict(grant.epochs), Values())


async def test_each_table_has_the_days_that_come(store: PostgresStore, looker: Looker) -> None:
    assert await make_days(store.lanes.misc, now=NOW, ahead=2) == 2, "the first is there since it was opened"
    for table in TABLES:
        wanted = {f"{table}_rest", *(f"{table}_{day}" for day in range(TODAY, TODAY + 3))}
        assert await parts(looker, table) == wanted
    assert await make_days(store.lanes.misc, now=NOW, ahead=2) == 0


async def test_an_event_lies_in_its_day_with_all_that_belongs_to_it(store: PostgresStore, looker: Looker) -> None:
    scene = await scene_of(store)
    owed = await scene.owe(7)
    await scene.settle(owed)
    for table, column in (("events", "key"), ("history", "event_key"), ("attempts", "event_key")):
        assert await where_it_lies(looker, table, column, owed.event_key) == [f"{table}_{TODAY}"]


async def test_what_no_day_is_there_for_is_kept_all_the_same(store: PostgresStore, looker: Looker) -> None:
    """And then that day stays where its first rows are."""
    scene = await scene_of(store)
    tomorrow = NOW + DAY_MS
    new = scene.values.new_event(7, accepted_at=tomorrow)
    assert isinstance(await scene.accept(new), tuple)
    assert await where_it_lies(looker, "events", "key", new.event.key) == ["events_rest"]
    await make_days(store.lanes.misc, now=NOW, ahead=1)
    assert await parts(looker, "events") == {"events_rest", f"events_{TODAY}"}
    assert await make_days(store.lanes.misc, now=NOW, ahead=1) == 0, "nobody tries again and again"
    assert await scene.total() == {"owed": 1, "waiting": 1}


async def test_a_key_at_midnight_lies_on_one_side(store: PostgresStore, looker: Looker) -> None:
    await make_days(store.lanes.misc, now=NOW, ahead=1)
    first, behind = keys_of(TODAY)
    await looker.executemany(REOPENED, [(first,), (behind - 1,), (behind,)])
    found = [await where_it_lies(looker, "reopened", "event_key", key) for key in (first, behind - 1, behind)]
    assert found == [[f"reopened_{TODAY}"], [f"reopened_{TODAY}"], [f"reopened_{TODAY + 1}"]]


async def test_two_nodes_make_each_day_once(cluster: Cluster, database: str, store: PostgresStore) -> None:
    other = await open_store_at(cluster.dsn(database))
    both = (make_days(each.lanes.misc, now=NOW, ahead=1) for each in (store, other))
    assert max(await asyncio.gather(*both)) == 1
    await other.close()


async def test_who_writes_is_not_held_up_and_holds_up_nobody(store: PostgresStore, looker: Looker) -> None:
    scene = await scene_of(store)
    async with looker.transaction():
        await looker.execute(REOPENED, keys_of(TODAY)[0])
        assert await make_days(store.lanes.misc, now=NOW, ahead=1) == 1
        await scene.owe(7)


async def test_a_long_reader_puts_it_off(store: PostgresStore, looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "_MAKING_MS", 20)
    async with looker.transaction():
        await looker.fetch("SELECT key FROM events")
        with pytest.raises(StoreUnavailable):
            await make_days(store.lanes.misc, now=NOW, ahead=1)
    assert await parts(looker, "events") == {"events_rest", f"events_{TODAY}"}, "nothing is half done"
    assert await make_days(store.lanes.misc, now=NOW, ahead=1) == 1
