"""Bulk jobs: their rows, and their steps. What a step changes and how far the job is are one transaction.

The candidates are found off the loop, in a snapshot of their own; inside the transaction each is looked at again, and
one that changed meanwhile is skipped.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import replace

from posthouse.core.delivery import open_state
from posthouse.core.errors import IdempotencyConflict
from posthouse.core.jobs import SELECTS_LANES, UNFINISHED, Job, JobEntry, JobFilter, JobKind, JobMode, JobState
from posthouse.core.model import SENT_LANES, Environment, Lane
from posthouse.store.protocol import JobStep, Remembered
from posthouse.store.sqlite.candidates import Candidate, Found, Place, find, states_of, superseded
from posthouse.store.sqlite.discarding import discard
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.reopening import retry
from posthouse.store.sqlite.rows import ENVIRONMENTS, INTEGER_MAX, rows_of, value_of
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

REASON_CANCELLED: Final = "cancelled"
_SLICE: Final = 100  # deliveries changed before other work gets its turn

_FILTER: Final = msgspec.json.Decoder(JobFilter)
_TRAIL: Final = msgspec.json.Decoder(tuple[JobEntry, ...])
_OPEN_NOW: Final = msgspec.json.Decoder(list[tuple[int, int, int, int, int, int]])
_SETTLED_NOW: Final = msgspec.json.Decoder(list[tuple[int, int, int]])


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
        return [_job(row) for row in rows]

    async def change(self, job: Job, *, expected: JobState) -> Job | None:
        """Write what was decided about a job; see the protocol."""
        return await self._writer.submit(lambda connection: _change(connection, job, expected))

    async def count(self, key: int, *, limit: int) -> JobStep | None:
        """Count more candidates; see the protocol."""
        job = await self.job(key)
        if job is None or job.state is not JobState.RUNNING or job.total is not None:
            return None
        found = await self._readers.read(lambda connection: find(connection, job, after=job.counted_to, limit=limit))
        return await self._writer.submit(lambda connection: _count(connection, job, found))

    async def work(self, key: int, *, limit: int, now: int) -> JobStep | None:
        """Change the next deliveries; see the protocol."""
        job = await self.job(key)
        if job is None or job.state is not JobState.RUNNING:
            return None
        newest = job.counted_to[0] - 1 if job.total is None else None

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
        self.done = 0
        self.due: set[tuple[int, Lane]] = set()
        self.withdrawn: list[Place] = []
        self._keyed: frozenset[int] = frozenset()  # events that have an ordering key

    def make(self, candidates: Sequence[Candidate]) -> Steps[None]:
        """Change those that are still as they were selected, in their order."""
        opened = self._still_open([c for c in candidates if not c.round])
        settled = self._still_settled([c for c in candidates if c.round])
        yield 0
        self._keyed = frozenset(c.event_key for c in candidates if c.ordering_key is not None)
        places = [(c.event_key, c.endpoint_key) for c in candidates]
        kept = [place for place, c in zip(places, candidates, strict=True) if place in (settled if c.round else opened)]
        if self._job.dry_run:
            self.done = len(kept)
            return
        for start in range(0, len(kept), _SLICE):
            part = kept[start : start + _SLICE]
            self._change(part, opened)
            yield SLICE_ROWS

    def _still_open(self, candidates: Sequence[Candidate]) -> dict[Place, int]:
        """Those that are open in a state and a lane that the job selects, and that it applies to: their attempts."""
        document = value_of(self._connection, _STILL_OPEN, (_places(candidates),))
        states, (first, last) = states_of(self._job), SELECTS_LANES[self._job.kind]
        return {
            (event_key, endpoint_key): attempts
            for event_key, endpoint_key, lane, attempts, behind, deleted in _OPEN_NOW.decode(document)
            if first <= lane <= last
            and open_state(attempts) in states
            and not deleted
            and not (behind and self._job.kind is JobKind.PARK)
        }

    def _still_settled(self, candidates: Sequence[Candidate]) -> frozenset[Place]:
        document = value_of(self._connection, _STILL_SETTLED, (_places(candidates),))
        return frozenset(
            (event_key, endpoint_key)
            for event_key, endpoint_key, deleted in _SETTLED_NOW.decode(document)
            if not deleted
        )

    def _change(self, places: Sequence[Place], attempts: Mapping[Place, int]) -> None:
        connection, now = self._connection, self._now
        self.done += len(places)
        match self._job.kind:
            case JobKind.RETRY | JobKind.REPLAY:
                for event_key, endpoint_key in places:
                    obligation = retry(connection, event_key, endpoint_key, now)
                    assert obligation is not None, "it was there in this very transaction"
                    self.due.add((endpoint_key, obligation.lane))
            case JobKind.CANCEL:
                discard(connection, places, reason=REASON_CANCELLED, now=now)
                self.withdrawn += places
                # What stood behind one of them may be due now, in whichever lane it waits.
                ordered = {endpoint_key for event_key, endpoint_key in places if event_key in self._keyed}
                self.due |= {(endpoint_key, lane) for endpoint_key in ordered for lane in SENT_LANES}
            case JobKind.PARK:
                connection.executemany(_PARK, places)
                self.withdrawn += places
            case JobKind.DRAIN:
                connection.executemany(_DRAIN, places)
                self.due |= {(place[1], Lane.RETRY if attempts[place] else Lane.BACKLOG) for place in places}
            case JobKind.PROMOTE:
                connection.executemany(_PROMOTE, [(*place, now) for place in places])
                self.withdrawn += places
                self.due |= {(endpoint_key, Lane.LIVE) for _, endpoint_key in places}


def _add(connection: apsw.Connection, job: Job, remember: Remembered | None) -> Steps[None]:
    if remember is not None:
        place = (remember.environment, remember.key)
        connection.execute(_REMEMBER, (*place, remember.fingerprint, remember.ref))
        if rows_of(connection, _RECALL, place) != [(remember.fingerprint, remember.ref)]:
            raise IdempotencyConflict
    values = (
        job.key,
        job.environment,
        job.kind,
        _json(job.filter),
        job.mode,
        job.dry_run,
        job.rate,
        job.state,
        job.total,
        job.counted,
        *job.counted_to,
        job.done,
        job.skipped,
        *job.cursor,
        job.created_at,
        job.started_at,
        job.finished_at,
        job.error,
        _json(job.trail),
    )
    connection.execute(_PUT, values)
    yield 1


def _change(connection: apsw.Connection, job: Job, expected: JobState) -> Steps[Job | None]:
    stored = _find(connection, job.key)
    # The trail only ever grows: who does not know its end has not seen what was decided last.
    if stored is None or stored.state is not expected or stored.trail != job.trail[: len(stored.trail)]:
        return None
    decided = (job.state, job.rate, job.error, job.started_at, job.finished_at, _json(job.trail))
    connection.execute(_CHANGE, (job.key, *decided))
    yield 1
    return _find(connection, job.key)


def _count(connection: apsw.Connection, seen: Job, found: Found) -> Steps[JobStep | None]:
    job = _find(connection, seen.key)
    if job is None or job.state is not JobState.RUNNING or job.total is not None:
        return None
    if job.counted_to != seen.counted_to:
        return JobStep(job)  # somebody else took this step
    counted = job.counted + len(found.candidates)
    total = max(counted, job.done + job.skipped) if found.exhausted else None
    job = replace(job, counted=counted, total=total, counted_to=found.reached)
    yield from _move(connection, job)
    return JobStep(job, exhausted=found.exhausted)


def _work(
    connection: apsw.Connection, seen: Job, found: Found, left_out: frozenset[Place], now: int
) -> Steps[JobStep | None]:
    job = _find(connection, seen.key)
    if job is None or job.state is not JobState.RUNNING:
        return None
    if job.cursor != seen.cursor:
        return JobStep(job)  # somebody else took this step
    changes = _Changes(connection, job, now)
    yield from changes.make([c for c in found.candidates if (c.event_key, c.endpoint_key) not in left_out])
    done = job.done + changes.done
    skipped = job.skipped + len(found.candidates) - changes.done
    reached, exhausted, total = found.reached, found.exhausted and seen.total is not None, job.total
    if seen.total is None:
        reached = min(reached, (seen.counted_to[0], 0))  # before the first delivery of that event
    if total is not None and exhausted:
        skipped = max(skipped, total - done)  # what was counted, and is no longer as it was selected
    if total is not None:
        total = max(total, done + skipped)  # what came to be selected since it was counted
    job = replace(job, total=total, done=done, skipped=skipped, cursor=max(reached, job.cursor))
    yield from _move(connection, job)
    return JobStep(job, tuple(sorted(changes.due)), tuple(changes.withdrawn), exhausted)


def _move(connection: apsw.Connection, job: Job) -> Steps[None]:
    connection.execute(_MOVE, (job.key, job.total, job.counted, *job.counted_to, job.done, job.skipped, *job.cursor))
    yield 1


def _find(connection: apsw.Connection, key: int) -> Job | None:
    rows = rows_of(connection, _ONE, (key,))
    return _job(rows[0]) if rows else None


def _job(row: tuple[Any, ...]) -> Job:
    key, environment, kind, wanted, mode, dry_run, rate, state, total, counted, *rest = row
    counted_event, counted_endpoint, done, skipped, cursor_event, cursor_endpoint, *rest = rest
    created_at, started_at, finished_at, error, trail = rest
    return Job(
        key=key,
        environment=ENVIRONMENTS[environment],
        kind=JobKind(kind),
        filter=_FILTER.decode(wanted),
        mode=JobMode(mode),
        dry_run=bool(dry_run),
        rate=rate,
        state=JobState(state),
        total=total,
        counted=counted,
        counted_to=(counted_event, counted_endpoint),
        done=done,
        skipped=skipped,
        cursor=(cursor_event, cursor_endpoint),
        created_at=created_at,
        started_at=started_at,
        finished_at=finished_at,
        error=error,
        trail=_TRAIL.decode(trail),
    )


def _places(candidates: Sequence[Candidate]) -> str:
    return msgspec.json.encode([candidate[:3] for candidate in candidates]).decode()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
