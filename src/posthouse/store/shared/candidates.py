"""Which deliveries a bulk job looks at next: in ascending order of (event key, endpoint key), behind its cursor.

Open deliveries stand in one table, settled ones in another, and those that were not delivered have an index of their
own. All are read in parts of bounded size, by seeking to where the last one ended; what lies before that costs nothing.
What is asked of one source is led by that source's events. The set is never held: a step takes what it can change, and
the next one asks again.

Nothing here reads: :func:`find` says which statement it needs with which values, and is sent what an engine has read.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from posthouse.core import ids
from posthouse.core.delivery import FINAL, OPEN, State
from posthouse.core.jobs import SELECTS, SELECTS_LANES, Job, JobFilter, JobMode
from posthouse.core.routing import Router
from posthouse.store.shared.spans import CLOCK_STEP_MS_MAX, INTEGER_MAX

PART_ROWS: Final = 500  #: looked at by one statement
STEP_ROWS: Final = 10_000  #: looked at by one step, about
END: Final = (INTEGER_MAX, INTEGER_MAX)  #: behind every delivery

Place = tuple[int, int]  #: event key, endpoint key


class Candidate(NamedTuple):
    """A delivery that the filter selects."""

    event_key: int
    endpoint_key: int
    round: int  #: that is settled; 0: it is open
    type: str
    tenant: str
    ordering_key: str | None


class Found(NamedTuple):
    """What one look found."""

    candidates: Sequence[Candidate]
    reached: Place  #: everything up to here was looked at
    exhausted: bool  #: there is nothing behind ``reached``


class Query(NamedTuple):
    """A statement that is needed, by its name, and its values by theirs. It looks at PART_ROWS rows behind a place."""

    name: str
    values: Mapping[str, Any]


class Part(NamedTuple):
    """What a statement has read."""

    looked: int  #: rows that it has looked at
    event_key: int | None  #: of the last of them
    endpoint_key: int | None
    candidates: Sequence[Candidate]


Finding = Generator[Query, Part, Found]
Wanted = tuple[str, str, int]  #: tenant, ordering key, endpoint key


class _Scan:
    """One statement, and how far it was read."""

    def __init__(self, name: str, values: Mapping[str, Any], start: Place) -> None:
        self._name = name
        self._values = values
        self.reached = start

    def read(self) -> Generator[Query, Part, Part]:
        """The next part."""
        place = {"event": self.reached[0], "endpoint": self.reached[1], "look": PART_ROWS}
        part = yield Query(self._name, {**self._values, **place})
        if part.looked < PART_ROWS or part.event_key is None or part.endpoint_key is None:
            self.reached = END
        else:
            self.reached = (part.event_key, part.endpoint_key)
        return part


def find(job: Job, *, after: Place, limit: int, newest: int | None = None) -> Finding:
    """Up to ``limit`` candidates behind ``after``, in one snapshot. May find none without being at the end.

    ``newest``: of events with keys up to it; None: of all that the job selects.
    """
    scans = _scans(job, after, job.filter.newest if newest is None else min(newest, job.filter.newest))
    types = Router({0: job.filter.types}) if job.filter.types else None
    found: list[Candidate] = []
    looked = 0
    reached = min((scan.reached for scan in scans), default=END)
    while reached < END and looked < STEP_ROWS:
        part = yield from min(scans, key=lambda s: s.reached).read()
        looked += part.looked
        found += (candidate for candidate in part.candidates if types is None or types.match(candidate.type))
        reached = min(s.reached for s in scans)
        if len(found) >= limit and sum(candidate[:2] <= reached for candidate in found) >= limit:
            break
    candidates = sorted((c for c in found if c[:2] <= reached), key=lambda c: c[:3])
    if len(candidates) > limit:
        del candidates[limit:]
        reached = candidates[-1][:2]
    return Found(candidates, reached, reached == END)


def wanted_newest(job: Job, candidates: Sequence[Candidate]) -> list[Wanted]:
    """Of which ordering keys a job for the latest states must know the newest event; none: it leaves nothing out."""
    if job.mode is JobMode.ALL:
        return []
    return list({(c.tenant, c.ordering_key, c.endpoint_key): None for c in candidates if c.ordering_key is not None})


def superseded(candidates: Sequence[Candidate], newest: Mapping[Wanted, int | None]) -> frozenset[Place]:
    """Those of the candidates that are left out: their endpoint is owed a newer event of their ordering key."""
    return frozenset(
        (c.event_key, c.endpoint_key)
        for c in candidates
        if c.ordering_key is not None and (newest.get((c.tenant, c.ordering_key, c.endpoint_key)) or 0) > c.event_key
    )


def states_of(job: Job) -> frozenset[State]:
    """The states that the job selects."""
    allowed = SELECTS[job.kind]
    return allowed & frozenset(job.filter.states) if job.filter.states else allowed


def _scans(job: Job, after: Place, newest: int) -> list[_Scan]:
    """Where the candidates stand."""
    wanted, states = job.filter, states_of(job)
    start, newest = _range(after, newest, wanted)
    if start[0] > newest:
        return []
    values = {"newest": newest, "environment": job.environment, **_conditions(wanted)}
    scans = []
    if states & OPEN and not wanted.reasons:
        first, last = SELECTS_LANES[job.kind]
        attempts = {
            "attempts_min": 0 if State.WAITING in states else 1,
            "attempts_max": INTEGER_MAX if State.RETRYING in states else 0,
        }
        lanes = {"lane_min": int(first), "lane_max": int(last)}
        name = "candidates_open" if wanted.source_key is None else "source_candidates_open"
        scans.append(_Scan(name, {**values, **lanes, **attempts}, start))
    settled = states & FINAL
    if State.DELIVERED in settled:
        scans.append(_Scan(_settled(wanted), {**values, "states": _texts(settled)}, start))
    else:
        name = _undelivered(wanted)
        scans += [_Scan(name, {**values, "state": state}, start) for state in sorted(settled)]
    return scans


def _settled(wanted: JobFilter) -> str:
    """The statement that finds settled deliveries with the least rows read."""
    if wanted.source_key is not None:
        return "source_candidates_settled"
    if wanted.endpoint_key is not None:
        return "candidates_settled_of_endpoint"
    return "candidates_settled_of_environment" if wanted.tenant is None else "candidates_settled_of_tenant"


def _undelivered(wanted: JobFilter) -> str:
    """The statement that finds deliveries that were given up with the least rows read."""
    if wanted.source_key is not None:
        return "source_candidates_undelivered"
    return "candidates_undelivered" if wanted.endpoint_key is None else "candidates_undelivered_of_endpoint"


def _conditions(wanted: JobFilter) -> dict[str, Any]:
    return {
        "of_endpoint": wanted.endpoint_key,
        "of_source": wanted.source_key,
        "tenant": wanted.tenant,
        "ordering_key": wanted.ordering_key,
        "reasons": _texts(wanted.reasons) if wanted.reasons else None,
        "since": 0 if wanted.since is None else wanted.since,
        "until": INTEGER_MAX if wanted.until is None else wanted.until,
        "older_than": INTEGER_MAX if wanted.older_than is None else wanted.older_than,
    }


def _range(after: Place, newest: int, wanted: JobFilter) -> tuple[Place, int]:
    """Behind which place, and up to which event, something can be selected."""
    oldest = 0
    if wanted.since is not None:
        oldest = ids.first_key_at(wanted.since - CLOCK_STEP_MS_MAX)
    if wanted.until is not None:
        newest = min(newest, ids.first_key_at(wanted.until + CLOCK_STEP_MS_MAX))
    if wanted.event_key is not None:
        oldest, newest = max(oldest, wanted.event_key), min(newest, wanted.event_key)
    return max(after, (oldest, 0)), newest


def _texts(texts: Iterable[str]) -> list[str]:
    return sorted(str(text) for text in texts)
