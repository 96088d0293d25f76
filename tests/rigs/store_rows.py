"""The rows that a store must hold, table by table, as plain dictionaries: what the rigs compare a disk with."""

from typing import Any, Final

import apsw

Key = tuple[Any, ...]
Row = tuple[Any, ...]

#: Table → columns of the key, other columns. Indexes and contents of pages are SQLite's own check.
TABLES: Final = {
    "events": ("key", "id, environment, tenant, type, accepted_at, occurred_at, ordering_key, owed, data"),
    "identities": ("environment, kind, value, tenant", "fingerprint, event_key"),
    "environment_periods": ("environment, period", ""),
    "tenant_periods": ("environment, tenant, period", ""),
    "endpoint_periods": ("endpoint_key, period", ""),
    "obligations": (
        "event_key, endpoint_key",
        "lane, due_at, attempts, round, last_number, opened_at, ordering_key, behind",
    ),
    "history": ("event_key, endpoint_key, round", "state, reason, lane, attempts, opened_at, settled_at"),
    "reopened": ("event_key, endpoint_key, round", "previous_state, previous_reason, at"),
    "attempts": ("event_key, endpoint_key, number", "started_at, outcome, status, response_body"),
    "catalogue": ("one", "version"),
    "endpoints": ("key", "environment, tenant, url, state, state_reason, updated_at"),
    "tenants": ("environment, id", "name, created_at"),
    "api_keys": ("key", "hash, name"),
    "remembered": ("environment, key", "fingerprint, ref"),
    "health": ("endpoint_key", "failing_since, opened_at, probes, warned, usual_rate"),
    "jobs": (
        "key",
        "kind, state, total, counted, counted_event, counted_endpoint, done, skipped, cursor_event, cursor_endpoint",
    ),
    "slots": ("slot", "owner, epoch, lease_until"),
    "probe": ("one", "at"),
}


class Rows:
    """Every table as a dictionary from key to row."""

    def __init__(self) -> None:
        """What a new store holds."""
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in TABLES}
        self.tables["catalogue"][1,] = (0,)
        self.tables["probe"][1,] = (0,)
        self.tables["slots"] = {(slot,): (None, 0, 0) for slot in range(256)}

    def __getitem__(self, name: str) -> dict[Key, Row]:
        return self.tables[name]

    @classmethod
    def read(cls, connection: apsw.Connection) -> "Rows":
        """What a store holds, in one snapshot."""
        rows = cls()
        connection.execute("BEGIN")
        for name, (key, other) in TABLES.items():
            width = key.count(",") + 1
            columns = f"{key}, {other}" if other else key
            found = connection.execute(f"SELECT {columns} FROM {name}")  # noqa: S608 - both are constants
            rows.tables[name] = {row[:width]: row[width:] for row in found}
        connection.execute("ROLLBACK")
        return rows

    def copy(self) -> "Rows":
        """The same rows, to be changed apart."""
        other = Rows()
        other.tables = {name: dict(table) for name, table in self.tables.items()}
        return other

    def same(self, other: "Rows") -> bool:
        """Whether every table holds the same."""
        return self.tables == other.tables

    def differences(self, found: "Rows") -> list[str]:
        """What ``found`` lacks, has too much and has otherwise; one line for each table."""
        lines = []
        for name, expected in self.tables.items():
            actual = found.tables[name]
            lacks = [key for key in expected if key not in actual]
            extra = [key for key in actual if key not in expected]
            other = [(expected[key], actual[key]) for key in expected if key in actual and expected[key] != actual[key]]
            if lacks or extra or other:
                lines.append(f"{name}: lacks {lacks[:3]}, has too much {extra[:3]}, has otherwise {other[:2]}"[:500])
        return lines
