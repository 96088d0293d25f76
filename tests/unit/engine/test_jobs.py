"""The runner of bulk jobs over a real store; the test plays the gateway, and hears what an engine would be told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.jobs import UNFINISHED, Job, JobEntry, JobKind, JobState
from posthouse.core.model import Lane
from posthouse.engine import jobs as engine_jobs
from posthouse.engine.jobs import JobRunner
from posthouse.store.open import open_store
from posthouse.store.protocol import JobStep
from posthouse.store.sqlite.store import SqliteStore
from posthouse.telemetry import Metrics
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.jobs import begin, one_of_each
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import RecordedHints


class WatchedRunner(JobRunner):
    """A runner that says whether it has nothing to do."""

    asleep = False

    async def _sleep(self, seconds: float) -> None:
        self.asleep = True
        await super()._sleep(seconds)
        self.asleep = False

    @property
    def is_quiet(self) -> bool:
        return self.asleep and not self._told


class Bench:
    """A store, and runners on it, one after the other."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.clock = ManualClock()
        self.hints = RecordedHints()
        self.metrics = Metrics()
        self.scene: Scene
        self.runner: WatchedRunner

    async def open(self) -> Scene:
        """Open the store, again if it is open, as a process that starts anew; the runner does not run yet."""
        self.scene = await self._stores.open()
        self.runner = WatchedRunner(self.scene.store.jobs, self.hints, self.clock, self.metrics)
        return self.scene

    async def job(self, job: Job) -> Job:
        found = await self.scene.store.jobs.job(job.key)
        assert found is not None
        return found

    async def decide(self, job: Job, state: JobState, **fields: Any) -> Job:
        """Decide about a job as the gateway does."""
        now = await self.job(job)
        trail = (*now.trail, JobEntry(self.clock.now_ms(), "ops", state))
        decided = replace(now, state=state, trail=trail, **fields)
        assert await self.scene.store.jobs.change(decided, expected=now.state) is not None
        self.runner.changed(job.key)
        return decided

    async def ended(self, job: Job) -> Job:
        """Wait until the job has ended."""
        found = await self.job(job)
        while found.state in UNFINISHED:
            await asyncio.sleep(0)
            found = await self.job(job)
        return found

    async def quiet(self, job: Job) -> Job:
        """The job when the runner has nothing more to do."""
        await self.until(lambda: self.runner.is_quiet)
        return await self.job(job)

    async def wake(self, job: Job, ms: int) -> Job:
        """Let time pass, and let the runner look at its clock; the job when there is nothing more to do."""
        self.clock.advance(ms)
        self.runner.changed(job.key)
        return await self.quiet(job)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - the runner signals nothing for it
            await asyncio.sleep(0)


async def turns(count: int) -> None:
    """Let everything that can run without time passing run."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    stores = Stores(lambda: open_store(tmp_path, clock=clock, commit_interval_ms=0))
    bench = Bench(stores)
    await bench.open()
    yield bench
    await bench.runner.stop()
    await stores.close()


async def test_a_job_is_counted_worked_and_completed(bench: Bench) -> None:
    owed = await one_of_each(bench.scene)
    job = await begin(bench.scene, JobKind.RETRY)
    bench.runner.start()
    await bench.ended(job)
    done = await bench.quiet(job)
    now = bench.clock.now_ms()
    assert (done.state, done.total, done.done, done.skipped) == (JobState.COMPLETED, 4, 4, 0)
    assert (done.started_at, done.finished_at, done.error) == (now, now, None)
    assert done.trail == (*job.trail, JobEntry(now, "posthouse", "complete"))
    assert bench.hints.dues == [(7, Lane.LIVE), (7, Lane.RETRY), (7, Lane.BACKLOG)]
    assert bench.hints.withdrawals == []
    assert bench.metrics.job_deliveries == {"retry": 4}
    assert bench.metrics.jobs_ended == {"completed": 1}
    assert (await bench.scene.record(owed[State.EXHAUSTED])).due_at == now


async def test_a_job_that_is_made_while_it_runs_begins_at_once(bench: Bench) -> None:
    bench.runner.start()
    await asyncio.sleep(0)
    await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL)
    bench.runner.changed(job.key)
    assert (await bench.ended(job)).done == 1
    assert len(bench.hints.withdrawals) == 1


async def test_a_lost_word_costs_time_and_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_jobs, "LOOK_SECONDS", 0.001)
    bench.runner.start()
    await turns(200)
    job = await begin(bench.scene, JobKind.CANCEL)
    assert (await bench.ended(job)).state is JobState.COMPLETED


async def test_jobs_go_on_in_the_next_life_with_exact_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after each step, whatever that step was."""
    monkeypatch.setattr(engine_jobs, "JOB_STEP_DELIVERIES_MAX", 3)
    for _ in range(4):
        await one_of_each(bench.scene)
    jobs = [
        await begin(bench.scene, kind, dry_run=dry)
        for kind in (JobKind.REPLAY, JobKind.CANCEL)
        for dry in (True, False)
    ]
    await begin(bench.scene, JobKind.PARK, endpoint_key=1)
    lives = 0
    while {(await bench.job(job)).state for job in jobs} & UNFINISHED:
        before = [await bench.job(job) for job in jobs]
        bench.runner.start()
        while [await bench.job(job) for job in jobs] == before:
            await turns(1)
        await bench.runner.stop()
        await bench.open()
        lives += 1
    assert lives > 10
    counts = [(job.total, job.done, job.skipped) for job in [await bench.job(job) for job in jobs]]
    assert counts[0] == counts[1] == (12, 12, 0)
    assert counts[2][0] == counts[2][1]
    assert (await bench.scene.total())["owed"] == 20


async def test_a_job_works_while_it_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step counts some more, and changes what is behind that: nothing has to be counted to the end first."""
    monkeypatch.setattr(engine_jobs, "JOB_COUNT_DELIVERIES_MAX", 2)
    for _ in range(9):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL)
    store, work = bench.scene.store.jobs, bench.scene.store.jobs.work
    steps: list[tuple[int | None, int, int]] = []

    async def noted(key: int, *, limit: int, now: int) -> JobStep | None:
        step = await work(key, limit=limit, now=now)
        assert step is not None
        steps.append((step.job.total, step.job.counted, step.job.done))
        return step

    store.work = noted  # type: ignore[method-assign]  # this store is the test's own
    bench.runner.start()
    assert (await bench.ended(job)).started_at == bench.clock.now_ms()
    assert steps == [(None, 2, 1), (None, 4, 3), (None, 6, 5), (None, 8, 7), (9, 9, 9)]


async def test_a_job_that_waits_for_its_rate_counts_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_jobs, "JOB_COUNT_DELIVERIES_MAX", 2)
    for _ in range(9):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="1/h")
    bench.runner.start()
    found = await bench.quiet(job)
    assert (found.total, found.counted, found.done) == (9, 9, 1)


async def test_a_rate_limits_what_is_changed(bench: Bench) -> None:
    """A quarter of a second's worth in one step; then it waits as long."""
    for _ in range(30):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="40/s")
    bench.runner.start()
    assert (await bench.quiet(job)).done == 10
    assert (await bench.wake(job, 249)).done == 10
    assert (await bench.wake(job, 1)).done == 20
    assert (await bench.wake(job, 250)).done == 30
    assert (await bench.wake(job, 250)).state is JobState.COMPLETED


async def test_a_rate_is_changed_while_it_waits(bench: Bench) -> None:
    for _ in range(6):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="1/h")
    bench.runner.start()
    assert (await bench.quiet(job)).done == 1
    await bench.decide(job, JobState.RUNNING, rate="2/h")
    assert (await bench.quiet(job)).done == 1
    assert (await bench.wake(job, 1_800_000)).done == 2
    await bench.decide(job, JobState.RUNNING, rate=None)
    assert (await bench.ended(job)).done == 6


async def test_a_dry_run_knows_no_rate(bench: Bench) -> None:
    for _ in range(6):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="1/h", dry_run=True)
    bench.runner.start()
    assert (await bench.ended(job)).done == 6
    assert bench.metrics.job_deliveries["cancel"] == 0


async def test_a_paused_job_stands_still_until_it_is_resumed(bench: Bench) -> None:
    for _ in range(4):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="1/m")
    bench.runner.start()
    assert (await bench.quiet(job)).done == 1
    await bench.decide(job, JobState.PAUSED)
    assert (await bench.wake(job, 600_000)).done == 1
    assert gauges(bench) == (0, 1)
    await bench.decide(job, JobState.RUNNING)
    assert (await bench.quiet(job)).done == 2
    assert gauges(bench) == (1, 0)
    await bench.decide(job, JobState.CANCELLED)
    assert (await bench.wake(job, 600_000)).done == 2
    assert gauges(bench) == (0, 0)
    assert bench.metrics.jobs_ended == {"cancelled": 1}


def gauges(bench: Bench) -> tuple[float, float]:
    """Jobs that run, and that are paused, as the metrics say."""
    lines = dict(line.rsplit(" ", 1) for line in bench.metrics.render().decode().splitlines() if line[0] != "#")
    return float(lines["posthouse_jobs_running"]), float(lines["posthouse_jobs_paused"])


async def test_what_is_to_be_parked_is_held_at_once_and_as_long_as_the_job_works(bench: Bench) -> None:
    for _ in range(3):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.PARK, rate="1/m", endpoint_key=7)
    await begin(bench.scene, JobKind.PARK, rate="1/m", dry_run=True)
    bench.runner.start()
    await bench.quiet(job)
    assert bench.hints.backlogs == {job.key: job.filter}
    await bench.decide(job, JobState.PAUSED)
    await bench.quiet(job)
    assert bench.hints.backlogs == {}
    await bench.decide(job, JobState.RUNNING, rate=None)
    assert (await bench.ended(job)).done == 3
    await bench.quiet(job)
    assert bench.hints.backlogs == {}
    assert len(bench.hints.withdrawals) == 3


async def test_a_fault_ends_its_job_and_no_other(bench: Bench) -> None:
    """The trail and the job say what it was; what it has done stays done."""
    await bench.scene.owe(7)
    bad = await begin(bench.scene, JobKind.CANCEL)
    good = await begin(bench.scene, JobKind.PARK, endpoint_key=8)
    store = bench.scene.store.jobs
    work = store.work

    async def faulty(key: int, *, limit: int, now: int) -> JobStep | None:
        if key == bad.key:
            raise KeyError("lost")
        return await work(key, limit=limit, now=now)

    store.work = faulty  # type: ignore[method-assign]  # this store is the test's own
    bench.runner.start()
    assert (await bench.ended(good)).state is JobState.COMPLETED
    failed = await bench.ended(bad)
    assert (failed.state, failed.error) == (JobState.FAILED, "KeyError: 'lost'")
    assert (failed.trail[-1].by, failed.trail[-1].what) == ("posthouse", "fail")
    await bench.until(lambda: bench.metrics.jobs_ended == {"completed": 1, "failed": 1})


async def test_a_rate_that_nobody_can_read_ends_its_job(bench: Bench) -> None:
    """It was not written by the gateway."""
    job = await begin(bench.scene, JobKind.CANCEL, rate="fast")
    bench.runner.start()
    failed = await bench.ended(job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "A rate is" in failed.error


async def test_a_store_that_is_not_available_is_asked_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_jobs, "AGAIN_SECONDS", 0.001)
    await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL)
    store = bench.scene.store.jobs
    originals: dict[str, Any] = {name: getattr(store, name) for name in ("jobs", "job", "count", "work", "change")}

    def absent_at_first(name: str) -> Callable[..., Any]:
        refusals = 2

        async def call(*arguments: Any, **options: Any) -> Any:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise StoreUnavailable
            return await originals[name](*arguments, **options)

        return call

    for name in originals:
        monkeypatch.setattr(store, name, absent_at_first(name))
    bench.runner.start()
    await bench.until(lambda: bench.metrics.jobs_ended == {"completed": 1})
    assert (await bench.job(job)).done == 1


async def test_somebody_may_decide_while_the_end_is_written(bench: Bench) -> None:
    """Then the job is looked at again, and ends as was decided last."""
    await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL)
    store = bench.scene.store.jobs
    change = store.change
    decided: list[Job] = []

    async def overtaken(job: Job, *, expected: JobState) -> Job | None:
        if job.state is JobState.COMPLETED and not decided:
            decided.append(job)
            store.change = change  # type: ignore[method-assign]  # this store is the test's own
            await bench.decide(job, JobState.PAUSED)
        return await change(job, expected=expected)

    store.change = overtaken  # type: ignore[method-assign]  # this store is the test's own
    bench.runner.start()
    await bench.until(lambda: bool(decided))
    assert (await bench.quiet(job)).state is JobState.PAUSED
    await bench.decide(job, JobState.RUNNING)
    ended = await bench.ended(job)
    assert (ended.state, ended.done, ended.total) == (JobState.COMPLETED, 1, 1)
    assert [entry.what for entry in ended.trail] == ["created", "paused", "running", "complete"]


async def test_its_pace_is_known_while_it_runs(bench: Bench) -> None:
    for _ in range(12):
        await bench.scene.owe(7)
    job = await begin(bench.scene, JobKind.CANCEL, rate="8/s")
    bench.runner.start()
    assert bench.runner.pace(job.key) is None
    await bench.quiet(job)
    for _ in range(4):
        assert bench.runner.pace(job.key) is None
        await bench.wake(job, 250)
    assert bench.runner.pace(job.key) == pytest.approx(8, rel=0.5)
    assert (await bench.wake(job, 250)).state is JobState.COMPLETED
    assert bench.runner.pace(job.key) is None


async def test_stopping_twice_is_stopping_once(bench: Bench) -> None:
    await bench.runner.stop()
    bench.runner.start()
    await bench.runner.stop()
    await bench.runner.stop()


async def test_a_fault_of_the_loop_ends_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was not written by us keeps others waiting at most as long as it is there."""
    monkeypatch.setattr(engine_jobs, "AGAIN_SECONDS", 0.001)
    job = await begin(bench.scene, JobKind.CANCEL)
    assert isinstance(bench.scene.store, SqliteStore)
    database: apsw.Connection = bench.scene.store._writer._connection
    database.execute("UPDATE jobs SET trail = '1'")
    bench.runner.start()
    await turns(200)
    database.execute("UPDATE jobs SET trail = '[]'")
    assert (await bench.ended(job)).state is JobState.COMPLETED
