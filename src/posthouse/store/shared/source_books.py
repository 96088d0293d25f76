"""The books of sources, recounted: each request is in one place, and what a reading counts is there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from posthouse.core.model import Environment
from posthouse.store.protocol import SourceBooks

#: What each statement of the audit tells of a source, behind its key.
COLUMNS: Final = {
    "audit_requests": ("received", "waiting", "read", "quarantined", "astray"),
    "audit_inbox": ("inbox",),
    "audit_readings": ("readings", "read_events", "read_duplicates", "read_doubts"),
    "audit_arrivals": ("events",),
    "audit_repeats": ("duplicates",),
    "audit_quarantine": ("in_quarantine", "doubts", "doubted"),
}

_FIGURES: Final[tuple[str, ...]] = tuple(column for columns in COLUMNS.values() for column in columns)

#: What should be equal. The first three differ where a row speaks of a request that is not kept.
_PAIRS: Final = (
    ("inbox", "waiting"),
    ("readings", "read"),
    ("in_quarantine", "quarantined"),
    ("read_events", "events"),
    ("read_duplicates", "duplicates"),
    ("read_doubts", "doubts"),
)


def source_books(
    sources: Iterable[Iterable[Any]],
    told: Mapping[str, Iterable[Iterable[Any]]],
    bygone: Iterable[Iterable[Any]],
    environment: Environment,
    tenant: str | None,
) -> list[SourceBooks]:
    """The books of every source with requests.

    ``sources`` are (source key, environment, tenant); ``told`` are the rows of each statement, ``bygone`` what
    retention dropped: source key, figure, count; all in one snapshot.
    """
    homes = {key: (of_environment, of_tenant) for key, of_environment, of_tenant in sources}
    figures: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
    for statement, columns in COLUMNS.items():
        for source_key, *values in told[statement]:
            figures[source_key].update(zip(columns, values, strict=True))
    for source_key, figure, count in bygone:
        figures[source_key][figure] += count
    books = []
    for source_key, of_source in sorted(figures.items()):
        # Rows of a source that nothing else knows show wherever one looks.
        of_environment, of_tenant = homes.get(source_key, (environment, ""))
        if of_environment == environment and tenant in (None, of_tenant):
            books.append(_books(source_key, environment, of_tenant, of_source))
    return books


def _books(source_key: int, environment: Environment, tenant: str, f: Mapping[str, int]) -> SourceBooks:
    return SourceBooks(
        source_key=source_key,
        environment=environment,
        tenant=tenant,
        received=f["received"],
        waiting=f["waiting"],
        read=f["read"],
        quarantined=f["quarantined"],
        events=f["events"],
        duplicates=f["duplicates"],
        doubted=f["doubted"],
        imbalance=f["astray"] + sum(abs(f[one] - f[other]) for one, other in _PAIRS),
    )
