"""What a transaction locks first: it stands still, nobody waits in a circle, and what was waited for is seen."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from posthouse.store.postgres.store import PostgresStore
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import Grant
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, deadlocks, drop_database, make_database, open_store_at
from posthouse.testing.postgres.waiting import until
from posthouse.testing.seizing import joining, seize


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def nodes(cluster: Cluster, database: str) -> AsyncIterator[list[PostgresStore]]:
    """Two nodes on one database."""
    stores = [await open_store_at(cluster.dsn(database)) for _ in range(2)]
    yield stores
    for store in stores:
        await store.close()


async def nothing(_transaction: Transaction) -> None:
    """Only hold what is locked."""


class Holding:
    """A transaction that is open until it is let go."""

    def __init__(self) -> None:
        self.holds = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, _transaction: Transaction) -> None:
        self.holds.set()
        await self.end.wait()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Guards(catalogue=True), Guards(catalogue=True)),
        (Guards(catalogue=True), Guards(catalogue=False)),
        (Guards(catalogue=False), Guards(catalogue=True)),
        (Guards(jobs=(5,)), Guards(jobs=(5,))),
        (Guards(sources=(7, 8)), Guards(sources=(8, 9))),
        (Guards(orders=((7, "a"),)), Guards(orders=((7, "b"), (7, "a")))),
    ],
)
async def test_who_would_be_in_the_way_waits(
    cluster: Cluster, database: str, nodes: list[PostgresStore], first: Guards, second: Guards
) -> None:
    looker = await connect(cluster, database)
    await looker.execute(
        "INSERT INTO posthouse.jobs (key, environment, kind, filter, mode, dry_run, state, counted, done, skipped,"
        " cursor_event, cursor_endpoint, created_at, trail)"
        " VALUES (5, 'live', 'retry', '{}', 'all', false, 'running', 0, 0, 0, 0, 0, 0, '[]')"
    )
    holding = Holding()
    holder = asyncio.ensure_future(nodes[0].lanes.misc.transact(holding, first))
    await holding.holds.wait()
    waiter = asyncio.ensure_future(nodes[1].lanes.intake.transact(nothing, second))
    await until(lambda: looker.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
    assert not waiter.done()
    holding.end.set()
    await asyncio.gather(holder, waiter)
    await looker.close()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Guards(catalogue=False), Guards(catalogue=False)),
        (Guards(slots=((3, 1),)), Guards(slots=((3, 1),))),
        (Guards(sources=(7,)), Guards(sources=(8,))),
    ],
)
async def test_others_do_not(nodes: list[PostgresStore], first: Guards, second: Guards) -> None:
    holding = Holding()
    holder = asyncio.ensure_future(nodes[0].lanes.misc.transact(holding, first))
    await holding.holds.wait()
    await nodes[1].lanes.misc.transact(nothing, second)
    holding.end.set()
    await holder


async def test_a_slot_is_held_at_its_epoch(nodes: list[PostgresStore]) -> None:
    """And it does not change hands meanwhile."""
    one, other = nodes
    epochs = (await seize(one.ownership, "one", now=1)).epochs
    held: list[frozenset[int]] = []

    async def look(transaction: Transaction) -> None:
        held.append(transaction.held)
        taking.append(asyncio.ensure_future(seize(other.ownership, "other", now=1)))
        await asyncio.sleep(0)

    taking: list[asyncio.Future[Grant]] = []
    await one.lanes.settle.transact(look, Guards(slots=((3, epochs[3]), (4, epochs[4] + 1), (5, epochs[5]))))
    assert held == [{3, 5}]
    assert (await taking[0]).epochs[3] == epochs[3] + 1
    taking.clear()
    await one.ownership.release("other")
    await one.lanes.settle.transact(look, Guards(slots=((3, epochs[3] + 1),)))
    assert held[1] == frozenset(), "nobody has it"
    await taking[0]


async def test_a_renewal_waits_for_no_settlement(nodes: list[PostgresStore]) -> None:
    """A node that stands still in one must not cost the others their leases."""
    epochs = (await seize(nodes[0].ownership, "one", now=1)).epochs
    await nodes[1].ownership.join(joining("other"))
    holding = Holding()
    holder = asyncio.ensure_future(nodes[0].lanes.settle.transact(holding, Guards(slots=tuple(epochs.items()))))
    await holding.holds.wait()
    for store, name, held in ((nodes[0], "one", epochs), (nodes[1], "other", {})):
        assert not (await store.ownership.beat(name, now=2)).me_missing
        assert (await store.ownership.acquire(name)).epochs == held
    assert not holder.done()
    holding.end.set()
    await holder


async def test_of_two_that_find_slots_free_one_gets_them(cluster: Cluster, database: str) -> None:
    looker = await connect(cluster, database)
    stores = [await open_store_at(cluster.dsn(database)) for _ in range(2)]
    for store, name in zip(stores, ("one", "other"), strict=True):
        await store.ownership.join(joining(name))
    async with looker.transaction():
        await looker.execute("SELECT FROM posthouse.slots FOR SHARE")
        taking = [
            asyncio.ensure_future(store.ownership.acquire(name, wanted=wanted))
            for store, name, wanted in zip(stores, ("one", "other"), (range(9), range(5, 12)), strict=True)
        ]
        await until(lambda: looker.fetchval("SELECT count(*) = 2 FROM pg_locks WHERE NOT granted"))
    first, second = [set((await grant).epochs) for grant in taking]
    assert first | second == set(range(12))
    assert not first & second
    await looker.close()
    for store in stores:
        await store.close()


async def test_nobody_waits_in_a_circle(cluster: Cluster, database: str, nodes: list[PostgresStore]) -> None:
    chance = random.Random(7)
    for store in nodes:
        await store.lanes.misc.transact(nothing, Guards(sources=tuple(range(8))))

    def some() -> Guards:
        return Guards(
            catalogue=chance.choice([None, False, False, True]),
            slots=tuple((slot, 0) for slot in chance.sample(range(256), chance.randrange(9))),
            sources=tuple(chance.sample(range(8), chance.randrange(4))),
            orders=tuple((endpoint, "k") for endpoint in chance.sample(range(40), chance.randrange(20))),
        )

    async def busy(store: PostgresStore) -> None:
        for _ in range(60):
            lane = chance.choice(store.lanes)
            if chance.random() < 0.1:
                await seize(store.ownership, chance.choice("ab"), now=1)
            await lane.transact(nothing, some())

    await asyncio.gather(*(busy(store) for store in nodes for _ in range(4)))
    for store in nodes:
        await store.close()
    assert await deadlocks(cluster, database) == 0
