"""Bulk jobs: one kind of change to every delivery that a filter selects, however many those are."""

import re
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core.delivery import FINAL, OPEN, State
from posthouse.core.errors import Conflict, InvalidInput
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.core.time_format import parse_rfc3339

_AGE: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_PACE_SECONDS: Final = 10.0
_PACE_SECONDS_MIN: Final = 1.0
_PACE_SAMPLES: Final = 50  # kept of them, about


class JobKind(StrEnum):
    """What a job does with each delivery that its filter selects. What it cannot do to one is skipped, and counted.

    A filter selects, of the deliveries that it describes, those in :data:`SELECTS` and :data:`SELECTS_LANES`.
    Skipped is what belongs to a deleted endpoint, what a newer event supersedes (:attr:`JobMode.LATEST`), what stands
    behind another one of its ordering key (PARK: it waits anyway), and what is no longer as it was selected.
    """

    RETRY = "retry"  #: exhausted and discarded ones are opened again; open ones become due now
    REPLAY = "replay"  #: settled ones are opened again, whatever became of them, delivered ones too
    CANCEL = "cancel"  #: open ones are discarded
    PARK = "park"  #: open ones are put aside, into the parked lane
    DRAIN = "drain"  #: parked ones go back into their lanes
    PROMOTE = "promote"  #: open ones, parked ones too, go into the live lane and become due now


#: The states that a delivery can have for each kind of job.
SELECTS: Final[Mapping[JobKind, frozenset[State]]] = MappingProxyType(
    {
        JobKind.RETRY: frozenset({State.WAITING, State.RETRYING, State.EXHAUSTED, State.DISCARDED}),
        JobKind.REPLAY: FINAL,
        JobKind.CANCEL: OPEN,
        JobKind.PARK: OPEN,
        JobKind.DRAIN: OPEN,
        JobKind.PROMOTE: OPEN,
    }
)
#: The first and the last lane that an open delivery can wait in for each kind of job; in any other it is there already.
SELECTS_LANES: Final[Mapping[JobKind, tuple[Lane, Lane]]] = MappingProxyType(
    {
        **dict.fromkeys(JobKind, (Lane.LIVE, Lane.PARKED)),
        JobKind.PARK: (Lane.LIVE, Lane.BACKLOG),
        JobKind.DRAIN: (Lane.PARKED, Lane.PARKED),
        JobKind.PROMOTE: (Lane.RETRY, Lane.PARKED),
    }
)
REOPENING: Final = frozenset({JobKind.RETRY, JobKind.REPLAY})  #: kinds that have a mode


class JobMode(StrEnum):
    """Which states of a thing a replay or a retry sends."""

    ALL = "all"  #: every event
    LATEST = (
        "latest"  #: of each ordering key only the newest event that the endpoint is owed; what it supersedes is skipped
    )


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"  #: it counts or works, or waits for its rate
    PAUSED = "paused"  #: an operator holds it; it goes on where it was
    COMPLETED = "completed"  #: it has looked at everything
    CANCELLED = "cancelled"  #: an operator ended it; what it has done stays done
    FAILED = "failed"  #: it cannot go on, for the reason in ``error``


class JobSignal(StrEnum):
    """What can happen to a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    COMPLETE = "complete"
    FAIL = "fail"


JOB_TRANSITIONS: Final[Mapping[tuple[JobState, JobSignal], JobState]] = MappingProxyType(
    {
        (JobState.RUNNING, JobSignal.PAUSE): JobState.PAUSED,
        (JobState.RUNNING, JobSignal.RESUME): JobState.RUNNING,
        (JobState.RUNNING, JobSignal.CANCEL): JobState.CANCELLED,
        (JobState.RUNNING, JobSignal.COMPLETE): JobState.COMPLETED,
        (JobState.RUNNING, JobSignal.FAIL): JobState.FAILED,
        (JobState.PAUSED, JobSignal.PAUSE): JobState.PAUSED,
        (JobState.PAUSED, JobSignal.RESUME): JobState.RUNNING,
        (JobState.PAUSED, JobSignal.CANCEL): JobState.CANCELLED,
        (JobState.CANCELLED, JobSignal.CANCEL): JobState.CANCELLED,
    }
)


UNFINISHED: Final = frozenset({JobState.RUNNING, JobState.PAUSED})


def step_job(state: JobState, signal: JobSignal) -> JobState:
    """The state after ``signal``. Raises :class:`Conflict` where the table has no target."""
    target = JOB_TRANSITIONS.get((state, signal))
    if target is None:
        raise Conflict(f"A job that is {state} cannot {signal}.", hint="Make a new job; its filter may be the same.")
    return target


class JobFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which deliveries; all conditions hold together, and None or empty is no condition.

    Only events with keys up to ``newest`` are looked at, so that a job never chases what comes in meanwhile.
    """

    newest: int
    tenant: str | None = None
    endpoint_key: int | None = None
    source_key: int | None = None  #: of events that came in through this source
    event_key: int | None = None
    types: tuple[str, ...] = ()  #: event patterns, as an endpoint subscribes with
    states: tuple[State, ...] = ()
    reasons: tuple[str, ...] = ()  #: of settled ones
    ordering_key: str | None = None
    since: int | None = None  #: accepted at or after, Unix ms
    until: int | None = None  #: accepted before, Unix ms
    older_than: int | None = None  #: occurred (or, if the publisher did not say, accepted) before, Unix ms

    def covers(self, endpoint: Endpoint) -> bool:
        """Whether deliveries of this endpoint can be selected, as far as what is asked of events leaves that open."""
        return self.endpoint_key in {None, endpoint.key} and self.tenant in {None, endpoint.tenant}


class JobEntry(msgspec.Struct, frozen=True):
    """One line of a job's own audit trail."""

    at: int
    by: str  #: name of the API key, or ``posthouse``
    what: str  #: ``created``, ``pause``, ``resume``, ``cancel``, ``complete``, ``fail``, ``rate 100/s``, ``no rate``


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk job as it stands. All counts are of deliveries."""

    key: int
    environment: Environment
    kind: JobKind
    filter: JobFilter
    mode: JobMode = JobMode.ALL
    dry_run: bool = False  #: counts what it would do, exactly, and does nothing
    rate: str | None = None  #: deliveries that it changes, as core.rate writes it; None: as fast as others allow
    state: JobState = JobState.RUNNING
    total: int | None = None  #: that the filter selects; None: still counting
    counted: int = 0  #: so far, while it counts
    counted_to: tuple[int, int] = (0, 0)  #: (event key, endpoint key) of the latest one that was counted
    done: int = 0  #: changed (or, in a dry run, to be changed)
    skipped: int = 0  #: selected, and not changed: it did not apply to them (any more)
    cursor: tuple[int, int] = (0, 0)  #: (event key, endpoint key) of the latest one that was worked on
    created_at: int
    started_at: int | None = None  #: when it began to work
    finished_at: int | None = None
    error: str | None = None
    trail: tuple[JobEntry, ...] = ()


class JobPhase(StrEnum):
    """What a job is at."""

    COUNTING = "counting"
    WORKING = "working"
    ENDED = "ended"


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job is, for people."""

    phase: JobPhase
    processed: int  #: deliveries: counted while it counts, else done and skipped
    share: float | None  #: of the total, 0.0 to 1.0; None: not known yet
    per_second: float | None  #: deliveries it goes through at present; None: it does not run, or has only begun
    eta_seconds: float | None  #: until it has looked at everything, if it goes on like this; None: nobody knows


class Pace:
    """How fast something goes on, over about the last ten seconds. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, processed: int) -> None:
        """So many are behind it now."""
        samples = self._samples
        if samples and (processed < samples[-1][1] or now - samples[-1][0] > _PACE_SECONDS):
            samples.clear()  # another count began, or it stood still for a while
        if len(samples) > 1 and now - samples[-2][0] < _PACE_SECONDS / _PACE_SAMPLES:
            samples.pop()
        samples.append((now, processed))
        while now - samples[0][0] > _PACE_SECONDS:
            samples.popleft()

    def per_second(self, now: float) -> float | None:
        """How many a second; None before it has been watched for a second."""
        if not self._samples or now - self._samples[0][0] < _PACE_SECONDS_MIN:
            return None
        first_at, first = self._samples[0]
        return (self._samples[-1][1] - first) / (now - first_at)


def progress_of(job: Job, pace: float | None) -> JobProgress:
    """How far ``job`` is, if it goes through ``pace`` deliveries a second (None: not known)."""
    if job.state not in UNFINISHED:
        phase = JobPhase.ENDED
    else:
        phase = JobPhase.COUNTING if job.total is None else JobPhase.WORKING
    if job.state is not JobState.RUNNING:
        pace = None
    if job.total is None:
        return JobProgress(phase, job.counted, None, pace, None)
    processed = job.done + job.skipped
    share = min(processed / job.total, 1.0) if job.total else 1.0
    eta = max(job.total - processed, 0) / pace if pace else None
    return JobProgress(phase, processed, share, pace, eta)


def parse_older_than(text: str, now: int, path: str = "older_than") -> int:
    """The Unix ms before which an event must lie: an age that counts back from ``now`` (``90s``, ``3d``), or RFC 3339.

    ``path`` names the field in the error. Raises :class:`InvalidInput`.
    """
    age = _AGE.fullmatch(text)
    if age is not None:
        return max(now - int(age[1]) * _UNIT_MS[age[2]], 0)
    try:
        return parse_rfc3339(text)
    except InvalidInput as error:
        message = "It is an age in whole s, m, h or d, or an RFC 3339 time with an offset."
        raise InvalidInput.at(path, "older_than", message, hint="Use such as '5m', '3d' or a time.") from error
