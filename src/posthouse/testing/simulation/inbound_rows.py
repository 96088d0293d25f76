"""The store's rows of what came in, as ``rows`` reads the others."""

import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

WHOLE: Final = -1  #: the position that stands for a request as a whole

_QUERIES: Final = {
    "requests": "SELECT key, source_key, tenant, received_at, url, head, verdict, status, body FROM requests",
    "inbox": "SELECT request_key, position, waived, due_at FROM inbox",
    "readings": "SELECT request_key, position, at, events, duplicates, quarantined, heartbeat FROM readings",
    "arrivals": "SELECT event_key, source_key, request_key, position, at, unchecked FROM arrivals",
    "repeats": "SELECT event_key, request_key, position FROM repeats",
    "quarantine": "SELECT request_key, position, source_key, objection, acknowledged, resolution FROM quarantine",
}

Place = tuple[int, int]  # request key, position


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A row of ``requests``."""

    key: int
    source_key: int
    tenant: str
    received_at: int
    url: str
    headers: tuple[tuple[str, str], ...]
    verdict: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A row of ``inbox``."""

    request_key: int
    position: int
    waived: str | None
    due_at: int


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A row of ``readings``."""

    request_key: int
    position: int
    at: int
    events: int
    duplicates: int
    quarantined: int
    heartbeat: int


@dataclass(frozen=True, slots=True)
class ArrivalRow:
    """A row of ``arrivals``."""

    event_key: int
    source_key: int
    request_key: int
    position: int
    at: int
    unchecked: int


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A row of ``quarantine``."""

    request_key: int
    position: int
    source_key: int
    objection: str
    acknowledged: int
    resolution: str | None

    @property
    def keeps(self) -> bool:
        """Whether it is in quarantine, or was given up there."""
        return self.resolution in {None, "discarded"}


class InboundRows:
    """All that came in, at one instant.

    Attributes:
        arrived: what became of each place that is an event now; ``arrivals`` has the same by the keys of events.
        repeats: of each place, the keys of the events that what stood there repeated.

    Args:
        connection: to a copy of the store; None: there are no such tables yet.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        found: dict[str, list[Any]] = {name: [] for name in _QUERIES}
        if connection is not None:
            found = {name: connection.execute(sql).fetchall() for name, sql in _QUERIES.items()}
        self.requests = {row[0]: _request(row) for row in found["requests"]}
        self.inbox = {row[:2]: InboxRow(*row) for row in found["inbox"]}
        self.readings = {row[:2]: ReadingRow(*row) for row in found["readings"]}
        self.arrivals = {row[0]: ArrivalRow(*row) for row in found["arrivals"]}
        self.arrived = {(row.request_key, row.position): row for row in self.arrivals.values()}
        self.repeats: dict[Place, list[int]] = defaultdict(list)
        for event_key, *place in found["repeats"]:
            self.repeats[place[0], place[1]].append(event_key)
        self.quarantine = {row[:2]: QuarantineRow(*row) for row in found["quarantine"]}


def _request(row: tuple[Any, ...]) -> RequestRow:
    key, source_key, tenant, received_at, url, head, *rest = row
    parts = [line.partition(":") for line in head.split("\r\n") if line]
    pairs = tuple((name.lower(), value.strip(" \t")) for name, _, value in parts)
    return RequestRow(key, source_key, tenant, received_at, url, pairs, *rest)
