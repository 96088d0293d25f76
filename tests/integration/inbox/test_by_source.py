"""What came in through one source: listed, and moved by jobs that leave what came another way alone."""

from dataclasses import dataclass
from typing import Self

import pytest
from tests.integration.inbox import senders
from tests.integration.inbox.senders import SECRET

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, JOB, SOURCE, make_id
from posthouse.core.jobs import Job, JobKind, JobState
from posthouse.core.model import Endpoint, Environment, Lane, Scope
from posthouse.gateway.events import EventFilter
from posthouse.gateway.job_input import JobSpec
from posthouse.gateway.principal import Principal
from posthouse.testing.house import House

OPERATOR = Principal(Environment.LIVE, Scope.ADMIN, 1)


@dataclass(frozen=True)
class Waiting:
    """A node with a paused endpoint, which is owed events of two sources and one that was published."""

    house: House
    endpoint: Endpoint
    source_id: str
    mine: list[int]
    others: list[int]

    @classmethod
    async def in_(cls, house: House) -> Self:
        endpoint = await house.endpoint()
        await house.node.gateway.endpoints.pause(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
        mine, theirs = [await house.source("github", SECRET) for _ in range(2)]
        for number in range(3):
            for source in (mine, theirs):
                await house.post(source, *senders.github(senders.issue(), delivery=f"d-{source.key}-{number}"))
        await house.read(6)
        await house.publish()
        source_id = make_id(SOURCE, mine.key)
        events = house.node.gateway.events
        page = await events.page(Environment.LIVE, EventFilter(source_id=source_id), after=None, limit=10)
        keys = [record.event.key for record in page]
        return cls(house, endpoint, source_id, keys, [e.key for e in await house.events() if e.key not in keys])

    async def run(self, kind: JobKind, *, dry_run: bool = False) -> Job:
        """Let a job for the one source run to its end."""
        jobs, ended = self.house.node.gateway.jobs, self.house.node.metrics.jobs_ended
        before = ended[JobState.COMPLETED]
        spec = JobSpec(kind=kind, source_id=self.source_id, dry_run=dry_run)
        key = (await jobs.create(OPERATOR, spec)).job.key
        await self.house.until(lambda: ended[JobState.COMPLETED] > before)
        return (await jobs.get(Environment.LIVE, make_id(JOB, key))).job

    async def standing(self, keys: list[int]) -> set[tuple[State, Lane]]:
        """How the deliveries of these events stand."""
        ledger = self.house.ports.store.ledger
        records = [await ledger.delivery(key, self.endpoint.key) for key in keys]
        return {(record.state, record.lane) for record in records if record is not None}


@pytest.fixture
async def waiting(house: House) -> Waiting:
    return await Waiting.in_(house)


async def test_jobs_move_what_came_in_through_the_source(waiting: Waiting) -> None:
    """Counted exactly beforehand; nothing else is touched, and the books stay whole."""
    assert (len(waiting.mine), len(waiting.others)) == (3, 4)
    before = await waiting.standing(waiting.others)
    steps: list[tuple[JobKind, tuple[State, Lane]]] = [
        (JobKind.PARK, (State.WAITING, Lane.PARKED)),
        (JobKind.DRAIN, (State.WAITING, Lane.BACKLOG)),
        (JobKind.PROMOTE, (State.WAITING, Lane.LIVE)),
        (JobKind.CANCEL, (State.DISCARDED, Lane.LIVE)),
        (JobKind.REPLAY, (State.WAITING, Lane.BACKLOG)),
    ]
    for kind, expected in steps:
        for dry_run in (True, False):
            job = await waiting.run(kind, dry_run=dry_run)
            assert (job.total, job.done, job.skipped) == (3, 3, 0)
        assert await waiting.standing(waiting.mine) == {expected}
        assert await waiting.standing(waiting.others) == before
    assert (await waiting.house.books()).owed == 7


async def test_the_others_are_sent_while_it_is_parked(waiting: Waiting) -> None:
    await waiting.run(JobKind.PARK)
    await waiting.house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, waiting.endpoint.key))
    await waiting.house.settled(4)
    assert await waiting.standing(waiting.mine) == {(State.WAITING, Lane.PARKED)}
    assert {state for state, _ in await waiting.standing(waiting.others)} == {State.DELIVERED}
