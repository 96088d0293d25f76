"""Two nodes on one store: events, outcomes and commands that meet in the database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import SLOTS, Environment, slot_of
from posthouse.core.rules import Order
from posthouse.store.postgres import intake
from posthouse.store.postgres.binding import order_bucket
from posthouse.store.postgres.outcome import Refused
from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, NewEvent, Overtaken, Settled, StaleCatalogue
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.ordering import ahead, check_order, drain, keep, ordered
from posthouse.testing.conformance.values import NOW, attempt, tenant
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, deadlocks, drop_database, make_database, open_store_at
from posthouse.testing.postgres.waiting import until

Nodes = tuple[Scene, Scene]
Outside: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


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
async def nodes(cluster: Cluster, database: str) -> AsyncIterator[Nodes]:
    first = Stores(lambda: open_store_at(cluster.dsn(database)))
    scene = await first.open()
    other = await open_store_at(cluster.dsn(database))
    yield scene, Scene(other, "other", scene.epochs, scene.values)
    await other.close()
    await first.close()


async def result_behind(outside: Outside, change: str, *args: Any, of: Callable[[], Awaitable[Any]]) -> Any:
    """What ``of`` gives that began while a change was not committed, and had to wait for it."""
    async with outside.transaction():
        await outside.execute(change, *args)
        waiting = asyncio.ensure_future(of())
        await until(lambda: outside.fetchval(SOMEBODY_WAITS))
        assert not waiting.done()
    return await waiting


async def writes(outside: Outside, of: Awaitable[Any]) -> bool:
    """Whether something leaves a trace in the log: only then does its answer wait for standbys."""
    before = await outside.fetchval("SELECT pg_current_wal_insert_lsn()")
    await of
    return bool(await outside.fetchval("SELECT pg_current_wal_insert_lsn() > $1::pg_lsn", before))


# -- accepting -----------------------------------------------------------------------------------


async def test_of_one_identity_one_event_is_stored(nodes: Nodes) -> None:
    """Whoever accepts it, alone or beside others, in order or not."""
    for round_ in range(10):
        scene = nodes[0]
        news = [
            scene.values.named(f"n{round_}", ordering_key="k" if n % 3 == 0 else None, orders=(), fingerprint=b"f")
            for n in range(8)
        ]
        news += [replace(ordered(scene, 7), identities=(("id", f"n{round_}"),), fingerprint=b"f") for _ in range(4)]
        results = await asyncio.gather(*(nodes[i % 2].accept(new, version=0) for i, new in enumerate(news)))
        accepted = [result[0] for result in results if isinstance(result, tuple)]
        assert len(accepted) == len(news)
        assert len({a.key for a in accepted}) == 1
        assert [a.duplicate for a in accepted].count(False) == 1
    assert len(await nodes[0].events(limit=100)) == 10


async def test_a_repeat_is_acknowledged_by_a_write(nodes: Nodes, outside: Outside) -> None:
    """A plain read would tell of an event that a failover may still forget."""
    scene, other = nodes
    first = scene.values.named("a")
    await scene.accept(first)
    for again in (scene.values.named("a"), replace(ordered(scene, 7), identities=(("id", "a"),), fingerprint=b"same")):
        assert await writes(outside, other.accept(again, version=0))
        assert await other.accept(again) == (Accepted(first.event.key, "a", 0, duplicate=True),)


async def test_repeats_leave_the_rest_of_a_batch_alone(nodes: Nodes) -> None:
    """Also where requests of the batch repeat one another."""
    scene, other = nodes
    first = scene.values.named("a")
    await scene.accept(first)
    for names in ("ab", "abcc", "adae", "fgg"):
        known = {name: record.event.key for record in await scene.records() for name in [record.event.id]}
        news = [scene.values.named(name) for name in names]
        results = await other.store.intake.accept([AcceptRequest((new,), 0) for new in news])
        for new, name, result in zip(news, names, results, strict=True):
            key = known.setdefault(name, new.event.key)
            assert result == (Accepted(key, name, 0, duplicate=key != new.event.key),)


@pytest.mark.parametrize("order", [Order.NONE, Order.FIFO])
async def test_what_waited_for_the_catalogue_is_routed_again(nodes: Nodes, outside: Outside, order: Order) -> None:
    scene, _ = nodes
    new = ordered(scene, 7, order)
    change = "UPDATE catalogue SET version = version + 1"
    assert await result_behind(outside, change, of=lambda: scene.accept(new, version=0)) == StaleCatalogue(1)
    assert await scene.events() == []
    assert await scene.survey() == []


async def test_a_new_tenant_comes_once(nodes: Nodes) -> None:
    """Whose events come second finds the catalogue changed, and comes again."""
    scene, other = nodes

    async def accept(node: Scene, event: NewEvent) -> None:
        version = 0
        results: list[AcceptResult] = [StaleCatalogue(0)]
        while isinstance(results[0], StaleCatalogue):
            results = await node.store.intake.accept([AcceptRequest((event,), version, (tenant("t1"), tenant("t2")))])
            version = (await node.store.catalogue.load()).version

    await asyncio.gather(*(accept(nodes[i % 2], scene.values.new_event()) for i in range(10)))
    snapshot = await other.store.catalogue.load()
    assert (snapshot.version, {t.id for t in snapshot.tenants}) == (1, {"t1", "t2"})
    assert len(await scene.events()) == 10


# -- outcomes ------------------------------------------------------------------------------------


async def test_what_is_accepted_beside_an_outcome_is_not_left_behind(nodes: Nodes) -> None:
    """One node delivers the one ahead while the other accepts the next of its key."""
    scene, other = nodes
    sent: list[int] = []
    news = [ordered(scene, 7) for _ in range(40)]

    async def accept() -> None:
        for new in news:
            await scene.accept(new, version=0)

    async def deliver() -> None:
        while len(sent) < len(news):
            for work in await ahead(other, 7):
                assert await other.settle(work.obligation) == Settled()
                sent.append(work.event.key)

    await asyncio.gather(accept(), deliver())
    assert sent == [new.event.key for new in news]


async def test_an_outcome_that_waited_for_a_new_order_keeps_it(nodes: Nodes, outside: Outside) -> None:
    """It lets out what stands behind, although nothing did when it began."""
    scene, _ = nodes
    first, second = [await scene.owe(7, ordering_key="a") for _ in range(2)]
    change = "UPDATE obligations SET ordering_key = 'a', behind = event_key = $1"
    settled = await result_behind(outside, change, second.event_key, of=lambda: scene.settle(first))
    assert settled == Settled()
    assert [w.event.key for w in await ahead(scene, 7)] == [second.event_key]
    assert await drain(scene, 7) == {"a": [second.event_key]}


@pytest.mark.parametrize("order", [Order.NONE, Order.FIFO])
async def test_an_outcome_that_waited_for_another_owner_is_fenced(nodes: Nodes, outside: Outside, order: Order) -> None:
    scene, _ = nodes
    await scene.accept(ordered(scene, 7, order))
    (work,) = await ahead(scene, 7)
    change = "UPDATE slots SET owner = 'other', epoch = epoch + 1 WHERE slot = $1"
    settled = await result_behind(outside, change, slot_of(7), of=lambda: scene.settle(work.obligation))
    assert settled == Settled(fenced=(0,))
    assert await scene.total() == {"owed": 1, "waiting": 1}


async def test_a_batch_is_fenced_slot_by_slot(nodes: Nodes, outside: Outside) -> None:
    """Whatever else of it is written, and whichever epochs its outcomes name."""
    scene, _ = nodes
    owed = [await scene.owe(endpoint_key) for endpoint_key in (3, 5, 7, 8)]
    await outside.execute("UPDATE slots SET owner = NULL WHERE slot = $1", slot_of(3))
    late = scene.outcome(owed[1], epoch=scene.epochs[slot_of(5)] - 1)
    ahead_of_time = scene.outcome(owed[3], epoch=scene.epochs[slot_of(8)] + 1)
    batch = [late, *(scene.outcome(o) for o in owed), ahead_of_time]
    assert await scene.store.work.settle(batch) == Settled(fenced=(0, 1, 5))
    assert await scene.total() == {"owed": 4, "delivered": 3, "waiting": 1}


async def test_two_nodes_that_give_an_attempt_one_number_keep_both(nodes: Nodes) -> None:
    scene, other = nodes
    for _ in range(5):
        owed = await scene.owe(7)
        await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
        outcomes = [
            (node, attempt(1, started_at=NOW + n, status=500)) for n, node in enumerate((scene, other, scene, other))
        ]
        settled = await asyncio.gather(*(n.settle(owed, State.RETRYING, attempt_=made) for n, made in outcomes))
        assert settled == [Settled(superseded=(0,))] * 4
        assert sorted(a.number for a in await scene.attempts(owed)) == [1, 2, 3, 4]


@pytest.mark.parametrize("is_open", [True, False])
async def test_an_attempt_that_waited_for_its_number_gets_the_next(
    nodes: Nodes, outside: Outside, *, is_open: bool
) -> None:
    scene, _ = nodes
    owed = await scene.owe(7)
    if not is_open:
        await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
    change = (
        "INSERT INTO attempts (event_key, endpoint_key, started_at, number, total_us, reused, outcome,"
        " response_headers, response_body) VALUES ($1, 7, 5, 1, 0, false, 'status', '', '')"
    )
    settled = await result_behind(outside, change, owed.event_key, of=lambda: scene.settle(owed, State.RETRYING))
    assert settled == Settled(superseded=() if is_open else (0,))
    assert [(a.number, a.started_at == 5) for a in await scene.attempts(owed)] == [(1, True), (2, False)]


@pytest.mark.parametrize("keeps_order", [True, False])
@pytest.mark.parametrize("states", [(State.DELIVERED, State.DELIVERED), (State.DELIVERED, State.RETRYING)])
async def test_outcomes_wait_for_the_first_of_their_deliveries_first(
    nodes: Nodes, outside: Outside, states: tuple[State, State], *, keeps_order: bool
) -> None:
    """Whatever becomes of them and however they come: so two who want the same ones do not wait in a circle."""
    scene, _ = nodes
    order = Order.FIFO if keeps_order else Order.NONE
    await scene.accept(ordered(scene, 7, order, key="a"), ordered(scene, 7, order, key="b"))
    low, high = sorted((w.obligation for w in await ahead(scene, 7)), key=lambda o: o.event_key)
    batch = [scene.outcome(o, state) for o, state in zip((low, high), states, strict=True)]
    lock = "SELECT 1 FROM obligations WHERE event_key = $1 FOR UPDATE"
    async with outside.transaction():
        await outside.execute(lock, low.event_key)
        settling = asyncio.ensure_future(scene.store.work.settle(batch[::-1]))
        await until(lambda: outside.fetchval(SOMEBODY_WAITS))
        assert await outside.fetchval(f"{lock} NOWAIT", high.event_key)
    assert await settling == Settled()


async def test_outcomes_of_one_batch_come_in_turn(nodes: Nodes) -> None:
    """Those of deliveries that keep an order which their sender did not know of."""
    scene, other = nodes
    owed = [await scene.owe(7, ordering_key="a") for _ in range(3)]
    while await other.store.work.reorder(7, Order.FIFO, now=NOW, limit=10):
        pass
    batch = [
        scene.outcome(owed[0], settled_at=NOW + 1),
        scene.outcome(owed[1], State.RETRYING, due_at=NOW + 900),
        scene.outcome(owed[2]),
    ]
    assert await scene.store.work.settle(batch) == Settled()
    (work,) = await ahead(scene, 7)
    assert (work.event.key, work.obligation.due_at, work.obligation.attempts) == (owed[1].event_key, NOW + 900, 1)


# -- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["accept", "settle", "supersede", "retry", "discard", "discard_endpoint", "reorder", "give_up_order", "retime"],
)
async def test_who_may_change_a_turn_holds_its_guard(nodes: Nodes, outside: Outside, command: str) -> None:
    """Of the endpoint and the event's ordering key, whether a delivery keeps that or not."""
    scene, _ = nodes
    await keep(scene, 7, Order.FIFO)
    order = Order.NONE if command == "reorder" else Order.FIFO
    await scene.accept(ordered(scene, 7, order), ordered(scene, 7, order), ordered(scene, 7, order, key="b"))
    (first, *_) = [w.obligation for w in await ahead(scene, 7)]
    work, event_key = scene.store.work, first.event_key
    if command == "retry":
        await work.discard(event_key, 7, reason="cancelled", now=NOW)
    commands: dict[str, Callable[[], Awaitable[Any]]] = {
        "accept": lambda: scene.accept(ordered(scene, 7), version=1),
        "settle": lambda: scene.settle(first),
        "supersede": lambda: work.supersede([(event_key, 7)], now=NOW),
        "retry": lambda: work.retry(event_key, 7, now=NOW),
        "discard": lambda: work.discard(event_key, 7, reason="cancelled", now=NOW),
        "discard_endpoint": lambda: work.discard_endpoint(7, reason="deleted", now=NOW, limit=10),
        "reorder": lambda: work.reorder(7, Order.FIFO, now=NOW, limit=10),
        "give_up_order": lambda: work.reorder(7, Order.NONE, now=NOW, limit=10),
        "retime": lambda: work.retime(range(SLOTS), now=NOW - 1, after=(0, 0), limit=10),
    }
    change = "UPDATE order_guards SET bucket = bucket WHERE bucket = $1"
    await result_behind(outside, change, order_bucket(7, "a"), of=commands[command])
    await check_order(scene, 7)


async def test_of_two_who_open_a_round_one_does(nodes: Nodes) -> None:
    scene, other = nodes
    for _ in range(10):
        owed = await scene.owe(7)
        await scene.settle(owed, State.EXHAUSTED)
        again = await asyncio.gather(
            *(node.store.work.retry(owed.event_key, 7, now=NOW + 5) for node in (scene, other, scene))
        )
        assert {o.round for o in again if o is not None} == {2}
        assert len(again) == 3
    assert await other.total() == {"owed": 10, "waiting": 10}


async def test_a_discard_that_finds_nothing_says_so_durably(nodes: Nodes, outside: Outside) -> None:
    """It may be the repeat of one whose answer was lost."""
    scene, other = nodes
    owed = await scene.owe(7)
    assert await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
    assert await writes(outside, other.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW))
    assert not await other.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)


async def test_who_deletes_leaves_nothing(nodes: Nodes) -> None:
    """What is accepted by the catalogue before is discarded, what comes later is not routed there."""
    scene, other = nodes
    await keep(scene, 7, Order.FIFO)
    accepted: list[int] = []

    async def accept() -> None:
        while isinstance(await scene.accept(new := ordered(scene, 7, key="ab"[len(accepted) % 2]), version=1), tuple):
            accepted.append(new.event.key)

    async def delete() -> None:
        await until(lambda: len(accepted) > 10)
        await keep(other, 7, Order.NONE)
        while await other.store.work.discard_endpoint(7, reason="deleted", now=NOW, limit=5):
            pass

    await asyncio.gather(accept(), delete())
    assert await scene.total() == {"owed": len(accepted), "discarded:deleted": len(accepted)}


async def accept_some(node: Scene, start: int) -> list[tuple[int, int]]:
    """Accept events of each kind, from the ``start``-th on; what is owed of them."""
    result: AcceptResult = Overtaken(0)
    while isinstance(result, Overtaken):  # the other node was between making the keys and accepting
        news = [ordered(node, 7, Order.LATEST, key=key) for key in "ab"]
        news += [node.values.new_event(8, 9, ordering_key="a", orders=(Order.FIFO, Order.NONE)) for _ in "ab"]
        result = await node.accept(*news[start:], version=1)
    assert isinstance(result, tuple)
    return [(new.event.key, key) for new in news[start:] for key in new.owed]


async def test_order_is_kept_in_a_storm(nodes: Nodes, cluster: Cluster, database: str) -> None:
    """Everything at once, from both nodes; and nobody waits in a circle."""
    scene, other = nodes
    await keep(scene, 7, Order.LATEST)
    places: list[tuple[int, int]] = []

    async def accept(node: Scene) -> None:
        for n in range(30):
            places.extend(await accept_some(node, n % 2))

    async def settle(node: Scene) -> None:
        for n in range(30):
            works = [work for endpoint_key in (9, 8, 7) for work in await ahead(node, endpoint_key)]
            states = (State.DELIVERED, State.RETRYING, State.EXHAUSTED)
            await node.store.work.settle(
                [
                    node.outcome(w.obligation, states[(n + i) % 3], reason=None if (n + i) % 3 == 0 else "because")
                    for i, w in enumerate(works)
                ]
            )

    async def command(node: Scene, direction: int) -> None:
        for n in range(30):
            some = places[-12::direction]
            await node.store.work.supersede(some, now=NOW)
            for event_key, endpoint_key in some[:3]:
                await node.store.work.retry(event_key, endpoint_key, now=NOW + n)
            await node.store.work.retime(range(SLOTS), now=NOW - 1, after=(0, 0), limit=50)
            await node.store.work.discard_endpoint(8 + n % 2, reason="deleted", now=NOW, limit=3)

    await asyncio.gather(
        *(accept(node) for node in nodes), *(settle(node) for node in nodes), command(scene, 1), command(other, -1)
    )
    for endpoint_key in (7, 8, 9):
        await check_order(scene, endpoint_key)
        await drain(other, endpoint_key)
    total = await scene.total()
    assert total["owed"] == len(places)
    assert total["waiting"] + total["retrying"] == 0
    assert len(await scene.store.ledger.audit(Environment.LIVE)) == 3
    for node in nodes:
        await node.store.close()
    assert await deadlocks(cluster, database) == 0


async def test_a_great_batch_is_written_in_parts(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What repeats something of an earlier part is recognised; what cannot be written spoils nothing else."""
    scene, _ = nodes
    monkeypatch.setattr(intake, "BYTES_MAX", 40)
    news = [scene.values.named(name, data=b"x" * 15) for name in ("a", "b", "c", "a", "d\0", "e")]
    results = await asyncio.gather(*(scene.accept(new, version=0) for new in news), return_exceptions=True)
    again = Accepted(news[0].event.key, "a", 0, duplicate=True)
    assert results[3] == (again,)
    assert isinstance(results[4], Refused)
    assert await scene.events() == [news[n].event.key for n in (5, 2, 1, 0)]
    requests = [AcceptRequest((scene.values.named(name),), 0) for name in ("f", "g\0")]
    with pytest.raises(StoreUnavailable):
        await scene.store.intake.accept(requests)
