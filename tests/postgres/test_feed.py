"""The feed of a store in a database: what commits late is not passed by, and no number of a transaction misleads it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.postgres.carrier import PostgresCarrier
from posthouse.store.postgres.dial import LISTS
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.postgres.store import PostgresStore
from posthouse.store.protocol import FeedGone, FeedPage, FeedPosition, FeedQuery, Lost
from posthouse.store.shared.feeding import WALK_COMMITS
from posthouse.store.shared.moving import begin, finish
from posthouse.store.shared.telling import tell_nobody
from posthouse.store.sqlite.carrier import SqliteCarrier
from posthouse.testing.conformance.feed import flat, publish, walk
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, Values
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, UNSAFE, connect, drop_database, make_database, open_store_at
from posthouse.testing.postgres.plans import touched

Looker: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
LIVE = FeedQuery(environment=Environment.LIVE)


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
async def other(cluster: Cluster, database: str) -> AsyncIterator[Looker]:
    connection = await connect(cluster, database)
    await connection.execute(f"SET search_path = {SCHEMA}")
    yield connection
    await connection.close()


def scene_of(store: PostgresStore) -> Scene:
    return Scene(store, "node", {}, Values())


async def keys_of(store: PostgresStore) -> list[int]:
    found = await store.feed.read(LIVE, None, limit=1_000)
    assert isinstance(found, FeedPage)
    assert found.position == await store.feed.end()
    return [item.event.key for item in found.events]


async def accept_slowly(other: Looker, values: Values, *, events: int = 1) -> list[int]:
    """What another node does that accepts and is not done yet: its number is given, and nothing is committed."""
    keys = []
    for _ in range(events):
        event = values.event()
        keys.append(event.key)
        await other.execute(
            "INSERT INTO events (key, id, environment, tenant, type, accepted_at, owed, data)"
            " VALUES ($1, $2, 'live', 'acme', 'a', $3, '{}', 'null')",
            event.key,
            event.id,
            NOW,
        )
    await other.execute(
        "INSERT INTO feed_commits (place, first_key, last_key, size, keys)"
        " SELECT base + pg_current_xact_id()::text::bigint, $1, $2, $3, $4 FROM feed_base",
        keys[0],
        keys[-1],
        len(keys),
        keys,
    )
    return keys


async def test_what_commits_late_is_not_passed_by(store: PostgresStore, other: Looker) -> None:
    """The trap: who reads up to the greatest number that can be seen never sees the lower one that commits later."""
    scene = scene_of(store)
    before = flat(await publish(scene, 1))
    slow = other.transaction()
    await slow.start()
    late = await accept_slowly(other, scene.values, events=2)
    fast = flat(await publish(scene, 1, 1))
    assert await keys_of(store) == before  # held back, all of it
    await slow.commit()
    assert await keys_of(store) == [*before, *late, *fast]


async def test_what_is_rolled_back_leaves_no_hole_to_wait_for(store: PostgresStore, other: Looker) -> None:
    scene = scene_of(store)
    slow = other.transaction()
    await slow.start()
    await accept_slowly(other, scene.values)
    fast = flat(await publish(scene, 1))
    assert await keys_of(store) == []
    await slow.rollback()
    assert await keys_of(store) == fast


async def test_who_follows_while_many_write_sees_each_once(cluster: Cluster, database: str, other: Looker) -> None:
    """Two nodes, and a third party whose transactions take their time; the reader never looks back."""
    stores = [await open_store_at(cluster.dsn(database)) for _ in range(2)]
    accepted: list[int] = []
    done = asyncio.Event()

    async def write(store: PostgresStore, number: int) -> None:
        values = Values()
        scene = Scene(store, "node", {}, values)
        for n in range(60):
            accepted.extend(flat(await publish(scene, 1 + n % 3, values=values, accepted_at=NOW + number * 100_000)))

    async def dawdle() -> None:
        values = Values()
        for n in range(20):
            async with other.transaction():
                event_at = NOW + 500_000 + n
                values.key(event_at)
                accepted.extend(await accept_slowly(other, values, events=2))
                await other.fetchval("SELECT count(*) FROM pg_class")

    async def follow() -> list[int]:
        seen: list[int] = []
        position: FeedPosition | None = None
        while True:
            is_over = done.is_set()
            found = await stores[0].feed.read(LIVE, position, limit=7)
            assert isinstance(found, FeedPage)
            seen += [item.event.key for item in found.events]
            position = found.position
            if found.is_end and is_over:
                return seen
            await asyncio.sleep(0)

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(write(store, number) for number, store in enumerate(stores)), dawdle())
    done.set()
    seen = await follower
    assert sorted(seen) == sorted(accepted)
    assert len(set(seen)) == len(seen)
    for store in stores:
        await store.close()


async def test_a_copy_on_a_server_that_counts_lower_goes_on_behind(
    cluster: Cluster, database: str, other: Looker
) -> None:
    """Numbers of transactions are the server's: a dump that was restored elsewhere holds greater ones than it gives."""
    store = await open_store_at(cluster.dsn(database))
    scene = scene_of(store)
    before = flat(await publish(scene, 1, 1))
    await store.close()
    await other.execute("UPDATE feed_commits SET place = place + 1000000000")
    store = await open_store_at(cluster.dsn(database))
    scene = Scene(store, "node", {}, scene.values)
    assert await keys_of(store) == before
    after = flat(await publish(scene, 1, 2))
    assert await keys_of(store) == [*before, *after]
    await store.close()


async def test_a_failover_that_takes_commits_back_is_noticed(store: PostgresStore, other: Looker) -> None:
    """A position at a commit that is there no more is refused, also if its place was given again."""
    scene = scene_of(store)
    kept = flat(await publish(scene, 1))
    await publish(scene, 1)
    position = await store.feed.end()
    await other.execute("DELETE FROM feed_commits WHERE place = $1", position.place)
    found = await store.feed.read(LIVE, position, limit=10)
    assert isinstance(found, FeedGone)
    assert found.reason is Lost.UNKNOWN
    again = scene.values.key()
    await other.execute(
        "INSERT INTO feed_commits (place, first_key, last_key, size, keys) VALUES ($1, $2, $2, 1, $3)",
        position.place,
        again,
        [again],
    )
    found = await store.feed.read(LIVE, position, limit=10)
    assert isinstance(found, FeedGone)
    assert await walk(store, found.fresh) == kept


async def test_a_transaction_that_does_not_end_is_named(store: PostgresStore, other: Looker) -> None:
    scene = scene_of(store)
    assert not any("feed" in finding for finding in (await store.admin.stats()).findings)
    slow = other.transaction()
    await slow.start()
    await other.execute("SELECT pg_current_xact_id()")
    await publish(scene, 1, accepted_at=round(time.time() * 1_000) - 60_000)
    (finding,) = [finding for finding in (await store.admin.stats()).findings if "feed" in finding]
    assert str(other.get_server_pid()) in finding
    await slow.rollback()
    assert not any("feed" in finding for finding in (await store.admin.stats()).findings)


async def test_reading_costs_what_is_read(store: PostgresStore, other: Looker) -> None:
    """However much lies before and behind."""
    await other.execute(
        "INSERT INTO feed_commits (place, first_key, last_key, size, keys)"
        " SELECT n, n * 10, n * 10, 1, ARRAY[n * 10] FROM generate_series(1, 200000) AS n"
    )
    await other.execute("UPDATE feed_base SET base = 200000")
    await other.execute("ANALYZE feed_commits")
    for name, given, blocks in (
        ("feed_sizes", [100_000, WALK_COMMITS], 100),
        ("feed_commits", [100_000, 101_000], 100),
        ("feed_end", [], 20),
        ("feed_commit_before", [1_999_000, 100_000], 200),
        ("first_feed_commits", [100], 50),
        ("feed_held", [], 100),
    ):
        cost = await touched(other, name, given, LISTS)
        assert cost.blocks < blocks, name
    assert isinstance(await store.feed.read(LIVE, None, limit=1), FeedPage)


async def test_who_reads_goes_on_after_a_move(cluster: Cluster, tmp_path: Path) -> None:
    """From the embedded store into a database: positions and consumers stay, and what comes next stands behind."""
    name = await make_database(cluster, template=EMPTY)
    embedded = Stores(lambda: open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0))
    scene = await embedded.open()
    keys = flat(await publish(scene, 2, 1, *[1] * 2_000))
    found = await scene.store.feed.read(LIVE, None, limit=2)
    assert isinstance(found, FeedPage)
    await scene.store.feed.acknowledge(Environment.LIVE, "a", found.position, now=NOW)
    await embedded.close()
    source = await asyncio.to_thread(SqliteCarrier.source, tmp_path)
    target = await PostgresCarrier.target(cluster.dsn(name), now=NOW, rules=UNSAFE)
    try:
        await begin(source, target, now=NOW)
        await finish(source, target, tell_nobody, now=NOW)
    finally:
        await source.close()
        await target.close()
    store = await open_store_at(cluster.dsn(name))
    consumer = await store.feed.consumer(Environment.LIVE, "a")
    assert consumer is not None
    assert consumer.position == found.position
    scene.values.key(NOW + 2 * 3_600_000)
    more = flat(await publish(Scene(store, "node", {}, scene.values), 1, 1))
    assert await walk(store, consumer.position) == [*keys[2:], *more]
    await store.close()
    await drop_database(cluster, name)
