"""Bulk jobs: made, watched, paused, resumed, cancelled. The engine does their work, step by step."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from posthouse.core import limits
from posthouse.core.errors import Conflict, NotFound
from posthouse.core.ids import ENDPOINT, JOB, parse_id
from posthouse.core.jobs import (
    UNFINISHED,
    Job,
    JobEntry,
    JobFilter,
    JobProgress,
    JobSignal,
    JobState,
    parse_older_than,
    progress_of,
    step_job,
)
from posthouse.core.model import Environment
from posthouse.core.ports import Clock
from posthouse.core.rate import parse_rate
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.events import Events
from posthouse.gateway.hints import Hints
from posthouse.gateway.job_input import JobSpec, check_spec
from posthouse.gateway.principal import Principal
from posthouse.gateway.repeats import KeyedLocks, Repeats, gone
from posthouse.gateway.sources import source_of
from posthouse.store.protocol import Store

CREATED: Final = "created"
SOMEBODY: Final = "a revoked key"  #: whose name nobody knows any more
_TRIES_MAX: Final = 16


class JobDetail(msgspec.Struct, frozen=True):
    """A job and how far it is."""

    job: Job
    progress: JobProgress


class Jobs:
    """Everything that people do with bulk jobs."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        hints: Hints,
        events: Events,
        *,
        clock: Clock,
        new_key: Callable[[], int],
    ) -> None:
        self._jobs = store.jobs
        self._store = store
        self._catalogue = catalogue
        self._hints = hints
        self._events = events
        self._clock = clock
        self._new_key = new_key
        self._repeats = Repeats(store.catalogue)
        self._locks = KeyedLocks()
        self._adding = asyncio.Lock()

    # -- reading ------------------------------------------------------------------------------

    async def get(self, environment: Environment, job_id: str) -> JobDetail:
        """The job with this id. Raises NotFound, also for one of another environment."""
        return self._detail(await self._find(environment, job_id))

    async def page(
        self, environment: Environment, *, state: JobState | None, after: int | None, limit: int
    ) -> list[JobDetail]:
        """Up to ``limit`` jobs, newest first, from the one behind the key ``after`` on."""
        found = await self._jobs.jobs(environment, state=state, after=after, limit=limit)
        return [self._detail(job) for job in found]

    # -- writing ------------------------------------------------------------------------------

    async def create(self, principal: Principal, spec: JobSpec, *, idempotency_key: str | None = None) -> JobDetail:
        """A new job; it begins at once. It looks at the deliveries of events that were accepted before it was made.

        Raises InvalidInput; NotFound for an endpoint, a source, an event or a tenant that does not exist;
        IdempotencyConflict; and Conflict for one unfinished job too many. Then nothing was stored.
        """
        check_spec(spec)
        environment = principal.environment
        request = ("job", spec)
        async with self._repeats.lock(environment, idempotency_key):
            made = await self._repeats.find(environment, idempotency_key, request)
            if made is not None:
                job = await self._jobs.job(made.ref)
                if job is None:
                    raise gone("a job")
                return self._detail(job)
            async with self._adding:
                await self._check_room()
                job = await self._make(principal, spec)
                remember = self._repeats.remember(environment, idempotency_key, request, job.key, None)
                await self._jobs.add(job, remember=remember)
            self._hints.job_changed(job.key)
            return self._detail(job)

    async def pause(self, principal: Principal, job_id: str) -> JobDetail:
        """Hold the job where it is. Idempotent. Raises NotFound, and Conflict if it has ended."""
        return await self._signal(principal, job_id, JobSignal.PAUSE)

    async def resume(self, principal: Principal, job_id: str) -> JobDetail:
        """Let the job go on where it was. Idempotent. Raises NotFound, and Conflict if it has ended."""
        return await self._signal(principal, job_id, JobSignal.RESUME)

    async def cancel(self, principal: Principal, job_id: str) -> JobDetail:
        """End the job; what it has done stays done. Idempotent. Raises NotFound, and Conflict if it has ended."""
        return await self._signal(principal, job_id, JobSignal.CANCEL)

    async def set_rate(self, principal: Principal, job_id: str, rate: str | None) -> JobDetail:
        """Change how many deliveries the job changes at most, from its next step on; None: as fast as others allow.

        Raises NotFound, InvalidInput, and Conflict if the job has ended.
        """
        text = None if rate is None else parse_rate(rate).text

        def decide(job: Job) -> Job:
            if job.state not in UNFINISHED:
                raise Conflict(f"A job that is {job.state} has no rate any more.", hint="Make a new job.")
            if job.rate == text:
                return job
            return self._noted(replace(job, rate=text), principal, "no rate" if text is None else f"rate {text}")

        return await self._decide(principal.environment, job_id, decide)

    # -- inside -------------------------------------------------------------------------------

    async def _signal(self, principal: Principal, job_id: str, signal: JobSignal) -> JobDetail:
        def decide(job: Job) -> Job:
            state = step_job(job.state, signal)
            if state is job.state:
                return job
            finished_at = None if state in UNFINISHED else self._clock.now_ms()
            return self._noted(replace(job, state=state, finished_at=finished_at), principal, signal)

        return await self._decide(principal.environment, job_id, decide)

    async def _decide(self, environment: Environment, job_id: str, decide: Callable[[Job], Job]) -> JobDetail:
        """Write what ``decide`` makes of the job as it is; again, if somebody else was faster."""
        async with self._locks.of((environment, job_id)):
            for _ in range(_TRIES_MAX):
                job = await self._find(environment, job_id)
                decided = decide(job)
                if decided is job:
                    return self._detail(job)
                written = await self._jobs.change(decided, expected=job.state)
                if written is not None:
                    self._hints.job_changed(written.key)
                    return self._detail(written)
        raise Conflict("The job keeps changing.", hint="Read it, and decide again.")

    def _noted(self, job: Job, principal: Principal, what: str) -> Job:
        if len(job.trail) >= limits.JOB_TRAIL_MAX and job.state is not JobState.CANCELLED:
            raise Conflict(
                f"The job's trail has {limits.JOB_TRAIL_MAX:,} entries already.", hint="Cancel it, and make a new job."
            )
        return replace(job, trail=(*job.trail, JobEntry(self._clock.now_ms(), self._name_of(principal), what)))

    def _name_of(self, principal: Principal) -> str:
        api_key = self._catalogue.api_key(principal.key)
        return SOMEBODY if api_key is None else api_key.name

    async def _make(self, principal: Principal, spec: JobSpec) -> Job:
        now = self._clock.now_ms()
        wanted = await self._filter(principal.environment, spec, now)
        # No event that this node has accepted can have a key as great as the job's own.
        key = self._new_key()
        return Job(
            key=key,
            environment=principal.environment,
            kind=spec.kind,
            filter=replace(wanted, newest=max(key, await self._store.admin.key_floor())),
            mode=spec.mode,
            dry_run=spec.dry_run,
            rate=None if spec.rate is None else parse_rate(spec.rate).text,
            created_at=now,
            trail=(JobEntry(now, self._name_of(principal), CREATED),),
        )

    async def _filter(self, environment: Environment, spec: JobSpec, now: int) -> JobFilter:
        """What the spec selects, with keys for ids."""
        if spec.tenant is not None and self._catalogue.tenant(environment, spec.tenant) is None:
            raise NotFound("There is no tenant with this id.")
        source = None if spec.source_id is None else source_of(self._catalogue, environment, spec.source_id)
        event_key = None
        if spec.event_id is not None:
            event_key = (await self._events.find(environment, spec.event_id, spec.tenant)).event.key
        return JobFilter(
            newest=0,
            tenant=spec.tenant,
            endpoint_key=None if spec.endpoint_id is None else await self._endpoint_key(environment, spec.endpoint_id),
            source_key=None if source is None else source.key,
            event_key=event_key,
            types=spec.types,
            states=spec.states,
            reasons=spec.reasons,
            ordering_key=spec.ordering_key,
            since=spec.since,
            until=spec.until,
            older_than=None if spec.older_than is None else parse_older_than(spec.older_than, now, "filter.older_than"),
        )

    async def _endpoint_key(self, environment: Environment, endpoint_id: str) -> int:
        key = parse_id(ENDPOINT, endpoint_id)
        endpoint = None if key is None else self._catalogue.endpoint(key)
        if endpoint is None or endpoint.environment is not environment:
            raise NotFound("There is no endpoint with this id.")
        return endpoint.key

    async def _check_room(self) -> None:
        bound = limits.JOBS_UNFINISHED_MAX
        unfinished = [await self._jobs.jobs(None, state=state, limit=bound) for state in sorted(UNFINISHED)]
        if sum(map(len, unfinished)) >= bound:
            raise Conflict(
                f"At most {bound} jobs may be unfinished.", hint="Wait for one to end, or cancel one that is paused."
            )

    async def _find(self, environment: Environment, job_id: str) -> Job:
        key = parse_id(JOB, job_id)
        job = None if key is None else await self._jobs.job(key)
        if job is None or job.environment is not environment:
            raise NotFound("There is no job with this id.")
        return job

    def _detail(self, job: Job) -> JobDetail:
        return JobDetail(job, progress_of(job, self._hints.job_pace(job.key)))
