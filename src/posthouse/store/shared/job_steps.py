"""Bulk jobs: their rows, and what a step makes of what an engine has found; nothing here reads or writes.

The candidates are found in a snapshot of their own; in the transaction that changes them each is looked at again, and
one that changed meanwhile is skipped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from posthouse.core.delivery import open_state
from posthouse.core.jobs import SELECTS_LANES, Job, JobEntry, JobFilter, JobKind, JobMode, JobState
from posthouse.core.model import SENT_LANES, Environment, Lane
from posthouse.store.protocol import JobStep
from posthouse.store.shared.candidates import Candidate, Found, Place, states_of

REASON_CANCELLED: Final = "cancelled"

_FILTER: Final = msgspec.json.Decoder(JobFilter)
_TRAIL: Final = msgspec.json.Decoder(tuple[JobEntry, ...])


class OpenNow(NamedTuple):
    """How a candidate stands that is open."""

    event_key: int
    endpoint_key: int
    lane: int
    attempts: int
    behind: bool | int
    deleted: bool | int  #: its endpoint is


class SettledNow(NamedTuple):
    """A candidate that is settled with the round that it was found with."""

    event_key: int
    endpoint_key: int
    deleted: bool | int  #: its endpoint is


class Changed(NamedTuple):
    """What a step changes, or has changed."""

    done: int = 0
    due: frozenset[tuple[int, Lane]] = frozenset()
    withdrawn: Sequence[Place] = ()


# -- rows ---------------------------------------------------------------------------------------------


def row_of(job: Job) -> tuple[Any, ...]:
    """A job as ``put_job`` takes it, in the order of its columns."""
    return (
        job.key,
        job.environment,
        job.kind,
        msgspec.json.encode(job.filter).decode(),
        job.mode,
        job.dry_run,
        job.rate,
        job.state,
        *moved_row(job),
        job.created_at,
        *decided_row(job)[2:],
    )


def decided_row(job: Job) -> tuple[Any, ...]:
    """What people and the node decide about a job, as ``change_job`` takes it behind the key."""
    trail = msgspec.json.encode(job.trail).decode()
    return (job.state, job.rate, job.started_at, job.finished_at, job.error, trail)


def moved_row(job: Job) -> tuple[Any, ...]:
    """How far a job is, as ``move_job`` takes it behind the key."""
    return (job.total, job.counted, *job.counted_to, job.done, job.skipped, *job.cursor)


def job_of(row: Sequence[Any]) -> Job:
    """The job in a row of ``one_job``."""
    key, environment, kind, wanted, mode, dry_run, rate, state, total, counted, *rest = row
    counted_event, counted_endpoint, done, skipped, cursor_event, cursor_endpoint, *rest = rest
    created_at, started_at, finished_at, error, trail = rest
    return Job(
        key=key,
        environment=Environment(environment),
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


# -- decisions ----------------------------------------------------------------------------------------


def may_change(stored: Job | None, job: Job, expected: JobState) -> bool:
    """Whether what was decided about a job is written.

    Its trail only ever grows: who does not know its end has not seen what was decided last.
    """
    return stored is not None and stored.state is expected and stored.trail == job.trail[: len(stored.trail)]


def counts(job: Job) -> bool:
    """Whether it is a job that counts its candidates."""
    return job.state is JobState.RUNNING and job.total is None


def newest_to_work_on(job: Job) -> int | None:
    """Up to which event a job may work: while it counts, only what it has counted; None: all that it selects."""
    return job.counted_to[0] - 1 if job.total is None else None


# -- steps --------------------------------------------------------------------------------------------


def step_counted(job: Job, seen: Job, found: Found) -> JobStep:
    """What counting makes of a job that counts, from what was found when it was as ``seen``."""
    if job.counted_to != seen.counted_to:
        return JobStep(job)  # somebody else took this step
    counted = job.counted + len(found.candidates)
    total = max(counted, job.done + job.skipped) if found.exhausted else None
    return JobStep(replace(job, counted=counted, total=total, counted_to=found.reached), exhausted=found.exhausted)


def step_worked(job: Job, seen: Job, found: Found, changed: Changed) -> JobStep:
    """What a step makes of a job whose cursor is still as ``seen``."""
    done = job.done + changed.done
    skipped = job.skipped + len(found.candidates) - changed.done
    reached, exhausted, total = found.reached, found.exhausted and seen.total is not None, job.total
    if seen.total is None:
        reached = min(reached, (seen.counted_to[0], 0))  # before the first delivery of that event
    if total is not None and exhausted:
        skipped = max(skipped, total - done)  # what was counted, and is no longer as it was selected
    if total is not None:
        total = max(total, done + skipped)  # what came to be selected since it was counted
    job = replace(job, total=total, done=done, skipped=skipped, cursor=max(reached, job.cursor))
    return JobStep(job, tuple(sorted(changed.due)), tuple(changed.withdrawn), exhausted)


def kept(
    job: Job, candidates: Sequence[Candidate], open_now: Iterable[OpenNow], settled_now: Iterable[SettledNow]
) -> tuple[list[Place], dict[Place, OpenNow]]:
    """Those that are still as they were selected, and that the job applies to, in their order; and the open ones."""
    states, (first, last) = states_of(job), SELECTS_LANES[job.kind]
    opened = {
        (now.event_key, now.endpoint_key): now
        for now in open_now
        if first <= now.lane <= last
        and open_state(now.attempts) in states
        and not now.deleted
        and not (now.behind and job.kind is JobKind.PARK)
    }
    settled = {(now.event_key, now.endpoint_key) for now in settled_now if not now.deleted}
    places = ((c.event_key, c.endpoint_key) for c in candidates)
    return [p for p, c in zip(places, candidates, strict=True) if p in (settled if c.round else opened)], opened


def change_told(
    job: Job, places: Sequence[Place], opened: Mapping[Place, OpenNow], candidates: Sequence[Candidate]
) -> Changed:
    """What is told of a change to all of ``places``, if the job does not open them."""
    due: frozenset[tuple[int, Lane]] = frozenset()
    match job.kind:
        case JobKind.CANCEL:
            # What stood behind one of them may be due now, in whichever lane it waits.
            keyed = {c.event_key for c in candidates if c.ordering_key is not None}
            ordered = {endpoint_key for event_key, endpoint_key in places if event_key in keyed}
            due = frozenset((endpoint_key, lane) for endpoint_key in ordered for lane in SENT_LANES)
        case JobKind.DRAIN:
            due = frozenset((place[1], Lane.RETRY if opened[place].attempts else Lane.BACKLOG) for place in places)
            return Changed(len(places), due)
        case JobKind.PROMOTE:
            due = frozenset((endpoint_key, Lane.LIVE) for _, endpoint_key in places)
        case _:
            pass
    return Changed(len(places), due, places)
