"""The named SQL: it is asked for at one place, it compiles, and it finds its rows by index."""

import ast
import json
import re
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from posthouse.store.postgres.dial import PINNED
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.postgres.statements import SQL
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database

#: Statements that read a table, or an index, from end to end, and why they may.
WHOLE = {
    **dict.fromkeys(
        (f"audit_{what}" for what in ("owed", "settled", "reopened", "open", "endpoints")),
        "the audit recounts everything",
    ),
    "long_transactions": "whom the server serves",
    **dict.fromkeys(
        (f"audit_{what}" for what in ("sources", "requests", "readings", "arrivals", "repeats", "quarantine")),
        "the audit recounts everything",
    ),
    "all_columns": "the server's own list of tables",
    "all_rhythms": "one row a source",
    "feed_held": "the server's own list of transactions",
    "open_incidents": "an index of those that are not closed",
    "outbox_waits": "the first row by its index",
    "outbox_rows": "the first rows by their index",
    "outbox_status": "counted up to a bound",
    "quarantined_bytes": "an index of what was refused and is not resolved",
}
#: Tables that do not grow with what passes through.
SMALL = {
    "catalogue",
    "custody",
    "days",
    "feed_base",
    "feed_floor",
    "migrations",
    "node_numbers",
    "nodes",
    "order_guards",
    "posthouse_outbox_v1_head",
    "probe",
    "slots",
}


@pytest.fixture(scope="module")
def named() -> tuple[set[str], tuple[str, ...]]:
    """All text that stands in the modules, and how text starts that is put together."""
    strings: set[str] = set()
    starts: set[str] = set()
    engine, shared = (files(f"posthouse.store.{folder}").iterdir() for folder in ("postgres", "shared"))
    for file in (*engine, *shared):
        if file.name.endswith(".py"):
            tree = ast.parse(file.read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    strings.add(node.value)
                if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                    starts.add(str(node.values[0].value))
    return strings, tuple(start for start in starts if start.endswith("_"))


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    name = await make_database(cluster)
    connection = await connect(cluster, name)
    await connection.execute(f"SET search_path = {SCHEMA}")
    for setting, value in PINNED.items():
        await connection.execute(f"SET {setting} = {value}")
    yield connection
    await connection.close()
    await drop_database(cluster, name)


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Every step of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def reads_whole(node: dict[str, Any]) -> bool:
    """Whether a step of a plan goes through all rows of a table."""
    by_index = node["Node Type"] in {"Index Scan", "Index Only Scan"}
    return node["Node Type"] == "Seq Scan" or (by_index and "Index Cond" not in node)


async def plan_of(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> dict[str, Any]:
    """The plan that a lane uses, whatever is asked for."""
    await connection.execute(f"PREPARE asked AS {statement}")
    count = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'"
    )
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{values}")
    await connection.execute("DEALLOCATE asked")
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def test_each_statement_is_asked_for(named: tuple[set[str], tuple[str, ...]]) -> None:
    strings, starts = named
    assert [name for name in SQL if name not in strings and not name.startswith(starts)] == []


def test_no_statement_gives_whatever_columns_there_are() -> None:
    """A column that a newer version added must not reach an older one."""
    assert [
        name for name, statement in SQL.items() if re.search(r"(SELECT|RETURNING) \*(?! FROM unnest)", statement)
    ] == []


async def test_each_statement_compiles(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """What does not would fail in whatever test comes first, and prove nothing about it."""
    for statement in SQL.values():
        await connection.prepare(statement)


async def test_each_statement_finds_its_rows_by_index(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    whole: dict[str, set[str]] = {}
    for name, statement in SQL.items():
        if statement.startswith(("CREATE", "DROP", "ALTER", "LOCK")):
            continue
        plan = await plan_of(connection, statement)
        read = {node["Relation Name"] for node in nodes(plan) if reads_whole(node)} - SMALL
        if read:
            whole[name] = read
    assert whole.keys() == WHOLE.keys(), sorted(whole.items())
