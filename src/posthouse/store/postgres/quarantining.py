"""The quarantine: what is in it, and how it leaves."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from posthouse.core.inbound import WHOLE, Objection, Quarantined, Resolution
from posthouse.core.model import Environment
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import QuarantineQuery
from posthouse.store.shared.spans import INTEGER_MAX

_OF_ENVIRONMENT: Final = ("quarantine_of_environment_newest_first", "quarantine_of_environment_oldest_first")
_OF_SOURCE: Final = ("quarantine_of_source_newest_first", "quarantine_of_source_oldest_first")
_RESOLVED: Final = ("resolved_newest_first", "resolved_oldest_first")

_BEFORE_ALL: Final = (-1, WHOLE)
_BEHIND_ALL: Final = (INTEGER_MAX, WHOLE)


async def list_entries(transaction: Transaction, query: QuarantineQuery) -> list[Quarantined]:
    """Entries of the quarantine, by (request key, position)."""
    statements = _OF_ENVIRONMENT if query.source_key is None else _OF_SOURCE
    if query.resolved:
        statements = _RESOLVED
    after = query.after or (_BEFORE_ALL if query.oldest_first else _BEHIND_ALL)
    objections = list(query.objections) if query.objections else None
    rows = await transaction.rows(
        statements[query.oldest_first],
        query.environment,
        query.tenant,
        *after,
        query.source_key,
        objections,
        query.limit,
    )
    return [_entry(dict(row)) for row in rows]


def entry_columns(entries: Sequence[tuple[int, int]]) -> list[list[Any]]:
    """What the statement ``resolve_quarantined`` takes of the entries."""
    return columns(sorted(set(entries)), 2)


def in_their_order(entries: Sequence[tuple[int, int]], left: Iterable[Iterable[int]]) -> list[tuple[int, int]]:
    """Those of the entries that left, each once, as they were named."""
    resolved = {(request_key, position) for request_key, position in left}
    return [entry for entry in dict.fromkeys(entries) if entry in resolved]


def _entry(values: dict[str, Any]) -> Quarantined:
    values["environment"] = Environment(values["environment"])
    values["objection"] = Objection(values["objection"])
    if values["resolution"] is not None:
        values["resolution"] = Resolution(values["resolution"])
    return Quarantined(**values)
