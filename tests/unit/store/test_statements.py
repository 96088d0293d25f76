"""The named SQL: it parses, it compiles, and it finds its rows by index."""

import re
from importlib.resources import files

import apsw
import pytest

from posthouse.store.shared.statements import parse
from posthouse.store.sqlite.statements import SQL

#: Statements that read a table from end to end, and why they may.
SCANS = {
    "all_api_keys": "the catalogue is read whole",
    "all_endpoints": "the catalogue is read whole",
    "all_health": "endpoints that are well have no row",
    "all_rhythms": "one row a source",
    "all_sources": "the catalogue is read whole",
    "all_tenants": "the catalogue is read whole",
    "all_migrations": "a handful of rows",
    "all_nodes": "a row a node, and 256 slots",
    "all_numbers": "a row a node",
    "orphan_slots": "256 rows",
    "all_slots": "256 rows",
    "slots_for_node": "256 rows",
    "take_slots": "256 rows",
    "release_slots": "256 rows",
    "void_leases": "256 rows",
    "audit_arrivals": "the audit recounts everything",
    "audit_endpoints": "the audit recounts everything",
    "audit_inbox": "the audit recounts everything",
    "audit_open": "the audit recounts everything",
    "audit_owed": "the audit recounts everything",
    "audit_quarantine": "the audit recounts everything",
    "audit_readings": "the audit recounts everything",
    "audit_reopened": "the audit recounts everything",
    "audit_repeats": "the audit recounts everything",
    "audit_requests": "the audit recounts everything",
    "audit_settled": "the audit recounts everything",
    "audit_sources": "the audit recounts everything",
    "book_settled": "the rounds of one step, put together before they are summed",
    "count_tables": "the schema",
    "feed_commit_before": "from the end back, up to a bound",
    "feed_end": "the last row",
    "first_feed_commits": "the first rows, up to a bound",
    "key_floor": "max() of a primary key is one seek",
    "quarantined_bytes": "an index of what was refused and is not resolved",
}
SORTS = {
    name for name in SQL if name.startswith(("all_", "audit_", "book_", "describe_"))
}  #: bounded by a page, or whole
SORTS.add("quarantined_bytes")  # one group a source
SORTS.add("survey")  # one page
TABLES = (
    "events|identities|obligations|history|attempts|reopened|endpoints|tenants|api_keys|slots|health|[a-z_]+_periods"
    "|feed_commits|feed_consumers|sources|requests|inbox|readings|arrivals|repeats|seen|quarantine|streams|incidents|rhythms"
)


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(files("posthouse.store.sqlite").joinpath("schema.sql").read_text("utf-8"))
    return connection


def bindings(statement: str) -> dict[str, None] | tuple[None, ...]:
    names = set(re.findall(r":([a-z_]+)", statement))
    if names:
        return dict.fromkeys(names)
    numbered = [int(n) for n in re.findall(r"\?(\d+)", statement)]
    return (None,) * (max(numbered) if numbered else statement.count("?"))


@pytest.mark.parametrize("name", SQL)
def test_every_statement_compiles_and_uses_an_index(database: apsw.Connection, name: str) -> None:
    """A table is read from end to end, or sorted, only where that is meant."""
    statement = SQL[name]
    steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", bindings(statement))]
    scans = [step for step in steps if re.match(rf"SCAN ({TABLES}|o|e|h|p|a|i|n|r|d|q|s)\b", step)]
    assert not scans or name in SCANS
    assert not [step for step in steps if "TEMP B-TREE" in step] or name in SORTS


@pytest.mark.parametrize("name", ["fetch_due", "next_due_at", "not_in_order", "open_of_endpoint", "survey"])
def test_queues_are_read_through_their_index(database: apsw.Connection, name: str) -> None:
    steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", bindings(SQL[name]))]
    used = [step for step in steps if re.search(r"\b(o|obligations) USING", step)]
    assert used
    assert all("obligations_by_due" in step for step in used)


def test_a_fetch_starts_where_it_is_told(database: apsw.Connection) -> None:
    """It goes through no queue from the start to get there."""
    steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {SQL['fetch_due']}", (None,) * 6)]
    place = "obligations_by_due (endpoint_key=? AND lane=? AND (due_at,event_key)>(?,?) AND due_at<?)"
    assert any(place in step for step in steps)


#: Statements about one ordering key or all that keep one, and the index in which they find them.
ORDERED = {
    "ahead_of_endpoint": "obligations_ahead",
    "behind_before": "obligations_behind",
    "behind_of_endpoint": "obligations_behind",
    "fetch_due": "obligations_behind",
    "insert_ordered": "obligations_ahead",
    "keep_order": "obligations_ahead",
    "let_out": "obligations_behind",
    "newest_behind": "obligations_behind",
    "ordered_endpoints": "obligations_ahead",
    "reopen_obligation": "obligations_ahead",
    "step_back": "obligations_ahead",
    "step_forward": "obligations_behind",
}


@pytest.mark.parametrize("name", ORDERED)
def test_who_stands_where_costs_no_walk(database: apsw.Connection, name: str) -> None:
    """However many stand behind."""
    steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", bindings(SQL[name]))]
    assert any(f"INDEX {ORDERED[name]} (endpoint_key=?" in step for step in steps)


#: Statements about what comes in that must not walk over what they do not return, and how they find it.
SOUGHT = {
    "events_of_source": "arrivals_by_source (source_key=? AND rowid>? AND rowid<?)",
    "expired_in_quarantine": "quarantine_refused (at<?)",
    "fetch_inbox": "PRIMARY KEY (source_key=? AND (request_key,position)>(?,?))",
    "fill_gap": "incidents_open (kind=? AND source_key=? AND stream=? AND first<?)",
    "inbox_heads": "inbox_by_due (source_key=?)",
    "list_incidents": "INTEGER PRIMARY KEY (rowid<?)",
    "next_inbox_due_at": "inbox_by_due (source_key=? AND due_at>?)",
    "pick_requests_of_environment": "PRIMARY KEY (environment=? AND period>? AND period<?)",
    "pick_requests_of_source": "PRIMARY KEY (source_key=? AND period>? AND period<?)",
    "pick_requests_of_tenant": "PRIMARY KEY (environment=? AND tenant=? AND period>? AND period<?)",
    "prune_seen": "seen_by_time (at<?)",
    "quarantine_of_environment_newest_first": "by_environment (environment=? AND (request_key,position)<(?,?))",
    "quarantine_of_environment_oldest_first": "by_environment (environment=? AND (request_key,position)>(?,?))",
    "quarantine_of_source_newest_first": "quarantine_by_source (source_key=? AND (request_key,position)<(?,?))",
    "quarantine_of_source_oldest_first": "quarantine_by_source (source_key=? AND (request_key,position)>(?,?))",
    "source_candidates_open": "arrivals_by_source (source_key=? AND rowid>? AND rowid<?)",
    "source_candidates_settled": "arrivals_by_source (source_key=? AND rowid>? AND rowid<?)",
    "source_candidates_undelivered": "arrivals_by_source (source_key=? AND rowid>? AND rowid<?)",
    "waiting_in_inbox": "PRIMARY KEY (source_key=? AND request_key=? AND position=?)",
}


@pytest.mark.parametrize("name", SOUGHT)
def test_what_comes_in_is_found_where_it_is(database: apsw.Connection, name: str) -> None:
    steps = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", bindings(SQL[name]))]
    assert any(SOUGHT[name] in step for step in steps), steps


def test_no_statement_is_left_over() -> None:
    """Each one is named in exactly the modules that run it."""
    package = files("posthouse.store.sqlite")
    sources = "".join(file.read_text("utf-8") for file in package.iterdir() if file.name.endswith(".py"))
    assert set(re.findall(r'SQL\["([a-z_]+)"\]', sources)) == set(SQL)


def test_parsing() -> None:
    text = "-- name: one\n-- What it does.\nSELECT 1;\n\n-- name: two\n-- More\n-- lines.\nSELECT 2\nFROM x;\n"
    assert parse(text) == {"one": "SELECT 1;", "two": "SELECT 2\nFROM x;"}


@pytest.mark.parametrize(
    "text",
    [
        "-- name: undescribed\nSELECT 1;",
        "-- name: empty\n-- Nothing.\n",
        "-- name: twice\n-- A.\nSELECT 1;\n-- name: twice\n-- A.\nSELECT 1;",
    ],
)
def test_a_bad_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="query"):
        parse(text)
