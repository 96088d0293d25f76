"""Running bulk jobs: one step at a time for each, jobs in turn, slowly enough that deliveries keep their latency.

What a job has done is in the store and nowhere else. So a node can end at any moment, and the next one goes on from the
job's cursor. A job is worked on by the node that owns its key's slot; what it holds is held by all of them.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from msgspec.structs import replace

from posthouse.core.errors import InvalidInput, StoreUnavailable
from posthouse.core.ids import JOB, make_id
from posthouse.core.jobs import Job, JobEntry, JobKind, JobSignal, JobState, Pace, step_job
from posthouse.core.limits import (
    EXCHANGE_ERROR_CHARS_MAX,
    JOB_COUNT_DELIVERIES_MAX,
    JOB_STEP_DELIVERIES_MAX,
    JOBS_UNFINISHED_MAX,
)
from posthouse.core.ports import Clock
from posthouse.core.rate import Bucket, parse_rate
from posthouse.gateway.hints import Hints
from posthouse.store.protocol import JobsFacet, JobStep
from posthouse.telemetry import Log, Metrics, log

LOOK_SECONDS: Final = 2.0  #: a job that nobody told of is found, and what it holds is held everywhere, after this
PAUSE_SECONDS_MIN: Final = 0.001  #: after each step; else as long as the step took
AGAIN_SECONDS: Final = 1.0  #: after the store was not available
NAP_SECONDS_MAX: Final = 1.0  #: between two looks at a job that waits for its rate
_NAP_SECONDS_MIN: Final = 0.001  # sums of seconds are not exact, and a loop may call a hair too early
STEP_SECONDS_OF_RATE: Final = 0.25  #: what one step changes at most, of a job with a rate

NODE: Final = "posthouse"  #: who decided, in a trail, where no person did


class _Run:
    """A job that runs, as this node knows it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.pace = Pace()
        self.verdict: tuple[JobSignal, str | None] | None = None  # how it ended, if that is not written yet
        self._bucket: Bucket | None = None

    def update(self, job: Job, now: float) -> None:
        """This is the job as it is now."""
        self.job = job
        if job.rate is None or job.dry_run:
            self._bucket = None
            return
        per_second = parse_rate(job.rate).per_second
        if self._bucket is None:
            self._bucket = Bucket(per_second, now=now)
        elif self._bucket.per_second != per_second:
            self._bucket.change(per_second, now=now)

    def ready_at(self) -> float:
        """When its next step may begin, monotonic seconds."""
        return 0.0 if self.job.total is None else self.may_change_at()

    def may_change_at(self) -> float:
        """When its rate lets it change something, monotonic seconds."""
        return 0.0 if self._bucket is None else self._bucket.ready_at()

    def limit(self) -> int:
        """How many deliveries the next step may change."""
        if self._bucket is None:
            return JOB_STEP_DELIVERIES_MAX
        return min(max(int(self._bucket.per_second * STEP_SECONDS_OF_RATE), 1), JOB_STEP_DELIVERIES_MAX)

    def note_counted(self, step: JobStep, now: float) -> None:
        """Take in what a step counted."""
        self.job = job = step.job
        if job.total is None:
            self.pace.note(now, job.counted)
        else:
            self.pace = Pace()

    def note_worked(self, step: JobStep, now: float) -> int:
        """Take in what a step did; how many deliveries it changed."""
        before, job = self.job, step.job
        self.job = job
        if job.total is not None:
            self.pace.note(now, job.done + job.skipped)
        changed = 0 if job.dry_run else job.done - before.done
        if self._bucket is not None and changed:
            self._bucket.take(now, changed)
        return changed


class JobRunner:
    """Works on every job that runs and is this node's, as ``is_ours(key)`` says.

    ``hints`` hears what a step has changed, and what jobs hold, of whatever node they are; the engine.
    """

    def __init__(
        self,
        jobs: JobsFacet,
        hints: Hints,
        clock: Clock,
        metrics: Metrics,
        *,
        is_ours: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._jobs = jobs
        self._hints = hints
        self._is_ours = is_ours
        self._clock = clock
        self._metrics = metrics
        self._runs: dict[int, _Run] = {}
        self._paused: set[int] = set()
        self._holding: set[int] = set()  # jobs, also of other nodes, that hold the backlog of endpoints
        self._told: set[int] = set()
        self._look_at = 0.0  # by the loop's clock
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.gauge("jobs_running", lambda: len(self._runs))
        metrics.gauge("jobs_paused", lambda: sum(map(self._is_ours, self._paused)))

    def start(self) -> None:
        """Begin: go on with every job that an earlier life left running."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take no further step; one that is being written is waited for by the store. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def changed(self, job_key: int) -> None:
        """This job was made, or somebody decided something about it."""
        self._told.add(job_key)
        self._wake.set()

    def look(self) -> None:
        """Other jobs may be this node's from now on."""
        self._look_at = 0.0
        self._wake.set()

    def pace(self, job_key: int) -> float | None:
        """Deliveries a second that this job goes through at present; None: it does not run, or has only begun."""
        run = self._runs.get(job_key)
        return None if run is None else run.pace.per_second(self._clock.monotonic())

    # -- the loop -------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            nap = AGAIN_SECONDS
            try:
                if loop.time() >= self._look_at:
                    self._look_at = loop.time() + LOOK_SECONDS
                    await self._look()
                await self._hear()
                for run in list(self._runs.values()):
                    if self._is_ours(run.job.key) and run.ready_at() <= self._clock.monotonic():
                        await self._turn(run)
                nap = self._nap(self._look_at - loop.time())
            except StoreUnavailable:
                pass  # the store tells whoever must know; it may be well again later
            except Exception as error:  # noqa: BLE001 - jobs must not end because of one
                log(Log.LOOP_FAILED, exc_info=error, loop="jobs")
            if nap > 0:
                await self._sleep(max(nap, _NAP_SECONDS_MIN))

    def _nap(self, until_look: float) -> float:
        """How long there is nothing to do, unless somebody tells of a job."""
        if self._told:
            return 0.0
        now = self._clock.monotonic()
        waits = [min(r.ready_at() - now, NAP_SECONDS_MAX) for r in self._runs.values() if self._is_ours(r.job.key)]
        return max(min([*waits, until_look]), 0.0)

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Find every unfinished job."""
        running = await self._jobs.jobs(None, state=JobState.RUNNING, limit=JOBS_UNFINISHED_MAX)
        paused = await self._jobs.jobs(None, state=JobState.PAUSED, limit=JOBS_UNFINISHED_MAX)
        keys = {job.key for job in running}
        self._told |= {key for key in keys | self._runs.keys() if (key in self._runs) != self._works_on(key, keys)}
        self._told |= {job.key for job in running if _holds(job)} ^ self._holding
        self._told |= self._paused ^ {job.key for job in paused}

    async def _hear(self) -> None:
        """Learn how those jobs are that somebody told of."""
        for key in sorted(self._told):
            job = await self._jobs.job(key)
            self._told.discard(key)
            if job is not None:
                self._adopt(job)

    def _works_on(self, key: int, running: Collection[int]) -> bool:
        return key in running and self._is_ours(key)

    def _hold(self, job: Job) -> None:
        """Hold what the job moves, or let it go on."""
        if job.key not in self._holding and _holds(job):
            self._holding.add(job.key)
            self._hints.hold_backlog(job.key, job.filter)
        elif job.key in self._holding and not _holds(job):
            self._holding.remove(job.key)
            self._hints.release_backlog(job.key)

    def _adopt(self, job: Job) -> None:
        """Run the job, or stop running it, as its state says and whose it is."""
        known = self._is_ours(job.key) and (job.key in self._paused or job.key in self._runs)
        self._paused.discard(job.key)
        self._hold(job)
        if job.state is not JobState.RUNNING:
            self._runs.pop(job.key, None)
            if job.state is JobState.PAUSED:
                self._paused.add(job.key)
            elif known:
                self._metrics.jobs_ended[job.state] += 1
                log(Log.JOB_ENDED, job=make_id(JOB, job.key), state=job.state, done=job.done, skipped=job.skipped)
            return
        if not self._is_ours(job.key):
            self._runs.pop(job.key, None)
            return
        run = self._runs.get(job.key)
        if run is None:
            run = self._runs[job.key] = _Run(job)
        try:
            run.update(job, self._clock.monotonic())
        except InvalidInput as error:  # it was not written by us
            run.verdict = (JobSignal.FAIL, error.message)

    # -- one job --------------------------------------------------------------------------------

    async def _turn(self, run: _Run) -> None:
        """One step of one job, and as long a pause. What it raises, but for the store's absence, ends the job."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            if run.verdict is None:
                await self._step(run)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this one job
            log(Log.JOB_FAILED, exc_info=error, job=make_id(JOB, run.job.key))
            run.verdict = (JobSignal.FAIL, f"{type(error).__name__}: {error}"[:EXCHANGE_ERROR_CHARS_MAX])
        if run.verdict is not None:
            await self._end(run, *run.verdict)
        await asyncio.sleep(max(loop.time() - started, PAUSE_SECONDS_MIN))

    async def _step(self, run: _Run) -> None:
        """Count more, and work on what is counted: what a job is for begins at once, however much it selects."""
        key, now = run.job.key, self._clock.now_ms()
        if run.job.total is None:
            step = await self._jobs.count(key, limit=JOB_COUNT_DELIVERIES_MAX)
            if step is None:
                self._told.add(key)  # somebody decided otherwise meanwhile
                return
            run.note_counted(step, self._clock.monotonic())
        if run.may_change_at() > self._clock.monotonic():
            return
        if run.job.started_at is None:
            await self._begin(run, now)
        step = await self._jobs.work(key, limit=run.limit(), now=now)
        if step is None:
            self._told.add(key)
            return
        changed = run.note_worked(step, self._clock.monotonic())
        self._metrics.job_deliveries[run.job.kind] += changed
        for event_key, endpoint_key in step.withdrawn:
            self._hints.withdrawn(event_key, endpoint_key)
        for endpoint_key, lane in step.due:
            self._hints.due(endpoint_key, lane)
        if step.exhausted:
            run.verdict = (JobSignal.COMPLETE, None)

    async def _begin(self, run: _Run, now: int) -> None:
        """Note when the work began. Somebody else's decision goes first; the next step tells of it."""
        job = await self._jobs.change(replace(run.job, started_at=now), expected=JobState.RUNNING)
        if job is not None:
            run.job = job
        else:
            self._told.add(run.job.key)

    async def _end(self, run: _Run, signal: JobSignal, error: str | None) -> None:
        """Write how the job ended, unless somebody decided about it meanwhile: then look at it again first."""
        job, now = run.job, self._clock.now_ms()
        ended = replace(
            job,
            state=step_job(JobState.RUNNING, signal),
            error=error,
            finished_at=now,
            trail=(*job.trail, JobEntry(now, NODE, signal)),
        )
        written = await self._jobs.change(ended, expected=JobState.RUNNING)
        if written is None:
            self._told.add(job.key)
        else:
            self._adopt(written)


def _holds(job: Job) -> bool:
    """Whether the job holds the backlog of its endpoints."""
    return job.state is JobState.RUNNING and job.kind is JobKind.PARK and not job.dry_run
