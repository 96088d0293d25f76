"""Which deliveries a bulk job looks at next: in ascending order of (event key, endpoint key), behind its cursor.

Open deliveries stand in one table, settled ones in another, and those that were not delivered have an index of their
own. All are read in parts of bounded size, by seeking to where the last one ended; what lies before that costs nothing.
What is asked of one source is led by that source's events. The set is never held: a step takes what it can change, and
the next one asks again.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from posthouse.core import ids
from posthouse.core.delivery import FINAL, OPEN, State
from posthouse.core.jobs import SELECTS, SELECTS_LANES, Job, JobFilter, JobMode
from posthouse.core.routing import Router
from posthouse.store.sqlite.rows import INTEGER_MAX, value_of
from posthouse.store.sqlite.spans import CLOCK_STEP_MS_MAX
from posthouse.store.sqlite.statements import SQL

_NEWEST_OWED: Final = SQL["newest_owed"]
_OPEN: Final = SQL["candidates_open"]
_OPEN_OF_SOURCE: Final = SQL["source_candidates_open"]
_SETTLED_OF_ENDPOINT: Final = SQL["candidates_settled_of_endpoint"]
_SETTLED_OF_ENVIRONMENT: Final = SQL["candidates_settled_of_environment"]
_SETTLED_OF_SOURCE: Final = SQL["source_candidates_settled"]
_SETTLED_OF_TENANT: Final = SQL["candidates_settled_of_tenant"]
_UNDELIVERED: Final = SQL["candidates_undelivered"]
_UNDELIVERED_OF_ENDPOINT: Final = SQL["candidates_undelivered_of_endpoint"]
_UNDELIVERED_OF_SOURCE: Final = SQL["source_candidates_undelivered"]

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


_PARTS: Final = msgspec.json.Decoder(tuple[int, int | None, int | None, list[Candidate]])
_NEWEST: Final = msgspec.json.Decoder(list[tuple[int, int | None]])


class _Scan:
    """One statement, and how far it was read."""

    def __init__(self, statement: str, bindings: dict[str, Any], start: Place) -> None:
        self._statement = statement
        self._bindings = bindings
        self.reached = start

    def read(self, connection: apsw.Connection) -> tuple[int, list[Candidate]]:
        """The next part: how many rows were looked at, and which of them are selected."""
        bindings = {**self._bindings, "event": self.reached[0], "endpoint": self.reached[1], "look": PART_ROWS}
        looked, event_key, endpoint_key, found = _PARTS.decode(value_of(connection, self._statement, bindings))
        if looked < PART_ROWS or event_key is None or endpoint_key is None:
            self.reached = END
        else:
            self.reached = (event_key, endpoint_key)
        return looked, found


def find(connection: apsw.Connection, job: Job, *, after: Place, limit: int, newest: int | None = None) -> Found:
    """Up to ``limit`` candidates behind ``after``, in one snapshot. May find none without being at the end.

    ``newest``: of events with keys up to it; None: of all that the job selects.
    """
    scans = _scans(job, after, job.filter.newest if newest is None else min(newest, job.filter.newest))
    types = Router({0: job.filter.types}) if job.filter.types else None
    found: list[Candidate] = []
    looked = 0
    reached = min((scan.reached for scan in scans), default=END)
    while reached < END and looked < STEP_ROWS:
        scan = min(scans, key=lambda s: s.reached)
        rows, part = scan.read(connection)
        looked += rows
        found += part if types is None else [candidate for candidate in part if types.match(candidate.type)]
        reached = min(s.reached for s in scans)
        if len(found) >= limit and sum(candidate[:2] <= reached for candidate in found) >= limit:
            break
    candidates = sorted(candidate for candidate in found if candidate[:2] <= reached)
    if len(candidates) > limit:
        del candidates[limit:]
        reached = candidates[-1][:2]
    return Found(candidates, reached, reached == END)


def superseded(connection: apsw.Connection, job: Job, candidates: Sequence[Candidate]) -> frozenset[Place]:
    """Those of the candidates that a job for the latest states leaves out: their endpoint is owed a newer event."""
    if job.mode is JobMode.ALL:
        return frozenset()
    keyed = [candidate for candidate in candidates if candidate.ordering_key is not None]
    wanted = list({(c.tenant, c.ordering_key, c.endpoint_key): None for c in keyed})
    document = value_of(connection, _NEWEST_OWED, (msgspec.json.encode(wanted).decode(), job.environment))
    newest = {wanted[position]: key for position, key in _NEWEST.decode(document)}
    return frozenset(
        (c.event_key, c.endpoint_key)
        for c in keyed
        if (newest[c.tenant, c.ordering_key, c.endpoint_key] or 0) > c.event_key
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
    bindings = {"newest": newest, "environment": job.environment, **_conditions(wanted)}
    scans = []
    if states & OPEN and not wanted.reasons:
        first, last = SELECTS_LANES[job.kind]
        attempts = {
            "attempts_min": 0 if State.WAITING in states else 1,
            "attempts_max": INTEGER_MAX if State.RETRYING in states else 0,
        }
        lanes = {"lane_min": first, "lane_max": last}
        statement = _OPEN if wanted.source_key is None else _OPEN_OF_SOURCE
        scans.append(_Scan(statement, {**bindings, **lanes, **attempts}, start))
    settled = states & FINAL
    if State.DELIVERED in settled:
        scans.append(_Scan(_settled(wanted), {**bindings, "states": _json(settled)}, start))
    else:
        statement = _undelivered(wanted)
        scans += [_Scan(statement, {**bindings, "state": state}, start) for state in sorted(settled)]
    return scans


def _settled(wanted: JobFilter) -> str:
    """The statement that finds settled deliveries with the least rows read."""
    if wanted.source_key is not None:
        return _SETTLED_OF_SOURCE
    if wanted.endpoint_key is not None:
        return _SETTLED_OF_ENDPOINT
    return _SETTLED_OF_ENVIRONMENT if wanted.tenant is None else _SETTLED_OF_TENANT


def _undelivered(wanted: JobFilter) -> str:
    """The statement that finds deliveries that were given up with the least rows read."""
    if wanted.source_key is not None:
        return _UNDELIVERED_OF_SOURCE
    return _UNDELIVERED if wanted.endpoint_key is None else _UNDELIVERED_OF_ENDPOINT


def _conditions(wanted: JobFilter) -> dict[str, Any]:
    return {
        "of_endpoint": wanted.endpoint_key,
        "of_source": wanted.source_key,
        "tenant": wanted.tenant,
        "ordering_key": wanted.ordering_key,
        "reasons": _json(wanted.reasons) if wanted.reasons else None,
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


def _json(texts: Sequence[str] | frozenset[State]) -> str:
    return msgspec.json.encode(sorted(texts)).decode()
