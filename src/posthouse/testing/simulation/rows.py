"""The store's rows, read from a copy of its files by another SQLite than the node's."""

import json
import shutil
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from posthouse.store.sqlite.store import DATABASE
from posthouse.testing.simulation.inbound_rows import InboundRows

Pair = tuple[int, int]  # event key, endpoint key

_MIGRATED: Final = "SELECT count(*) FROM sqlite_schema WHERE name = 'jobs'"
_RECEIVES: Final = "SELECT count(*) FROM sqlite_schema WHERE name = 'rhythms'"
_QUERIES: Final = {
    "events": "SELECT key, id, environment, tenant, type, accepted_at, occurred_at, ordering_key, owed, data"
    " FROM events",
    "obligations": "SELECT event_key, endpoint_key, lane, due_at, attempts, round, last_number, opened_at,"
    " ordering_key, behind FROM obligations",
    "history": "SELECT event_key, endpoint_key, round, state, reason, attempts, opened_at, settled_at FROM history"
    " ORDER BY event_key, endpoint_key, round",
    "reopened": "SELECT event_key, endpoint_key, round FROM reopened",
    "jobs": "SELECT key, kind, dry_run, state, total, done, skipped FROM jobs",
    "attempts": "SELECT event_key, endpoint_key, number, started_at, outcome, status, total_us, reused FROM attempts"
    " ORDER BY event_key, endpoint_key, number",
    "endpoints": "SELECT key, tenant, url, state, state_reason, events, retry FROM endpoints",
    "slots": "SELECT slot, owner, epoch, lease_until FROM slots",
    "identities": "SELECT environment, kind, value, tenant, event_key FROM identities",
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of ``events``."""

    key: int
    id: str
    environment: str
    tenant: str
    type: str
    accepted_at: int
    occurred_at: int | None
    ordering_key: str | None
    owed: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class ObligationRow:
    """A row of ``obligations``."""

    event_key: int
    endpoint_key: int
    lane: int
    due_at: int
    attempts: int
    round: int
    last_number: int
    opened_at: int
    ordering_key: str | None = None
    behind: int = 0


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of ``history``."""

    event_key: int
    endpoint_key: int
    round: int
    state: str
    reason: str | None
    attempts: int
    opened_at: int
    settled_at: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of ``attempts``."""

    event_key: int
    endpoint_key: int
    number: int
    started_at: int
    outcome: str
    status: int | None
    total_us: int
    reused: int


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A row of ``endpoints``."""

    key: int
    tenant: str
    url: str
    state: str
    state_reason: str | None
    events: tuple[str, ...]
    retry: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """A row of ``jobs``."""

    key: int
    kind: str
    dry_run: int
    state: str
    total: int | None
    done: int
    skipped: int


class Rows:
    """All rows of a store at one instant; none, if no life came as far as to make its tables.

    Attributes:
        integrity: ``ok``, or why the file is not sound.
        inbound: what came in.

    Args:
        directory: where its files are; nothing may write to them meanwhile. They are copied, so that the
            reader shares no lock with the node and recovers the log as a new process would.
        place: a directory for the copy.
    """

    def __init__(self, directory: Path, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        for path in sorted(directory.iterdir()):
            if path.name in {DATABASE, f"{DATABASE}-wal"}:
                shutil.copyfile(path, place / path.name)
        connection = sqlite3.connect(place / DATABASE, isolation_level=None)
        found: dict[str, list[Any]] = {name: [] for name in _QUERIES}
        self.inbound = InboundRows(None)
        try:
            self.integrity: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if connection.execute(_MIGRATED).fetchone()[0]:
                found = {name: connection.execute(sql).fetchall() for name, sql in _QUERIES.items()}
            if connection.execute(_RECEIVES).fetchone()[0]:
                self.inbound = InboundRows(connection)
        except sqlite3.DatabaseError as error:
            self.integrity = str(error)
        finally:
            connection.close()
            shutil.rmtree(place)
        self.events = {row[0]: EventRow(*(*row[:8], tuple(json.loads(row[8])), row[9])) for row in found["events"]}
        self.obligations = {row[:2]: ObligationRow(*row) for row in found["obligations"]}
        self.history: dict[Pair, list[HistoryRow]] = defaultdict(list)
        for row in found["history"]:
            self.history[row[:2]].append(HistoryRow(*row))
        self.reopened: dict[Pair, set[int]] = defaultdict(set)
        for event_key, endpoint_key, round_ in found["reopened"]:
            self.reopened[event_key, endpoint_key].add(round_)
        self.attempts: dict[Pair, list[AttemptRow]] = defaultdict(list)
        for row in found["attempts"]:
            self.attempts[row[:2]].append(AttemptRow(*row))
        self.endpoints = {
            row[0]: EndpointRow(*(*row[:5], tuple(json.loads(row[5])), row[6])) for row in found["endpoints"]
        }
        self.jobs = {row[0]: JobRow(*row) for row in found["jobs"]}
        self.slots: list[tuple[int, str | None, int, int]] = found["slots"]
        self.identities: list[tuple[str, str, str, str, int]] = found["identities"]

    @property
    def pairs(self) -> set[Pair]:
        """Every delivery that an event owes."""
        return {(event.key, endpoint_key) for event in self.events.values() for endpoint_key in event.owed}
