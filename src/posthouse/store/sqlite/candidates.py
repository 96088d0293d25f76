"""Looking for the candidates of a bulk job; what to look for is said in :mod:`posthouse.store.shared.candidates`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.jobs import Job
from posthouse.store.shared import candidates as shared
from posthouse.store.shared.candidates import Candidate, Found, Part, Place, wanted_newest
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL

_NEWEST_OWED: Final = SQL["newest_owed"]
_STATEMENTS: Final = {
    "candidates_open": SQL["candidates_open"],
    "candidates_settled_of_endpoint": SQL["candidates_settled_of_endpoint"],
    "candidates_settled_of_environment": SQL["candidates_settled_of_environment"],
    "candidates_settled_of_tenant": SQL["candidates_settled_of_tenant"],
    "candidates_undelivered": SQL["candidates_undelivered"],
    "candidates_undelivered_of_endpoint": SQL["candidates_undelivered_of_endpoint"],
    "source_candidates_open": SQL["source_candidates_open"],
    "source_candidates_settled": SQL["source_candidates_settled"],
    "source_candidates_undelivered": SQL["source_candidates_undelivered"],
}

_PARTS: Final = msgspec.json.Decoder(tuple[int, int | None, int | None, list[Candidate]])
_NEWEST: Final = msgspec.json.Decoder(list[tuple[int, int | None]])


def find(connection: apsw.Connection, job: Job, *, after: Place, limit: int, newest: int | None = None) -> Found:
    """Up to ``limit`` candidates behind ``after``, in the snapshot that ``connection`` stands in; see there."""
    finding = shared.find(job, after=after, limit=limit, newest=newest)
    try:
        query = next(finding)
        while True:
            document = value_of(connection, _STATEMENTS[query.name], _bindings(query.values))
            query = finding.send(Part(*_PARTS.decode(document)))
    except StopIteration as end:
        found: Found = end.value
        return found


def superseded(connection: apsw.Connection, job: Job, candidates: Sequence[Candidate]) -> frozenset[Place]:
    """Those of the candidates that a job for the latest states leaves out; see there."""
    wanted = wanted_newest(job, candidates)
    document = value_of(connection, _NEWEST_OWED, (_json(wanted), job.environment))
    newest = {wanted[position]: key for position, key in _NEWEST.decode(document)}
    return shared.superseded(candidates, newest)


def _bindings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as SQLite takes them: lists are JSON arrays."""
    return {name: _json(value) if isinstance(value, list) else value for name, value in values.items()}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
