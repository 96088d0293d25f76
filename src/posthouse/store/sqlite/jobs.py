"""Bulk jobs: their rows, and their steps. What a step changes and how far the job is are one transaction.

The candidates are found off the loop, in a snapshot of their own; inside the transaction each is looked at again, and
one that changed meanwhile is skipped.
"""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from posthouse.core.errors import IdempotencyConflict
from posthouse.core.jobs import REOPENING, UNFINISHED, Job, JobKind, JobState
from posthouse.core.model import Environment, Lane
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
from posthouse.store.sqlite.candidates import find, superseded
from posthouse.store.sqlite.discarding import discard
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.reopening import retry
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_CHANGE: Final = SQL["change_job"]
_DRAIN: Final = SQL["drain_obligation"]
_MOVE: Final = SQL["move_job"]
_NEWEST_FIRST: Final = SQL["jobs_newest_first"]
_ONE: Final = SQL["one_job"]
_PARK: Final = SQL["park_obligation"]
_PROMOTE: Final = SQL["promote_obligation"]
_PUT: Final = SQL["put_job"]
_RECALL: Final = SQL["recall"]
_REMEMBER: Final = SQL["remember"]
_STILL_OPEN: Final = SQL["candidates_still_open"]
_STILL_SETTLED: Final = SQL["candidates_still_settled"]
_UNFINISHED: Final = SQL["jobs_unfinished_newest_first"]

_SLICE: Final = 100  # deliveries changed before other work gets its turn

_OPEN_NOW: Final = msgspec.json.Decoder(list[OpenNow])
_SETTLED_NOW: Final = msgspec.json.Decoder(list[SettledNow])


class SqliteJobs:
    """The jobs facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, job: Job, *, remember: Remembered | None = None) -> None:
        """Store a new job; see the protocol.

        Raises:
            IdempotencyConflict: ``remember`` names a key that stands for another thing by now.
        """
        await self._writer.submit(lambda connection: _add(connection, job, remember))

    async def job(self, key: int) -> Job | None:
        """One job; see the protocol."""
        return await self._readers.read(lambda connection: _find(connection, key))

    async def jobs(
        self, environment: Environment | None, *, state: JobState | None = None, after: int | None = None, limit: int
    ) -> list[Job]:
        """Jobs, newest first; see the protocol."""
        statement = _UNFINISHED if state in UNFINISHED else _NEWEST_FIRST
        bindings = {
            "environment": environment,
            "state": state,
            "after": INTEGER_MAX if after is None else after,
            "limit": limit,
        }
        rows = await self._readers.read(lambda connection: rows_of(connection, statement, bindings))
        return [job_of(row) for row in rows]

    async def change(self, job: Job, *, expected: JobState) -> Job | None:
        """Write what was decided about a job; see the protocol."""
        return await self._writer.submit(lambda connection: _change(connection, job, expected))

    async def count(self, key: int, *, limit: int) -> JobStep | None:
        """Count more candidates; see the protocol."""
        job = await self.job(key)
        if job is None or not counts(job):
            return None
        found = await self._readers.read(lambda connection: find(connection, job, after=job.counted_to, limit=limit))
        return await self._writer.submit(lambda connection: _count(connection, job, found))

    async def work(self, key: int, *, limit: int, now: int) -> JobStep | None:
        """Change the next deliveries; see the protocol."""
        job = await self.job(key)
        if job is None or job.state is not JobState.RUNNING:
            return None
        newest = newest_to_work_on(job)

        def look(connection: apsw.Connection) -> tuple[Found, frozenset[Place]]:
            found = find(connection, job, after=job.cursor, limit=limit, newest=newest)
            return found, superseded(connection, job, found.candidates)

        found, left_out = await self._readers.read(look)
        return await self._writer.submit(lambda connection: _work(connection, job, found, left_out, now))


class _Changes:
    """What a step does to its candidates."""

    def __init__(self, connection: apsw.Connection, job: Job, now: int) -> None:
        self._connection = connection
        self._job = job
        self._now = now

    def make(self, candidates: Sequence[Candidate]) -> Steps[Changed]:
        """Change those that are still as they were selected, in their order."""
        opened = _OPEN_NOW.decode(self._look_again(_STILL_OPEN, [c for c in candidates if not c.round]))
        settled = _SETTLED_NOW.decode(self._look_again(_STILL_SETTLED, [c for c in candidates if c.round]))
        yield 0
        places, still_open = kept(self._job, candidates, opened, settled)
        if self._job.dry_run:
            return Changed(len(places))
        lanes: set[tuple[int, Lane]] = set()
        for start in range(0, len(places), _SLICE):
            lanes |= self._change(places[start : start + _SLICE])
            yield SLICE_ROWS
        if self._job.kind in REOPENING:
            return Changed(len(places), frozenset(lanes))
        return change_told(self._job, places, still_open, candidates)

    def _look_again(self, statement: str, candidates: Sequence[Candidate]) -> str:
        places = msgspec.json.encode([candidate[:3] for candidate in candidates]).decode()
        document: str = value_of(self._connection, statement, (places,))
        return document

    def _change(self, places: Sequence[Place]) -> set[tuple[int, Lane]]:
        """Change them all; where those are that were opened or hastened."""
        connection, now = self._connection, self._now
        lanes = set()
        match self._job.kind:
            case JobKind.RETRY | JobKind.REPLAY:
                for event_key, endpoint_key in places:
                    obligation = retry(connection, event_key, endpoint_key, now)
                    assert obligation is not None, "it was there in this very transaction"
                    lanes.add((endpoint_key, obligation.lane))
            case JobKind.CANCEL:
                discard(connection, places, reason=REASON_CANCELLED, now=now)
            case JobKind.PARK:
                connection.executemany(_PARK, places)
            case JobKind.DRAIN:
                connection.executemany(_DRAIN, places)
            case JobKind.PROMOTE:
                connection.executemany(_PROMOTE, [(*place, now) for place in places])
        return lanes


def _add(connection: apsw.Connection, job: Job, remember: Remembered | None) -> Steps[None]:
    if remember is not None:
        place = (remember.environment, remember.key)
        connection.execute(_REMEMBER, (*place, remember.fingerprint, remember.ref))
        if rows_of(connection, _RECALL, place) != [(remember.fingerprint, remember.ref)]:
            raise IdempotencyConflict
    connection.execute(_PUT, row_of(job))
    yield 1


def _change(connection: apsw.Connection, job: Job, expected: JobState) -> Steps[Job | None]:
    if not may_change(_find(connection, job.key), job, expected):
        return None
    connection.execute(_CHANGE, (job.key, *decided_row(job)))
    yield 1
    return _find(connection, job.key)


def _count(connection: apsw.Connection, seen: Job, found: Found) -> Steps[JobStep | None]:
    job = _find(connection, seen.key)
    if job is None or not counts(job):
        return None
    step = step_counted(job, seen, found)
    yield from _move(connection, step.job)
    return step


def _work(
    connection: apsw.Connection, seen: Job, found: Found, left_out: frozenset[Place], now: int
) -> Steps[JobStep | None]:
    job = _find(connection, seen.key)
    if job is None or job.state is not JobState.RUNNING:
        return None
    if job.cursor != seen.cursor:
        return JobStep(job)  # somebody else took this step
    candidates = [c for c in found.candidates if (c.event_key, c.endpoint_key) not in left_out]
    changed = yield from _Changes(connection, job, now).make(candidates)
    step = step_worked(job, seen, found, changed)
    yield from _move(connection, step.job)
    return step


def _move(connection: apsw.Connection, job: Job) -> Steps[None]:
    connection.execute(_MOVE, (job.key, *moved_row(job)))
    yield 1


def _find(connection: apsw.Connection, key: int) -> Job | None:
    rows = rows_of(connection, _ONE, (key,))
    return job_of(rows[0]) if rows else None
