"""Bulk jobs: their rows, and that the counts of their steps are exact whatever happens between them."""

import asyncio

import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import IdempotencyConflict
from posthouse.core.jobs import JobEntry, JobKind, JobMode, JobState
from posthouse.core.model import Environment
from posthouse.store.protocol import Remembered
from posthouse.testing.conformance.jobs import LATER, begin, counts, finish, finish_work, one_of_each
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW


class TestJobSteps:
    """A step and the counts of its job are one; jobs outlive what runs them."""

    async def test_a_job_is_stored_and_listed(self, stores: Stores) -> None:
        scene = await stores.open()
        store = scene.store.jobs
        first = await begin(scene, JobKind.RETRY, states=(State.EXHAUSTED,), reasons=("x",), types=("a.*",), tenant="ü")
        second = await begin(scene, JobKind.PARK, older_than=5, dry_run=True, rate="10/s")
        test = await begin(scene, JobKind.REPLAY, environment=Environment.TEST, mode=JobMode.LATEST)
        assert [await store.job(job.key) for job in (first, second, test)] == [first, second, test]
        assert await store.job(1) is None
        assert await store.jobs(Environment.LIVE, limit=9) == [second, first]
        assert await store.jobs(None, limit=2) == [test, second]
        assert await store.jobs(None, after=second.key, limit=2) == [first]
        for state, found in ((JobState.RUNNING, [second, first]), (JobState.PAUSED, []), (JobState.COMPLETED, [])):
            assert await store.jobs(Environment.LIVE, state=state, limit=9) == found
        done = replace(first, state=JobState.COMPLETED)
        assert await store.change(done, expected=JobState.RUNNING) == done
        assert await store.jobs(Environment.LIVE, state=JobState.COMPLETED, limit=9) == [done]
        assert await store.jobs(None, state=JobState.RUNNING, limit=9) == [test, second]
        assert await scene.store.admin.key_floor() == test.key

    async def test_an_idempotency_key_stands_for_one_job(self, stores: Stores) -> None:
        scene = await stores.open()
        job = await begin(scene, JobKind.RETRY)
        remembered = Remembered(Environment.LIVE, "k", b"f", job.key + 1)
        await scene.store.jobs.add(replace(job, key=job.key + 1), remember=remembered)
        assert await scene.store.catalogue.recall(Environment.LIVE, "k") == remembered
        with pytest.raises(IdempotencyConflict):
            await scene.store.jobs.add(replace(job, key=job.key + 2), remember=replace(remembered, ref=job.key + 2))
        assert await scene.store.jobs.job(job.key + 2) is None

    async def test_a_change_needs_the_state_and_the_trail_that_it_was_decided_on(self, stores: Stores) -> None:
        """Counts and cursor stay, whatever whoever decides believes."""
        scene = await stores.open()
        store = scene.store.jobs
        await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)
        (step,) = await finish(scene, job)
        paused = replace(job, state=JobState.PAUSED, rate="1/s", trail=(*job.trail, JobEntry(NOW, "ops", "pause")))
        expected = replace(step.job, state=JobState.PAUSED, rate="1/s", trail=paused.trail)
        assert await store.change(paused, expected=JobState.PAUSED) is None
        assert await store.change(paused, expected=JobState.RUNNING) == expected
        assert await store.change(paused, expected=JobState.RUNNING) is None
        assert await store.change(replace(job, rate="2/s"), expected=JobState.PAUSED) is None, "it knows half the trail"
        failed = replace(expected, state=JobState.FAILED, error="because", started_at=1, finished_at=2)
        assert await store.change(failed, expected=JobState.PAUSED) == failed
        assert await store.change(replace(failed, key=1), expected=JobState.FAILED) is None

    async def test_a_job_that_does_not_run_takes_no_step(self, stores: Stores) -> None:
        scene = await stores.open()
        store = scene.store.jobs
        await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)
        for state in (JobState.PAUSED, JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED):
            before = await store.job(job.key)
            assert before is not None
            await store.change(replace(before, state=state), expected=before.state)
            assert await store.count(job.key, limit=9) is None
            assert await store.work(job.key, limit=9, now=LATER) is None
        assert await store.count(1, limit=9) is None
        assert await store.work(1, limit=9, now=LATER) is None
        assert await scene.total() == {"owed": 1, "waiting": 1}

    async def test_a_dry_run_counts_exactly_and_does_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        for endpoint_key in (7, 8):
            await one_of_each(scene, endpoint_key)
        await counts(scene, JobKind.PARK, endpoint_key=8)
        before = (await scene.total(), await scene.survey(), await scene.deliveries())
        for kind in JobKind:
            dry = await begin(scene, kind, dry_run=True)
            for step in await finish(scene, dry, limit=1):
                assert (step.due, step.withdrawn) == ((), ())
            assert (await scene.total(), await scene.survey(), await scene.deliveries()) == before
            said = await scene.store.jobs.job(dry.key)
            assert said is not None
            assert said.total == said.done > 0
        for kind in (JobKind.DRAIN, JobKind.REPLAY):
            assert await counts(scene, kind, dry_run=True) == await counts(scene, kind)

    async def test_a_job_works_on_what_it_has_counted_while_it_counts_the_rest(self, stores: Stores) -> None:
        """What it is for begins at once, however much it selects; and what it worked on is in its counts once."""
        scene = await stores.open()
        store = scene.store.jobs
        for _ in range(9):
            await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)

        async def work() -> tuple[int | None, int, bool]:
            step = await store.work(job.key, limit=100, now=LATER)
            assert step is not None
            return step.job.total, step.job.done, step.exhausted

        assert await work() == (None, 0, False), "it has counted nothing"
        await store.count(job.key, limit=4)
        assert await work() == (None, 3, False), "the last event that was counted may have more"
        assert await work() == (None, 3, False)
        await store.count(job.key, limit=2)
        scene = await stores.open()
        store = scene.store.jobs
        assert await work() == (None, 5, False)
        last = (await finish(scene, job, limit=2))[-1].job
        assert (last.total, last.counted, last.done, last.skipped) == (9, 9, 9, 0)
        assert await scene.total() == {"owed": 9, "discarded:cancelled": 9}

    async def test_what_comes_to_be_selected_meanwhile_adds_to_the_total(self, stores: Stores) -> None:
        scene = await stores.open()
        for _ in range(3):
            await scene.owe(7)
        late = await scene.owe(7)
        job = await begin(scene, JobKind.RETRY, states=(State.EXHAUSTED,))
        assert (await scene.store.jobs.count(job.key, limit=9)) is not None
        await scene.settle(late, State.EXHAUSTED)
        last = (await finish_work(scene, job))[-1].job
        assert (last.total, last.counted, last.done, last.skipped) == (1, 0, 1, 0)

    @pytest.mark.parametrize("kind", [JobKind.RETRY, JobKind.REPLAY, JobKind.CANCEL, JobKind.PARK, JobKind.PROMOTE])
    async def test_a_kill_between_any_two_steps_changes_no_count(self, stores: Stores, kind: JobKind) -> None:
        scene = await stores.open()
        for endpoint_key in (7, 8, 7, 9):
            await one_of_each(scene, endpoint_key)
        expected = await counts(scene, kind, dry_run=True)
        job = await begin(scene, kind)
        while True:
            step = await scene.store.jobs.count(job.key, limit=3)
            scene = await stores.open()
            if step is None:
                break
        while True:
            step = await scene.store.jobs.work(job.key, limit=3, now=LATER)
            scene = await stores.open()
            assert step is not None
            if step.exhausted:
                break
        # The end is the same end, however often it is reached.
        step = await scene.store.jobs.work(job.key, limit=3, now=LATER)
        assert step is not None
        assert step.exhausted
        assert (step.job.total, step.job.done, step.job.skipped) == expected
        assert (await scene.total())["owed"] == 20

    async def test_what_changed_meanwhile_is_skipped(self, stores: Stores) -> None:
        """Also what changed so much that it is not even selected any more."""
        scene = await stores.open()
        owed = [await scene.owe(7) for _ in range(6)]
        job = await begin(scene, JobKind.CANCEL)
        assert (await scene.store.jobs.count(job.key, limit=9)) is not None
        await scene.settle(owed[0])
        await scene.settle(owed[3])
        await scene.store.jobs.work(job.key, limit=2, now=LATER)
        await scene.settle(owed[5])
        last = (await finish_work(scene, job))[-1].job
        assert (last.total, last.done, last.skipped) == (6, 3, 3)
        assert await scene.total() == {"owed": 6, "delivered": 3, "discarded:cancelled": 3}

    async def test_two_who_take_the_same_step_take_it_once(self, stores: Stores) -> None:
        scene = await stores.open()
        for _ in range(20):
            await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)
        await asyncio.gather(*(scene.store.jobs.count(job.key, limit=5) for _ in range(3)))
        while await scene.store.jobs.count(job.key, limit=5) is not None:
            pass
        await asyncio.gather(*(scene.store.jobs.work(job.key, limit=5, now=LATER) for _ in range(3)))
        last = (await finish_work(scene, job))[-1].job
        assert (last.total, last.done, last.skipped) == (20, 20, 0)
        assert await scene.total() == {"owed": 20, "discarded:cancelled": 20}
