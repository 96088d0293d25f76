"""Bulk jobs: what each kind does to deliveries."""

from typing import Any

from posthouse.core.delivery import State
from posthouse.core.jobs import Job, JobEntry, JobFilter, JobKind, JobMode
from posthouse.core.model import Environment, Lane, Obligation
from posthouse.core.rules import Order, Rules
from posthouse.store.protocol import JobStep, NewEvent, Waiting
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW

LATER = NOW + 50  #: when jobs work
SETTLED_THREE = {"delivered": 1, "exhausted": 1, "discarded:cancelled": 1}
LANES_SENT = (Lane.LIVE, Lane.RETRY, Lane.BACKLOG)
SETTLED = (State.DELIVERED, State.EXHAUSTED, State.DISCARDED)


async def begin(scene: Scene, kind: JobKind, **fields: Any) -> Job:
    """Store a job over everything that is there; fields of the filter and of the job may be given."""
    key = scene.values.key()
    of_job = {name: fields.pop(name) for name in ("mode", "dry_run", "environment", "rate") if name in fields}
    job = Job(
        key=key,
        kind=kind,
        filter=JobFilter(**{"newest": key, **fields}),
        created_at=NOW,
        trail=(JobEntry(NOW, "ops", "created"),),
        **{"environment": Environment.LIVE, **of_job},
    )
    await scene.store.jobs.add(job)
    return job


async def finish(scene: Scene, job: Job, *, limit: int = 100) -> list[JobStep]:
    """Run all steps of a job; the steps of its work."""
    while True:
        step = await scene.store.jobs.count(job.key, limit=limit)
        assert step is not None
        if step.exhausted:
            return await finish_work(scene, job, limit=limit)


async def finish_work(scene: Scene, job: Job, *, limit: int = 100) -> list[JobStep]:
    """Run the steps of a job that has counted."""
    steps = []
    while True:
        step = await scene.store.jobs.work(job.key, limit=limit, now=LATER)
        assert step is not None
        steps.append(step)
        if step.exhausted:
            return steps


async def counts(scene: Scene, kind: JobKind, *, limit: int = 100, **fields: Any) -> tuple[int | None, int, int]:
    """Run a job to its end: how many it selected, changed and skipped."""
    job = (await finish(scene, await begin(scene, kind, **fields), limit=limit))[-1].job
    return job.total, job.done, job.skipped


async def one_of_each(scene: Scene, endpoint_key: int = 7) -> dict[State, Obligation]:
    """One delivery in each state."""
    return {state: await settled_as(scene, state, endpoint_key) for state in State}


async def settled_delivered(scene: Scene, endpoint_key: int, **event: Any) -> Obligation:
    """A delivered delivery of an event with these fields."""
    owed = await scene.owe(endpoint_key, **event)
    await scene.settle(owed)
    return owed


class TestJobs:
    """What jobs do to deliveries."""

    async def test_a_retry_opens_what_was_given_up_and_hastens_what_is_open(self, stores: Stores) -> None:
        """Just as ``WorkFacet.retry`` does with each."""
        scene = await stores.open()
        owed = await one_of_each(scene)
        step = (await finish(scene, await begin(scene, JobKind.RETRY, endpoint_key=7)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (4, 4, 0)
        assert step.due == ((7, Lane.LIVE), (7, Lane.RETRY), (7, Lane.BACKLOG))
        assert step.withdrawn == ()
        assert await scene.total() == {"owed": 5, "waiting": 3, "retrying": 1, "delivered": 1}
        for state in (State.EXHAUSTED, State.DISCARDED):
            record = await scene.record(owed[state])
            assert (record.lane, record.round, record.due_at) == (Lane.BACKLOG, 2, LATER)
        record = await scene.record(owed[State.RETRYING])
        assert (record.lane, record.round, record.due_at, record.attempts) == (Lane.RETRY, 1, LATER, 1)

    async def test_a_replay_opens_all_that_is_settled(self, stores: Stores) -> None:
        scene = await stores.open()
        await one_of_each(scene)
        step = (await finish(scene, await begin(scene, JobKind.REPLAY)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (3, 3, 0)
        assert step.due == ((7, Lane.BACKLOG),)
        assert await scene.total() == {"owed": 5, "waiting": 4, "retrying": 1}
        assert await counts(scene, JobKind.REPLAY) == (0, 0, 0)

    async def test_a_cancel_discards_what_is_open(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await one_of_each(scene)
        step = (await finish(scene, await begin(scene, JobKind.CANCEL)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (2, 2, 0)
        places = [(owed[state].event_key, 7) for state in (State.WAITING, State.RETRYING)]
        assert sorted(step.withdrawn) == sorted(places)
        expected = {"owed": 5, "delivered": 1, "exhausted": 1, "discarded:cancelled": 3}
        assert await scene.total() == expected
        record = await scene.record(owed[State.WAITING])
        assert (record.state, record.reason, record.settled_at) == (State.DISCARDED, "cancelled", LATER)

    async def test_what_is_parked_waits_until_it_is_drained(self, stores: Stores) -> None:
        """In the lane that it came from, or would come into; and when it is due stays."""
        scene = await stores.open()
        owed = await one_of_each(scene)
        due = {state: (await scene.record(owed[state])).due_at for state in (State.WAITING, State.RETRYING)}
        step = (await finish(scene, await begin(scene, JobKind.PARK)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (2, 2, 0)
        assert sorted(step.withdrawn) == sorted((owed[state].event_key, 7) for state in due)
        assert await scene.survey() == []
        assert await scene.total() == {"owed": 5, "waiting": 1, "retrying": 1, **SETTLED_THREE}
        assert await counts(scene, JobKind.PARK) == (0, 0, 0)

        step = (await finish(scene, await begin(scene, JobKind.DRAIN)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (2, 2, 0)
        assert step.due == ((7, Lane.RETRY), (7, Lane.BACKLOG))
        for state, lane in ((State.WAITING, Lane.BACKLOG), (State.RETRYING, Lane.RETRY)):
            record = await scene.record(owed[state])
            assert (record.lane, record.due_at) == (lane, due[state])
        assert await counts(scene, JobKind.DRAIN) == (0, 0, 0)

    async def test_what_is_promoted_is_live_and_due(self, stores: Stores) -> None:
        """Parked ones too."""
        scene = await stores.open()
        retrying = await settled_as(scene, State.RETRYING)
        parked = await scene.owe(8, lane=Lane.BACKLOG)
        live = await scene.owe(7)
        await counts(scene, JobKind.PARK, endpoint_key=8)
        step = (await finish(scene, await begin(scene, JobKind.PROMOTE)))[-1]
        assert (step.job.total, step.job.done, step.job.skipped) == (2, 2, 0)
        assert step.due == ((7, Lane.LIVE), (8, Lane.LIVE))
        for owed in (retrying, parked):
            record = await scene.record(owed)
            assert (record.lane, record.due_at) == (Lane.LIVE, LATER)
        assert (await scene.record(live)).due_at == NOW

    async def test_a_promoted_or_parked_delivery_counts_its_attempts_on(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await settled_as(scene, State.RETRYING)
        await counts(scene, JobKind.PARK)
        await counts(scene, JobKind.PROMOTE)
        (work,) = (await scene.queue(7, now=LATER)).work
        assert (work.obligation.attempts, work.obligation.last_number) == (1, 1)
        await scene.settle(work.obligation)
        assert [attempt.number for attempt in await scene.attempts(owed)] == [1, 2]

    async def test_a_job_over_nothing_ends(self, stores: Stores) -> None:
        scene = await stores.open()
        for kind in JobKind:
            assert await counts(scene, kind) == (0, 0, 0)

    async def test_of_each_ordering_key_the_latest(self, stores: Stores) -> None:
        """As far as the endpoint is owed it; events without a key are all sent."""
        scene = await stores.open()
        for endpoint_key, key in ((7, "a"), (7, "a"), (8, "a"), (7, "b"), (7, None), (7, None), (7, "a")):
            await settled_delivered(scene, endpoint_key, ordering_key=key)
        await settled_delivered(scene, 7, ordering_key="b", tenant="other")
        await settled_delivered(scene, 7, ordering_key="a", environment=Environment.TEST)
        assert await counts(scene, JobKind.REPLAY, mode=JobMode.LATEST, dry_run=True) == (8, 6, 2)
        assert await counts(scene, JobKind.REPLAY, mode=JobMode.LATEST) == (8, 6, 2)

    async def test_latest_looks_beyond_what_the_filter_selects(self, stores: Stores) -> None:
        """A state that a newer one superseded is not the latest, whatever became of the newer one."""
        scene = await stores.open()
        old = await settled_delivered(scene, 7, ordering_key="a")
        await scene.owe(7, ordering_key="a")
        assert await counts(scene, JobKind.REPLAY, mode=JobMode.LATEST, event_key=old.event_key) == (1, 0, 1)
        assert await counts(scene, JobKind.REPLAY, event_key=old.event_key) == (1, 1, 0)


class TestWaiting:
    """``waiting``: what there is to park and to drain."""

    async def test_what_waits_is_counted_by_lane(self, stores: Stores) -> None:
        """Settled deliveries do not wait, and an endpoint for which nothing waits is left out."""
        scene = await stores.open()
        for endpoint_key in (7, 9):
            await one_of_each(scene, endpoint_key)
        await settled_delivered(scene, 8)
        for lane in (Lane.LIVE, Lane.BACKLOG, Lane.BACKLOG):
            await scene.owe(5, lane=lane)
        assert await counts(scene, JobKind.PARK, endpoint_key=9, states=(State.RETRYING,)) == (1, 1, 0)
        waiting = scene.store.ledger.waiting
        five, seven, nine = (
            Waiting(5, live=1, retry=0, backlog=2, parked=0, behind=0),
            Waiting(7, live=1, retry=1, backlog=0, parked=0, behind=0),
            Waiting(9, live=1, retry=0, backlog=0, parked=1, behind=0),
        )
        assert await waiting(after=0, limit=9) == [five, seven, nine]
        assert await waiting(after=0, limit=2) == [five, seven]
        assert await waiting(after=5, limit=2) == [seven, nine]
        assert await waiting(after=5, until=7, limit=2) == [seven]
        assert await waiting(after=7, until=8, limit=2) == []

    async def test_what_stands_behind_is_counted_apart(self, stores: Stores) -> None:
        scene = await stores.open()
        for key in ("a", "a", "b", "a"):
            event = scene.values.event(ordering_key=key)
            await scene.accept(NewEvent(event, (7,), Lane.LIVE, orders=(Order.FIFO,)))
        assert await scene.store.ledger.waiting(after=0, limit=9) == [
            Waiting(7, live=2, retry=0, backlog=0, parked=0, behind=2)
        ]


class TestJobsAndOrder:
    """Jobs among deliveries that keep order."""

    async def owe(self, scene: Scene, *keys: str) -> list[tuple[int, int]]:
        """Accept one event for each key, owed to an endpoint that keeps order; the deliveries."""
        endpoint = scene.values.endpoint(rules=Rules(order=Order.FIFO))
        await scene.store.catalogue.put_endpoint(endpoint)
        places = []
        for key in keys:
            event = scene.values.event(ordering_key=key)
            await scene.accept(NewEvent(event, (endpoint.key,), Lane.LIVE, orders=(Order.FIFO,)))
            places.append((event.key, endpoint.key))
        return places

    async def sent(self, scene: Scene, endpoint_key: int) -> list[int]:
        """Events in the order in which they can be sent, one after the other."""
        sent: list[int] = []
        while True:
            work = [w for lane in LANES_SENT for w in (await scene.queue(endpoint_key, lane, now=LATER)).work]
            if not work:
                return sent
            sent.append(work[0].obligation.event_key)
            await scene.settle(work[0].obligation)

    async def test_a_cancel_lets_out_what_stands_behind(self, stores: Stores) -> None:
        """And says that it may be due."""
        scene = await stores.open()
        first, second, other = await self.owe(scene, "a", "a", "b")
        job = await begin(scene, JobKind.CANCEL, event_key=first[0])
        (step,) = await finish(scene, job)
        assert (step.job.done, step.withdrawn) == (1, (first,))
        assert (first[1], Lane.LIVE) in step.due
        assert sorted(await self.sent(scene, first[1])) == [second[0], other[0]]

    async def test_what_stands_behind_is_not_parked(self, stores: Stores) -> None:
        """It waits anyway; the one that it stands behind is parked, and keeps its place."""
        scene = await stores.open()
        places = await self.owe(scene, "a", "a", "a", "b")
        assert await counts(scene, JobKind.PARK, dry_run=True) == (4, 2, 2)
        assert await counts(scene, JobKind.PARK) == (4, 2, 2)
        assert await self.sent(scene, places[0][1]) == []
        assert await counts(scene, JobKind.DRAIN) == (2, 2, 0)
        sent = await self.sent(scene, places[0][1])
        assert [key for key in sent if key != places[3][0]] == [places[n][0] for n in (0, 1, 2)]

    async def test_a_replay_keeps_order(self, stores: Stores) -> None:
        """Opened in ascending order of events, each behind the one before it."""
        scene = await stores.open()
        places = await self.owe(scene, "a", "a", "b", "a")
        endpoint_key = places[0][1]
        await self.sent(scene, endpoint_key)
        for limit in (1, 2, 100):
            assert await counts(scene, JobKind.REPLAY, limit=limit) == (4, 4, 0)
            sent = await self.sent(scene, endpoint_key)
            assert [key for key in sent if key != places[2][0]] == [places[n][0] for n in (0, 1, 3)]
        assert (await scene.total()) == {"owed": 4, "delivered": 4}
