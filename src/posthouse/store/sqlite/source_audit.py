"""The books of sources, recounted: each request is in one place, and what a reading counts is there."""

from collections import defaultdict
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.model import Environment
from posthouse.store.protocol import SourceBooks
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL

_ARRIVALS: Final = SQL["audit_arrivals"]
_INBOX: Final = SQL["audit_inbox"]
_QUARANTINE: Final = SQL["audit_quarantine"]
_READINGS: Final = SQL["audit_readings"]
_REPEATS: Final = SQL["audit_repeats"]
_REQUESTS: Final = SQL["audit_requests"]
_SOURCES: Final = SQL["audit_sources"]

#: What each statement tells of a source, behind its key.
_COLUMNS: Final = {
    _REQUESTS: ("received", "waiting", "read", "quarantined", "astray"),
    _INBOX: ("inbox",),
    _READINGS: ("readings", "read_events", "read_duplicates", "read_doubts"),
    _ARRIVALS: ("events",),
    _REPEATS: ("duplicates",),
    _QUARANTINE: ("in_quarantine", "doubts", "doubted"),
}


def audit(connection: apsw.Connection, environment: Environment, tenant: str | None) -> list[SourceBooks]:
    """The books of every source with requests, in the one snapshot that ``connection`` stands in."""
    homes = {key: (of_environment, of_tenant) for key, of_environment, of_tenant in _rows(connection, _SOURCES)}
    figures: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(sum(_COLUMNS.values(), ()), 0))
    for statement, columns in _COLUMNS.items():
        for source_key, *values in _rows(connection, statement):
            figures[source_key].update(zip(columns, values, strict=True))
    books = []
    for source_key, of_source in sorted(figures.items()):
        # Rows of a source that nothing else knows show wherever one looks.
        of_environment, of_tenant = homes.get(source_key, (environment, ""))
        if of_environment == environment and tenant in (None, of_tenant):
            books.append(_books(source_key, environment, of_tenant, of_source))
    return books


def _books(source_key: int, environment: Environment, tenant: str, f: dict[str, int]) -> SourceBooks:
    # What should be equal. The first three differ where a row speaks of a request that is not kept.
    pairs = (
        ("inbox", "waiting"),
        ("readings", "read"),
        ("in_quarantine", "quarantined"),
        ("read_events", "events"),
        ("read_duplicates", "duplicates"),
        ("read_doubts", "doubts"),
    )
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
        imbalance=f["astray"] + sum(abs(f[one] - f[other]) for one, other in pairs),
    )


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    rows: list[Any] = msgspec.json.decode(value_of(connection, statement))
    return rows
