"""Migrations: forward only, whole or not at all, and never over a file that is not ours."""

import re
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from posthouse.core.errors import StoreIncompatible
from posthouse.core.head import headers_of
from posthouse.store.shared.migrations import Migration
from posthouse.store.sqlite.deduping import is_whole
from posthouse.store.sqlite.migrating import APPLICATION_ID, check_ours, known_migrations, migrate

KNOWN = known_migrations()
MORE = [*KNOWN, Migration(len(KNOWN) + 1, "more", "CREATE TABLE more (n INTEGER) STRICT;")]


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    return apsw.Connection(str(tmp_path / "store.db"))


def contents(connection: apsw.Connection) -> dict[str, object]:
    """The schema without comments and spaces, and the rows of every table but the migrations'."""
    found: dict[str, object] = {}
    for name, text in connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall():
        lines = [line.partition("--")[0] for line in str(text).splitlines()]
        found[str(name)] = re.sub(
            r" (?=[,)])", "", " ".join(" ".join(lines).split())
        )  # a column added later has no line
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'migrations'")
    for (name,) in tables.fetchall():
        found[f"rows of {name}"] = connection.execute(f'SELECT * FROM "{name}"').fetchall()  # noqa: S608 - our own names
    return found


def test_the_schema_file_is_what_the_migrations_make(connection: apsw.Connection) -> None:
    migrate(connection, KNOWN, now=1)
    described = apsw.Connection(":memory:")
    described.execute(files("posthouse.store.sqlite").joinpath("schema.sql").read_text("utf-8"))
    assert contents(connection) == contents(described)


def test_a_new_file_gets_every_step_once(connection: apsw.Connection) -> None:
    check_ours(connection, KNOWN)
    assert migrate(connection, KNOWN, now=7) == len(KNOWN)
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == len(KNOWN)
    recorded = connection.execute("SELECT number, name, checksum, applied_at FROM migrations").fetchall()
    assert recorded == [(m.number, m.name, m.checksum, 7) for m in KNOWN]
    check_ours(connection, KNOWN)
    assert migrate(connection, KNOWN, now=8) == 0


def test_an_older_store_gets_what_is_missing(connection: apsw.Connection) -> None:
    migrate(connection, KNOWN, now=1)
    check_ours(connection, MORE)
    assert migrate(connection, MORE, now=2) == 1
    assert connection.pragma("user_version") == len(MORE)


def test_open_deliveries_endpoints_and_tenants_are_taken_along(connection: apsw.Connection) -> None:
    """From the first schema: in no order, with no rules, made by the latest change of the catalogue."""
    migrate(connection, KNOWN[:1], now=1)
    owed, endpoint = (
        (9, 7, 1, 50, 2, 1, 3, 40),
        (7, "live", "acme", "u", "[]", "active", None, "", "[]", "[]", "r", 1, 2, 3, 4),
    )
    connection.execute("INSERT INTO obligations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", owed)
    connection.execute(f"INSERT INTO endpoints VALUES ({', '.join('?' * 15)})", endpoint)  # noqa: S608 - only places
    connection.execute("INSERT INTO tenants VALUES ('live', 'acme', 'Acme', 5)")
    connection.execute("UPDATE catalogue SET version = 3")
    assert migrate(connection, KNOWN, now=2) == len(KNOWN) - 1
    assert connection.execute("SELECT * FROM obligations").fetchall() == [(*owed, None, 0)]
    assert connection.execute("SELECT * FROM endpoints").fetchall() == [(*endpoint, "{}", 3)]
    assert connection.execute("SELECT * FROM tenants").fetchall() == [("live", "acme", "Acme", 5, "{}", 3)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_headers_of_requests_become_heads(connection: apsw.Connection) -> None:
    """In their order, whatever they hold."""
    migrate(connection, KNOWN[:5], now=1)
    for key, headers in ((1, '[["host","a:1"],["x-b","\\u00fc: \\"1\\""],["x-b",""]]'), (2, "[]")):
        row = (key, 7, "live", "acme", 5, "POST", "u", headers, "genuine", 200, b"{}")
        connection.execute(f"INSERT INTO requests VALUES ({', '.join('?' * 11)})", row)  # noqa: S608 - only places
    migrate(connection, KNOWN, now=2)
    heads = [head for (head,) in connection.execute("SELECT head FROM requests ORDER BY key")]
    assert [headers_of(head) for head in heads] == [(("host", "a:1"), ("x-b", 'ü: "1"'), ("x-b", "")), ()]


def test_a_store_that_took_nothing_in_recognises_repetitions_at_once(connection: apsw.Connection) -> None:
    """Nothing has to be made anew first."""
    migrate(connection, KNOWN[:3], now=1)
    migrate(connection, KNOWN, now=2)
    assert is_whole(connection)


def test_a_step_that_fails_leaves_the_store_as_it_was(connection: apsw.Connection) -> None:
    migrate(connection, KNOWN, now=1)
    before = contents(connection)
    bad = [*KNOWN, Migration(len(KNOWN) + 1, "bad", "CREATE TABLE half (n INTEGER); SELECT nothing;")]
    with pytest.raises(apsw.SQLError):
        migrate(connection, bad, now=2)
    assert contents(connection) == before
    assert connection.pragma("user_version") == len(KNOWN)
    assert not connection.in_transaction


def test_a_newer_store_is_refused(connection: apsw.Connection) -> None:
    migrate(connection, MORE, now=1)
    with pytest.raises(StoreIncompatible, match="schema version"):
        check_ours(connection, KNOWN)


def test_a_store_of_other_migrations_is_refused(connection: apsw.Connection) -> None:
    """A released step must never change."""
    migrate(connection, KNOWN, now=1)
    changed = [KNOWN[0]._replace(script=KNOWN[0].script + " "), *KNOWN[1:]]
    with pytest.raises(StoreIncompatible, match="other migrations"):
        check_ours(connection, changed)


def test_a_database_of_something_else_is_refused(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE theirs (n INTEGER)")
    with pytest.raises(StoreIncompatible, match="something else"):
        check_ours(connection, KNOWN)
    connection.pragma("application_id", 5)
    connection.execute("DROP TABLE theirs")
    with pytest.raises(StoreIncompatible, match="something else"):
        check_ours(connection, KNOWN)


def test_steps_are_numbered_without_a_gap() -> None:
    assert [m.number for m in KNOWN] == list(range(1, len(KNOWN) + 1))
    assert len({m.name for m in KNOWN}) == len(KNOWN)
