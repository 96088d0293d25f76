"""Looking for the candidates of a bulk job; what to look for is said in :mod:`posthouse.store.shared.candidates`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from posthouse.core.jobs import Job
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared import candidates as shared
from posthouse.store.shared.candidates import END, Candidate, Found, Part, Place, Query, wanted_newest

_EVENTS: Final = (
    *("event", "endpoint", "newest", "look"),
    *("environment", "tenant", "ordering_key", "since", "until", "older_than"),
)
_OPEN: Final = (*_EVENTS, "of_endpoint", "lane_min", "lane_max", "attempts_min", "attempts_max")
_SETTLED: Final = (*_EVENTS, "reasons", "states")
_UNDELIVERED: Final = (*_EVENTS, "reasons", "state")

#: The statements, and which value each of their parameters is.
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "candidates_open": _OPEN,
    "candidates_settled_of_endpoint": (*_SETTLED, "of_endpoint"),
    "candidates_settled_of_environment": _SETTLED,
    "candidates_settled_of_tenant": _SETTLED,
    "candidates_undelivered": _UNDELIVERED,
    "candidates_undelivered_of_endpoint": (*_UNDELIVERED, "of_endpoint"),
    "source_candidates_open": (*_OPEN, "of_source"),
    "source_candidates_settled": (*_SETTLED, "of_endpoint", "of_source"),
    "source_candidates_undelivered": (*_UNDELIVERED, "of_endpoint", "of_source"),
}
_PLACE_COLUMNS: Final = 3  #: in front of those of a candidate


async def find(t: Transaction, job: Job, *, after: Place, limit: int, newest: int | None = None) -> Found:
    """Up to ``limit`` candidates behind ``after``, in the snapshot that ``t`` is; see there."""
    if _asks_for_the_impossible(job):
        return Found((), END, exhausted=True)
    finding = shared.find(job, after=after, limit=limit, newest=newest)
    try:
        query = next(finding)
        while True:
            rows = await t.rows(query.name, *_values(query))
            query = finding.send(_part([tuple(row) for row in rows]))
    except StopIteration as end:
        found: Found = end.value
        return found


async def superseded(t: Transaction, job: Job, candidates: Sequence[Candidate]) -> frozenset[Place]:
    """Those of the candidates that a job for the latest states leaves out; see there."""
    wanted = wanted_newest(job, candidates)
    if not wanted:
        return frozenset()
    rows = await t.rows("newest_owed", job.environment, *columns(wanted, 3))
    return shared.superseded(candidates, {(tenant, key, endpoint): newest for tenant, key, endpoint, newest in rows})


def _asks_for_the_impossible(job: Job) -> bool:
    """Whether its filter names something that no row can hold: the database would refuse to look for it."""
    return any(text is not None and storable(text) != text for text in (job.filter.tenant, job.filter.ordering_key))


def _values(query: Query) -> list[Any]:
    """What its parameters are. Of several texts those are left out that no row can hold."""
    values = (query.values[name] for name in _PARAMETERS[query.name])
    return [
        [text for text in value if storable(text) == text] if isinstance(value, list) else value for value in values
    ]


def _part(rows: Sequence[tuple[Any, ...]]) -> Part:
    candidates = [Candidate(*row[_PLACE_COLUMNS:]) for row in rows if row[_PLACE_COLUMNS] is not None]
    looked, event_key, endpoint_key = rows[0][:_PLACE_COLUMNS]
    return Part(looked, event_key, endpoint_key, candidates)
