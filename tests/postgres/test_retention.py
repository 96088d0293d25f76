"""Days go while nodes work: what is opened again stays whole or is gone whole, and nobody waits behind a lock."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import Environment, Lane, Obligation
from posthouse.store.postgres import bygone_days, retention
from posthouse.store.postgres.days import OF_EVENTS, TABLES, day_of
from posthouse.store.postgres.store import PostgresStore
from posthouse.testing.conformance.retention import KEEP_MS, OLD, old, retain
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import DAY_MS, NOW
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database, open_store_at

Outside: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
DAY = day_of(OLD)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def outside(cluster: Cluster, database: str) -> AsyncIterator[Outside]:
    """Another hand on the tables, while the nodes run."""
    connection = await connect(cluster, database)
    await connection.execute("SET search_path = posthouse")
    yield connection
    await connection.close()


@pytest.fixture
async def scene(cluster: Cluster, database: str) -> AsyncIterator[Scene]:
    """A node, on a store in which the old day has tables of its own."""
    stores = Stores(lambda: open_store_at(cluster.dsn(database)))
    scene = await stores.open()
    await scene.store.admin.make_room(now=OLD)
    yield scene
    await stores.close()


@pytest.fixture
async def other(cluster: Cluster, database: str, scene: Scene) -> AsyncIterator[Scene]:
    """Another node."""
    store: PostgresStore = await open_store_at(cluster.dsn(database))
    yield Scene(store, "other", scene.epochs, scene.values)
    await store.close()


async def step(scene: Scene, limit: int = 100) -> bool:
    return await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=limit)


async def counted(scene: Scene, outside: Outside) -> None:
    """Go on until the old day is counted, and is about to go."""
    while await outside.fetchval("SELECT state FROM days WHERE day = $1", DAY) != "counted":
        assert await step(scene)


async def parts_of(outside: Outside, day: int) -> set[str]:
    names = [f"{table}_{day}" for table in TABLES]
    rows = await outside.fetch("SELECT relname FROM pg_class WHERE relname = ANY ($1::text[])", names)
    return {row["relname"] for row in rows}


async def test_a_day_goes_and_what_is_left_of_it_lies_in_the_rest(scene: Scene, outside: Outside) -> None:
    for _ in range(3):
        await old(scene)
    owed = await old(scene, State.RETRYING)
    new = scene.values.new_event(7, 8, accepted_at=OLD)
    await scene.accept(new)
    await scene.settle(Obligation(new.event.key, 8, new.lane, OLD, OLD))
    again = await scene.store.work.retry(new.event.key, 8, now=OLD)
    assert again is not None
    assert await parts_of(outside, DAY) == {f"{table}_{DAY}" for table in TABLES}
    await retain(scene)
    assert await parts_of(outside, DAY) == set()
    assert await outside.fetchval("SELECT count(*) FROM days WHERE day = $1", DAY) == 0
    for table in OF_EVENTS:
        column = "key" if table == "events" else "event_key"
        rows = await outside.fetch(f"SELECT DISTINCT tableoid::regclass::text, {column} FROM {table}")  # noqa: S608 - ours
        assert {row[0] for row in rows} == {f"{table}_rest"}
        assert {row[1] for row in rows} <= {owed.event_key, new.event.key}
    assert await scene.total() == {"owed": 6, "delivered": 3, "retrying": 1, "waiting": 2}


async def test_of_a_day_of_which_much_is_left_only_rows_go(
    scene: Scene, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until little is left."""
    monkeypatch.setattr(bygone_days, "LEFT_MAX", 1)
    for _ in range(3):
        await old(scene)
    owed = [await old(scene, State.WAITING) for _ in range(3)]
    await retain(scene)
    assert await scene.events() == [each.event_key for each in reversed(owed)]
    assert await parts_of(outside, DAY) == {f"{table}_{DAY}" for table in TABLES}
    for each in owed:
        await scene.settle(each)
    await retain(scene, now=NOW + DAY_MS)
    assert await parts_of(outside, DAY) == set()
    assert await scene.events() == []
    assert await scene.total() == {"owed": 6, "delivered": 6}


async def test_what_is_opened_again_before_its_day_goes_stays(scene: Scene, other: Scene, outside: Outside) -> None:
    """Also if it is settled again by then: the day is counted anew."""
    owed = [await old(scene) for _ in range(4)]
    await counted(scene, outside)
    again = await other.store.work.retry(owed[0].event_key, 7, now=NOW)
    settled = await other.store.work.retry(owed[1].event_key, 7, now=NOW)
    assert again is not None
    assert settled is not None
    await other.settle(settled)
    await retain(scene)
    assert await scene.events() == [owed[0].event_key]
    assert await scene.total() == {"owed": 4, "delivered": 3, "waiting": 1}


async def test_what_was_open_when_its_day_was_counted_stays(scene: Scene, outside: Outside) -> None:
    """Its outcome is in the books once, whenever it comes."""
    await old(scene)
    owed = await old(scene, State.WAITING)
    await counted(scene, outside)
    await scene.settle(owed)
    while await outside.fetchval("SELECT state FROM days WHERE day = $1", DAY) == "counted":
        assert await step(scene)
    assert await scene.events() == [owed.event_key]
    assert await scene.total() == {"owed": 2, "delivered": 2}
    await retain(scene)
    assert await scene.events() == []
    assert await scene.total() == {"owed": 2, "delivered": 2}


@pytest.mark.parametrize("state", ["made", "swept"])
async def test_who_opens_again_wins_or_is_told(scene: Scene, other: Scene, outside: Outside, state: str) -> None:
    """Never is half of it gone, whether it goes with its day or row by row."""
    await outside.execute("UPDATE days SET state = $2 WHERE day = $1", DAY, state)
    owed = [await old(scene) for _ in range(30)]

    async def open_again() -> list[Obligation | None]:
        return [await other.store.work.retry(each.event_key, 7, now=NOW) for each in owed[::3]]

    async def drop() -> None:
        while True:
            try:
                if not await step(scene, 2):
                    return
            except StoreUnavailable:
                await asyncio.sleep(0)  # somebody holds what it needs

    results, _ = await asyncio.gather(open_again(), drop())
    opened = {each.event_key for each in results if each is not None}
    assert set(await scene.events(limit=100)) == opened
    assert {work.event.key for work in (await scene.queue(7, Lane.BACKLOG)).work} == opened
    total = await scene.total()
    assert (total["owed"], total["waiting"]) == (30, len(opened))
    for key in opened:
        assert [attempt.number for attempt in await scene.store.ledger.attempts(key, 7)] == [1]


async def test_nothing_goes_while_something_is_opened_again(scene: Scene, outside: Outside) -> None:
    await old(scene)
    await counted(scene, outside)
    async with outside.transaction():
        await outside.execute("LOCK TABLE ONLY reopened IN ROW EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            await step(scene)
    assert len(await scene.events()) == 1
    await retain(scene)
    assert await scene.events() == []


async def test_who_opens_again_says_so_before_it_looks(scene: Scene, outside: Outside) -> None:
    """A step that drops may be under way: what it leaves is looked at, not what was there before."""
    owed = await old(scene)
    async with outside.transaction():
        await outside.execute("LOCK TABLE ONLY reopened IN SHARE MODE")
        again = asyncio.ensure_future(scene.store.work.retry(owed.event_key, 7, now=NOW))
        while not await outside.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not again.done()
        await outside.execute("DELETE FROM history")
        await outside.execute("DELETE FROM events")
    assert await again is None
    assert await outside.fetchval("SELECT count(*) FROM obligations") == 0


async def test_who_reads_for_long_holds_up_retention_and_nobody_else(scene: Scene, outside: Outside) -> None:
    """It gives up its place in the queue for a lock at once, and comes again later."""
    await old(scene)
    await counted(scene, outside)
    for held in ("days", f"events_{DAY}"):
        async with outside.transaction():
            await outside.execute(f"LOCK TABLE {held} IN ACCESS SHARE MODE")
            async with asyncio.timeout(5):  # the server's own bound is three seconds, and it tries twice
                with pytest.raises(StoreUnavailable):
                    await step(scene)
            assert (await scene.owe(7)).event_key in await scene.events()
            assert (await scene.total())["delivered"] == 1
    await retain(scene)
    assert len(await scene.events()) == 2


async def test_an_audit_sees_a_day_whole_or_not_at_all(scene: Scene, other: Scene) -> None:
    """What goes with its table is gone for older snapshots too, so none may be read meanwhile."""
    for _ in range(20):
        await old(scene)
    before = await scene.store.ledger.audit(Environment.LIVE)
    done = False

    async def look() -> None:
        while not done:
            assert await other.store.ledger.audit(Environment.LIVE) == before

    looking = asyncio.ensure_future(look())
    while True:
        try:
            if not await step(scene, 5):
                break
        except StoreUnavailable:
            await asyncio.sleep(0)
    done = True
    await looking
    assert await scene.events() == []


async def test_one_node_drops_at_a_time(scene: Scene, outside: Outside) -> None:
    await old(scene)
    async with outside.transaction():
        await outside.execute("SELECT FROM retention FOR UPDATE")
        assert not await step(scene)
    assert await step(scene)
    assert retention.LOCK_MS <= 100


async def test_two_nodes_drop_everything_once(scene: Scene, other: Scene) -> None:
    for _ in range(20):
        await old(scene)

    async def drop(node: Scene) -> None:
        for _ in range(200):
            try:
                await step(node, 2)
            except StoreUnavailable:
                await asyncio.sleep(0)

    await asyncio.gather(drop(scene), drop(other))
    await retain(scene)
    assert await scene.events() == []
    assert await scene.total() == {"owed": 20, "delivered": 20}
