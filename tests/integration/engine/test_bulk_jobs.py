"""Bulk jobs on a whole node: from the request to the receivers, over kills, beside traffic."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from posthouse.core.delivery import State
from posthouse.core.ids import JOB, make_id
from posthouse.core.jobs import UNFINISHED, Job, JobKind, JobMode, JobState
from posthouse.core.model import Endpoint, Environment, Scope
from posthouse.gateway.job_input import JobSpec
from posthouse.gateway.principal import Principal
from posthouse.store.protocol import Accepted
from posthouse.testing.house import House

Start = Callable[..., Awaitable[House]]

OPERATOR = Principal(Environment.LIVE, Scope.ADMIN, 1)


async def make(house: House, kind: JobKind, **fields: Any) -> Job:
    spec = JobSpec(kind=kind, **{"everything": not fields.keys() - {"dry_run", "rate", "mode"}, **fields})
    return (await house.node.gateway.jobs.create(OPERATOR, spec)).job


async def ended(house: House, job: Job) -> Job:
    """Wait until the job has ended."""
    while True:
        found = await house.ports.store.jobs.job(job.key)
        assert found is not None
        if found.state not in UNFINISHED:
            return found
        await asyncio.sleep(0)


async def first_step(house: House, job: Job) -> None:
    """Wait until the job has changed something."""
    await house.until(lambda: house.node.metrics.job_deliveries[job.kind] > 0)


async def delivered(house: House, count: int) -> tuple[Endpoint, list[Accepted]]:
    """Events that were delivered to one endpoint."""
    endpoint = await house.endpoint()
    events = [await house.publish(ordering_key=f"k{n % 3}") for n in range(count)]
    await house.settled(count)
    return endpoint, events


async def test_a_replay_reaches_the_receivers_once_more(house: House) -> None:
    """Under the same ids."""
    await delivered(house, 20)
    before = len(house.transport.requests)
    job = await ended(house, await make(house, JobKind.REPLAY))
    assert (job.state, job.total, job.done, job.skipped) == (JobState.COMPLETED, 20, 20, 0)
    await house.settled(40)
    assert len(house.transport.requests) == before + 20
    assert await house.states() == {**dict.fromkeys(State, 0), State.DELIVERED: 20}


async def test_a_replay_of_the_latest_states(house: House) -> None:
    await delivered(house, 9)
    job = await ended(house, await make(house, JobKind.REPLAY, mode=JobMode.LATEST))
    assert (job.total, job.done, job.skipped) == (9, 3, 6)
    await house.settled(12)


async def test_what_is_parked_is_not_sent_until_it_is_drained(house: House) -> None:
    endpoint = await house.endpoint()
    await house.node.gateway.endpoints.pause(Environment.LIVE, make_id("ep_", endpoint.key))
    for _ in range(10):
        await house.publish()
    assert (await ended(house, await make(house, JobKind.PARK))).done == 10
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id("ep_", endpoint.key))
    await house.publish()
    await house.settled(1)
    await house.wake(60_000)
    assert len(house.transport.requests) == 1
    assert (await house.states())[State.WAITING] == 10
    assert (await ended(house, await make(house, JobKind.DRAIN))).done == 10
    await house.settled(11)


async def test_a_job_goes_on_in_the_next_life(start: Start) -> None:
    house = await start()
    await delivered(house, 30)
    job = await make(house, JobKind.REPLAY, rate="40/s")
    for _ in range(3):
        await house.node.stop(drain_seconds=0)
        house = await start(house.clock)
    ending = asyncio.ensure_future(ended(house, job))
    while not ending.done():
        house.clock.advance(50)
        house.node.engine.job_changed(job.key)  # as its timer would
        await asyncio.sleep(0)
    done = ending.result()
    assert (done.total, done.done, done.skipped) == (30, 30, 0)
    books = await house.books()
    assert (books.owed, books.imbalance) == (30, 0)


async def test_people_steer_it(house: House) -> None:
    await delivered(house, 10)
    job = await make(house, JobKind.REPLAY, rate="4/h")
    jobs, job_id = house.node.gateway.jobs, make_id(JOB, job.key)

    await first_step(house, job)
    assert (await jobs.pause(OPERATOR, job_id)).job.state is JobState.PAUSED
    await jobs.set_rate(OPERATOR, job_id, None)
    assert (await jobs.resume(OPERATOR, job_id)).job.done == 1
    found = await ended(house, job)
    assert (found.state, found.done) == (JobState.COMPLETED, 10)
    assert [entry.what for entry in found.trail] == ["created", "pause", "no rate", "resume", "complete"]


async def test_a_cancelled_job_leaves_done_what_is_done(house: House) -> None:
    await delivered(house, 10)
    job = await make(house, JobKind.REPLAY, rate="4/h")
    jobs, job_id = house.node.gateway.jobs, make_id(JOB, job.key)
    await first_step(house, job)
    assert (await jobs.cancel(OPERATOR, job_id)).job.state is JobState.CANCELLED
    house.clock.advance(3_600_000)
    await house.settled(11)
    assert (await jobs.get(Environment.LIVE, job_id)).job.done == 1
