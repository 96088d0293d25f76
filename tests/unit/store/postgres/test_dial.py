"""What a connection notes while it is asked."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from posthouse.store.postgres.dial import PostgresWire


class Telling:
    """As much of a driver's connection as makes a wire, and a voice for the server."""

    def __init__(self) -> None:
        self.tell: list[Callable[[object, object], None]] = []

    def get_server_pid(self) -> int:
        return 7

    def add_log_listener(self, told: Callable[[object, object], None]) -> None:
        self.tell.append(told)

    def notice(self, **fields: Any) -> None:
        for told in self.tell:
            told(self, SimpleNamespace(**fields))


@pytest.mark.parametrize(
    ("severity", "severity_en", "is_warning"),
    [("WARNUNG", "WARNING", True), ("WARNING", None, True), ("HINWEIS", "NOTICE", False), ("NOTICE", None, False)],
)
def test_a_warning_is_one_in_any_language(severity: str, severity_en: str | None, *, is_warning: bool) -> None:
    """The server translates the word; what it does not translate has stood beside it since PostgreSQL 9.6."""
    connection: Any = Telling()
    wire = PostgresWire(connection, "test")
    connection.notice(severity=severity, severity_en=severity_en)
    assert len(wire.warnings()) == is_warning
    assert wire.warnings() == []
