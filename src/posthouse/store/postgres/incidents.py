"""What may be wrong with what comes in, and how each source usually speaks."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from posthouse.core.inbound import Incident, IncidentKind, Rhythm
from posthouse.core.model import Environment
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import IncidentQuery
from posthouse.store.shared.spans import INTEGER_MAX

_PAUSES: Final = msgspec.json.Decoder(tuple[int, ...])

_encode = msgspec.json.Encoder().encode


async def open_incidents(transaction: Transaction, rows: Sequence[tuple[Any, ...]]) -> int:
    """Record incidents, of each kind one for a source unless one is open for it; how many were recorded.

    The columns are those of :class:`Incident`; the caller holds the guards of their sources.
    """
    first: dict[tuple[Any, Any], tuple[Any, ...]] = {}
    for row in rows:
        first.setdefault((row[3], row[4]), row)
    if not first:
        return 0
    return len(await transaction.rows("open_incidents", *columns(list(first.values()), 12)))


async def close_incidents(transaction: Transaction, kind: IncidentKind, source_key: int, now: int) -> bool:
    """Close what is open of this kind of a source; whether there was something."""
    return await transaction.count("close_incidents", kind, source_key, now) > 0


async def list_incidents(transaction: Transaction, query: IncidentQuery) -> list[Incident]:
    """Incidents, newest first."""
    rows = await transaction.rows(
        "list_incidents",
        INTEGER_MAX if query.after is None else query.after,
        query.environment,
        query.tenant,
        query.source_key,
        query.kind,
        query.is_open,
        query.limit,
    )
    return [
        Incident(**{**row, "environment": Environment(row["environment"]), "kind": IncidentKind(row["kind"])})
        for row in map(dict, rows)
    ]


def rhythm_of(row: Iterable[Any]) -> Rhythm:
    """How a source speaks, out of its row."""
    source_key, seen_at, seen, pauses, day = row
    return Rhythm(source_key=source_key, seen_at=seen_at, seen=seen, pauses=_PAUSES.decode(pauses), day=day)


def rhythm_columns(rhythms: Sequence[Rhythm]) -> list[list[Any]]:
    """What the statement ``put_rhythms`` takes; of several of one source the last."""
    latest = {r.source_key: (r.source_key, r.seen_at, r.seen, _encode(r.pauses).decode(), r.day) for r in rhythms}
    return columns(list(latest.values()), 5)
