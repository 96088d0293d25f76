"""Bulk jobs: their rows, and their steps. What a step changes and how far the job is are one transaction.

The candidates are found in a snapshot of their own; in the transaction each is looked at again, while nobody else can
change it, and one that changed meanwhile is skipped. Whoever takes a step holds the job's row: so each is taken once.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from posthouse.core.jobs import REOPENING, UNFINISHED, Job, JobKind, JobState
from posthouse.core.model import Environment, Lane, slot_of
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.candidates import find, superseded
from posthouse.store.postgres.catalogue import keep_in_mind
from posthouse.store.postgres.discarding import discard
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import JobStep, Remembered
from posthouse.store.shared.candidates import Candidate, Found, Place
from posthouse.store.shared.job_steps import (
    REASON_CANCELLED,
    Changed,
    OpenNow,
    SettledNow,
    change_told,
    counts,
    decided_row,
    job_of,
    kept,
    may_change,
    moved_row,
    newest_to_work_on,
    row_of,
    step_counted,
    step_worked,
)
from posthouse.store.shared.spans import INTEGER_MAX


class PostgresJobs:
    """The jobs facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lanes = lanes
        self._readers = readers

    async def add(self, job: Job, *, remember: Remembered | None = None) -> None:
        """Store a new job; see the protocol.

        Raises:
            IdempotencyConflict: ``remember`` names a key that stands for another thing by now.
        """

        async def add(t: Transaction) -> None:
            await keep_in_mind(t, remember)
            await t.count("put_job", *_told(row_of(job)))

        await self._lanes.misc.transact(add)

    async def job(self, key: int) -> Job | None:
        """One job; see the protocol."""
        rows = await self._readers.quick("one_job", key)
        return job_of(tuple(rows[0])) if rows else None

    async def jobs(
        self, environment: Environment | None, *, state: JobState | None = None, after: int | None = None, limit: int
    ) -> list[Job]:
        """Jobs, newest first; see the protocol."""
        name = "jobs_unfinished_newest_first" if state in UNFINISHED else "jobs_newest_first"
        rows = await self._readers.quick(name, INTEGER_MAX if after is None else after, environment, state, limit)
        return [job_of(tuple(row)) for row in rows]

    async def change(self, job: Job, *, expected: JobState) -> Job | None:
        """Write what was decided about a job; see the protocol."""

        async def change(t: Transaction) -> Job | None:
            if not may_change(await _find(t, job.key), job, expected):
                return None
            await t.count("change_job", job.key, *_told(decided_row(job)))
            return await _find(t, job.key)

        return await self._lanes.misc.transact(change, Guards(jobs=(job.key,)))

    async def count(self, key: int, *, limit: int) -> JobStep | None:
        """Count more candidates; see the protocol."""
        seen = await self.job(key)
        if seen is None or not counts(seen):
            return None
        found = await self._readers.snapshot(lambda t: find(t, seen, after=seen.counted_to, limit=limit))

        async def count(t: Transaction) -> JobStep | None:
            job = await _find(t, key)
            if job is None or not counts(job):
                return None
            step = step_counted(job, seen, found)
            await t.count("move_job", key, *moved_row(step.job))
            return step

        return await self._lanes.misc.transact(count, Guards(jobs=(key,)))

    async def work(self, key: int, *, limit: int, now: int) -> JobStep | None:
        """Change the next deliveries; see the protocol."""
        seen = await self.job(key)
        if seen is None or seen.state is not JobState.RUNNING:
            return None

        async def look(t: Transaction) -> tuple[Found, list[Candidate]]:
            found = await find(t, seen, after=seen.cursor, limit=limit, newest=newest_to_work_on(seen))
            left_out = await superseded(t, seen, found.candidates)
            return found, [c for c in found.candidates if (c.event_key, c.endpoint_key) not in left_out]

        found, candidates = await self._readers.snapshot(look)

        async def work(t: Transaction) -> JobStep | None:
            job = await _find(t, key)
            if job is None or job.state is not JobState.RUNNING:
                return None
            if job.cursor != seen.cursor:
                return JobStep(job)  # somebody else took this step
            step = step_worked(job, seen, found, await _change(t, job, candidates, now))
            await t.count("move_job", key, *moved_row(step.job))
            return step

        return await self._lanes.misc.transact(work, _guards(seen, candidates))


def _guards(job: Job, candidates: Sequence[Candidate]) -> Guards:
    """What to hold while these are changed."""
    if job.dry_run:
        return Guards(jobs=(job.key,))
    return Guards(
        # Nothing may be opened for an endpoint that is being deleted, or that begins to keep order meanwhile.
        catalogue=False if job.kind in REOPENING else None,
        jobs=(job.key,),
        orders=tuple({(c.endpoint_key, c.ordering_key) for c in candidates if c.ordering_key is not None}),
    )


async def _change(t: Transaction, job: Job, candidates: Sequence[Candidate], now: int) -> Changed:
    """Change those that are still as they were selected."""
    opened = [(c.event_key, c.endpoint_key) for c in candidates if not c.round]
    settled = [c[:3] for c in candidates if c.round]
    if settled and not job.dry_run:
        await t.rows("begin_reopening")
    if opened and not job.dry_run:
        await t.rows("hold_candidates", *columns(opened, 2))
    places, still_open = kept(
        job,
        candidates,
        [OpenNow(*row) for row in await t.rows("candidates_still_open", *columns(opened, 2))] if opened else [],
        [SettledNow(*row) for row in await t.rows("candidates_still_settled", *columns(settled, 3))] if settled else [],
    )
    if job.dry_run or not places:
        return Changed(len(places))
    match job.kind:
        case JobKind.RETRY | JobKind.REPLAY:
            return Changed(len(places), await _open_again(t, places, candidates, now))
        case JobKind.CANCEL:
            await discard(t, places, reason=REASON_CANCELLED, now=now)
        case JobKind.PARK:
            await t.count("park_candidates", *columns(places, 2))
        case JobKind.DRAIN:
            await t.count("drain_candidates", *columns(places, 2))
        case JobKind.PROMOTE:
            await t.count("promote_candidates", *columns(places, 2), now)
    return change_told(job, places, still_open, candidates)


async def _open_again(
    t: Transaction, places: Sequence[Place], candidates: Sequence[Candidate], now: int
) -> frozenset[tuple[int, Lane]]:
    """Open those of ``places`` that are settled and hasten the others, each as ``WorkFacet.retry`` does.

    In ascending order of events, each behind the one before it. Where they wait now.
    """
    lanes: set[tuple[int, Lane]] = set()
    settled = {(c.event_key, c.endpoint_key): c for c in candidates if c.round}
    hastened = [place for place in places if place not in settled]
    if hastened:
        rows = await t.rows("hasten_candidates", *columns(hastened, 2), now)
        lanes |= {(endpoint_key, Lane(lane)) for endpoint_key, lane in rows}
    reopened = [settled[place] for place in places if place in settled]
    if reopened:
        event_keys, endpoint_keys, rounds, _, _, ordering_keys = columns(reopened, len(Candidate._fields))
        await t.count("note_reopened", event_keys, endpoint_keys, rounds, now)
        slots = [slot_of(key) for key in endpoint_keys]
        firsts = _firsts(zip(endpoint_keys, ordering_keys, strict=True))
        places_given = (event_keys, endpoint_keys, rounds, slots, ordering_keys, firsts)
        await t.count("reopen_candidates", *places_given, now, Lane.BACKLOG)
        lanes |= {(endpoint_key, Lane.BACKLOG) for endpoint_key in endpoint_keys}
    return frozenset(lanes)


def _firsts(keys: Iterable[tuple[int, str | None]]) -> list[bool]:
    """Of each whether it is the first like it."""
    known: set[tuple[int, str | None]] = set()
    firsts = []
    for key in keys:
        firsts.append(key not in known)
        known.add(key)
    return firsts


async def _find(t: Transaction, key: int) -> Job | None:
    rows = await t.rows("one_job", key)
    return job_of(tuple(rows[0])) if rows else None


def _told(values: Sequence[Any]) -> list[Any]:
    """Values of a job with what people wrote as it can be stored."""
    return [storable(value) if type(value) is str else value for value in values]
