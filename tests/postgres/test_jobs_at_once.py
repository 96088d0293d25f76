"""Two nodes on one store: jobs, and what else changes the same deliveries, the same catalogue and the same jobs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeAlias

import asyncpg
import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import IdempotencyConflict
from posthouse.core.jobs import Job, JobEntry, JobFilter, JobKind, JobState
from posthouse.core.model import EndpointState, Environment, Lane
from posthouse.core.rules import Order, Rules
from posthouse.store.protocol import JobStep, NewEvent, Remembered
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.jobs import LATER, begin, finish, settled_delivered
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.values import NOW, tenant
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database, open_store_at
from posthouse.testing.postgres.waiting import until

Nodes = tuple[Scene, Scene]
Outside: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


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


async def ordered(scene: Scene, *keys: str) -> list[tuple[int, int]]:
    """Deliveries of events with these ordering keys to an endpoint that keeps order."""
    endpoint = scene.values.endpoint(rules=Rules(order=Order.FIFO))
    await scene.store.catalogue.put_endpoint(endpoint)
    events = [scene.values.event(ordering_key=key) for key in keys]
    await scene.accept(*(NewEvent(event, (endpoint.key,), Lane.LIVE, orders=(Order.FIFO,)) for event in events))
    return [(event.key, endpoint.key) for event in events]


async def run(node: Scene, job: Job, *, limit: int) -> list[JobStep]:
    """Take steps until the job is at its end, whoever takes the others."""
    steps: list[JobStep] = []
    while not steps or not steps[-1].exhausted:
        if await node.store.jobs.count(job.key, limit=limit) is None:
            step = await node.store.jobs.work(job.key, limit=limit, now=LATER)
            assert step is not None
            steps.append(step)
    return steps


async def has_done(node: Scene, job: Job, count: int) -> bool:
    """Whether the job has changed so many."""
    stored = await node.store.jobs.job(job.key)
    return stored is not None and stored.done >= count


async def somebody_waits(outside: Outside) -> bool:
    """Whether a statement waits for a lock."""
    return bool(await outside.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def one_is_ahead_of_each_key(node: Scene, deliveries: list[tuple[int, int]]) -> bool:
    """Of every ordering key with something open exactly one is not behind, and all others name it."""
    records = [await node.store.ledger.delivery(*delivery) for delivery in deliveries]
    waiting = [r for r in records if r is not None and r.due_at is not None]
    ahead = {r.event_key for r in waiting if r.behind_event is None}
    return all(r.behind_event in ahead for r in waiting if r.behind_event is not None)


@pytest.mark.parametrize("kind", [JobKind.CANCEL, JobKind.PARK, JobKind.REPLAY, JobKind.RETRY, JobKind.PROMOTE])
async def test_two_who_run_one_job_change_everything_once(nodes: Nodes, kind: JobKind) -> None:
    scene, other = nodes
    for _ in range(30):
        owed = await scene.owe(7)
        if kind in {JobKind.REPLAY, JobKind.RETRY}:
            await scene.settle(owed, State.EXHAUSTED)
        elif kind is JobKind.PROMOTE:
            await scene.settle(owed, State.RETRYING)
    job = await begin(scene, kind)
    mine, theirs = await asyncio.gather(run(scene, job, limit=4), run(other, job, limit=3))
    stored = await other.store.jobs.job(job.key)
    assert stored is not None
    assert (stored.total, stored.done, stored.skipped) == (30, 30, 0)
    if kind in {JobKind.CANCEL, JobKind.PARK, JobKind.PROMOTE}:
        withdrawn = [place for step in mine + theirs for place in step.withdrawn]
        assert len(withdrawn) == len(set(withdrawn)) == 30
    assert (await other.total())["owed"] == 30


async def test_a_round_is_opened_once_whoever_asks(nodes: Nodes) -> None:
    """A job and an operator on two nodes: one opens it, for the other it is open already."""
    scene, other = nodes
    owed = [await settled_as(scene, State.EXHAUSTED) for _ in range(40)]
    job = await begin(scene, JobKind.RETRY)

    async def by_hand() -> None:
        for obligation in reversed(owed):
            again = await other.store.work.retry(obligation.event_key, 7, now=LATER)
            assert again is not None
            assert again.round == 2

    await asyncio.gather(run(scene, job, limit=5), by_hand())
    stored = await scene.store.jobs.job(job.key)
    assert stored is not None
    assert stored.done + stored.skipped == stored.total
    assert await other.total() == {"owed": 40, "waiting": 40}
    assert {(await scene.record(obligation)).round for obligation in owed} == {2}


async def test_order_outlives_a_cancel_beside_outcomes(nodes: Nodes) -> None:
    """While one node cancels, the other settles what is ahead: nothing is left behind nobody."""
    scene, other = nodes
    deliveries = await ordered(scene, *("abcd" * 12))
    endpoint_key = deliveries[0][1]
    mine = {event_key for event_key, _ in deliveries[: len(deliveries) // 2]}

    async def settle() -> None:
        for _ in range(12):
            for work in (await other.queue(endpoint_key, now=LATER)).work:
                await other.settle(work.obligation)

    async def cancel() -> None:
        for event_key in sorted(mine, reverse=True):
            await run(scene, await begin(scene, JobKind.CANCEL, event_key=event_key), limit=9)

    await asyncio.gather(settle(), cancel())
    assert await one_is_ahead_of_each_key(scene, deliveries)
    while work := (await other.queue(endpoint_key, now=LATER)).work:
        for one in work:
            await other.settle(one.obligation)
    total = await scene.total()
    assert (total["owed"], total["waiting"]) == (48, 0)


async def test_a_replay_keeps_order_beside_another_one(nodes: Nodes) -> None:
    scene, other = nodes
    deliveries = await ordered(scene, *("ab" * 10))
    endpoint_key = deliveries[0][1]
    while work := (await scene.queue(endpoint_key, now=LATER)).work:
        for one in work:
            await scene.settle(one.obligation)
    jobs = [await begin(scene, JobKind.REPLAY) for _ in range(2)]
    await asyncio.gather(run(scene, jobs[0], limit=3), run(other, jobs[1], limit=4))
    assert await one_is_ahead_of_each_key(scene, deliveries)
    assert (await scene.total())["waiting"] == 20


async def test_nothing_is_opened_for_an_endpoint_that_is_deleted(nodes: Nodes) -> None:
    """Who deletes it discards what is open then; a job that opens something meanwhile was before or comes too late."""
    scene, other = nodes
    endpoint = scene.values.endpoint()
    await scene.store.catalogue.put_endpoint(endpoint)
    for _ in range(30):
        await settled_delivered(scene, endpoint.key)
    job = await begin(scene, JobKind.REPLAY)

    async def delete() -> None:
        await until(lambda: has_done(other, job, 4))
        catalogue, work = other.store.catalogue, other.store.work
        await catalogue.set_endpoint_state(endpoint.key, EndpointState.DELETED, seen=1, reason=None, now=NOW)
        while await work.discard_endpoint(endpoint.key, reason="deleted", now=NOW, limit=7):
            pass

    await asyncio.gather(run(scene, job, limit=2), delete())
    assert await scene.store.ledger.waiting(after=0, limit=9) == []
    assert (await scene.total())["owed"] == 30


async def test_of_two_decisions_about_a_job_one_is_written(nodes: Nodes) -> None:
    scene, other = nodes
    job = await begin(scene, JobKind.CANCEL)
    decided = [
        replace(job, state=state, trail=(*job.trail, JobEntry(NOW, "ops", "decided")))
        for state in (JobState.PAUSED, JobState.CANCELLED)
    ]
    written = await asyncio.gather(
        *(
            node.store.jobs.change(decision, expected=JobState.RUNNING)
            for node, decision in zip(nodes, decided, strict=True)
        )
    )
    assert sorted(decision is None for decision in written) == [False, True]
    assert await other.store.jobs.job(job.key) in written


async def test_a_job_that_is_paused_takes_no_step_more(nodes: Nodes) -> None:
    """Once it is paused, wherever that was, no step changes anything."""
    scene, other = nodes
    for _ in range(40):
        await scene.owe(7)
    job = await begin(scene, JobKind.CANCEL)
    await scene.store.jobs.count(job.key, limit=100)
    paused = replace(job, state=JobState.PAUSED, trail=(*job.trail, JobEntry(NOW, "ops", "pause")))

    async def work() -> None:
        while await scene.store.jobs.work(job.key, limit=1, now=LATER) is not None:
            pass

    async def pause() -> Job | None:
        await until(lambda: has_done(other, job, 4))
        return await other.store.jobs.change(paused, expected=JobState.RUNNING)

    _, stored = await asyncio.gather(work(), pause())
    assert stored is not None
    assert await scene.store.jobs.job(job.key) == stored
    assert (await scene.total())["waiting"] == 40 - stored.done


async def test_changes_of_the_catalogue_follow_each_other(nodes: Nodes) -> None:
    scene, other = nodes
    put: list[Awaitable[int]] = []
    for _ in range(10):
        put += [scene.store.catalogue.put_endpoint(scene.values.endpoint())]
        put += [other.store.catalogue.put_tenant(tenant(f"t{scene.values.key()}"))]
    assert sorted(await asyncio.gather(*put)) == list(range(1, 21))
    assert await scene.store.catalogue.load() == await other.store.catalogue.load()


async def test_of_two_calls_with_one_key_one_makes_something(nodes: Nodes) -> None:
    """Whichever kind of thing each makes, and also when one of them waits for the other."""
    scene, other = nodes
    for name in ("j", "k", "l"):
        endpoint, key = scene.values.endpoint(), scene.values.key()
        filter_ = JobFilter(newest=key)
        job = Job(key=key, environment=Environment.LIVE, kind=JobKind.CANCEL, filter=filter_, created_at=NOW)
        results = await asyncio.gather(
            scene.store.catalogue.put_endpoint(
                endpoint, remember=Remembered(Environment.LIVE, name, b"f", endpoint.key)
            ),
            other.store.jobs.add(job, remember=Remembered(Environment.LIVE, name, b"f", job.key)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, IdempotencyConflict) for result in results) == 1
        remembered = await other.store.catalogue.recall(Environment.LIVE, name)
        assert remembered is not None
        made = [await scene.store.catalogue.endpoint(endpoint.key), await scene.store.jobs.job(job.key)]
        assert [one.key for one in made if one is not None] == [remembered.ref]


async def test_what_is_recalled_is_locked(nodes: Nodes, outside: Outside) -> None:
    """A plain read would tell of what a failover may still forget."""
    scene, _ = nodes
    endpoint = scene.values.endpoint()
    remembered = Remembered(Environment.LIVE, "k", b"f", endpoint.key)
    await scene.store.catalogue.put_endpoint(endpoint, remember=remembered)
    before = await outside.fetchval("SELECT pg_current_wal_insert_lsn()")
    assert await scene.store.catalogue.recall(Environment.LIVE, "unknown") is None
    assert await scene.store.catalogue.recall(Environment.LIVE, "k") == remembered
    assert await outside.fetchval("SELECT pg_current_wal_insert_lsn() > $1::pg_lsn", before)


async def test_a_step_waits_for_who_changes_the_catalogue(nodes: Nodes, outside: Outside) -> None:
    scene, _ = nodes
    endpoint = scene.values.endpoint()
    await scene.store.catalogue.put_endpoint(endpoint)
    await settled_delivered(scene, endpoint.key)
    job = await begin(scene, JobKind.REPLAY)
    async with outside.transaction():
        await outside.execute("SELECT lane FROM catalogue ORDER BY lane FOR UPDATE")
        await outside.execute("UPDATE endpoints SET state = 'deleted'")
        step = asyncio.create_task(finish(scene, job))
        await until(lambda: somebody_waits(outside))
        assert not step.done()
    last = (await step)[-1].job
    assert (last.total, last.done, last.skipped) == (1, 0, 1)


async def test_a_step_looks_when_nobody_else_can_change_what_it_sees(nodes: Nodes, outside: Outside) -> None:
    scene, _ = nodes
    await scene.owe(7)
    owed = await scene.owe(7)
    job = await begin(scene, JobKind.CANCEL)
    async with outside.transaction():
        await outside.execute(
            "WITH gone AS (DELETE FROM obligations WHERE event_key = $1 RETURNING event_key, endpoint_key)"
            " INSERT INTO history (event_key, endpoint_key, round, attempts, opened_at, settled_at, lane, state)"
            " SELECT event_key, endpoint_key, 1, 1, 0, 0, 0, 'delivered' FROM gone",
            owed.event_key,
        )
        step = asyncio.create_task(finish(scene, job))
        await until(lambda: somebody_waits(outside))
        assert not step.done()
    last = (await step)[-1].job
    assert (last.total, last.done, last.skipped) == (2, 1, 1)


async def test_a_finished_job_stays_as_it_is(nodes: Nodes) -> None:
    """A node that did not hear of its end takes its last step again, and changes nothing."""
    scene, other = nodes
    for _ in range(5):
        await scene.owe(7)
    job = await begin(scene, JobKind.CANCEL)
    last = (await finish(scene, job))[-1].job
    for step in await run(other, job, limit=2):
        assert (step.job, step.withdrawn, step.due) == (last, (), ())
