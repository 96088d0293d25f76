"""Every column of both engines has its place in the table that a move goes by."""

from pathlib import Path

import apsw
import pytest

from posthouse.store.open import open_store
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.shared.tables import POSTGRESQL, SQLITE, TABLES, Carried, Kind
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import TEMPLATE, connect

#: Types of columns in PostgreSQL, and what they are on their way.
KINDS = {
    "bigint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "smallint": Kind.INTEGER,
    "text": Kind.TEXT,
    "bytea": Kind.BYTES,
    "boolean": Kind.FLAG,
    "double precision": Kind.REAL,
    "bigint[]": Kind.KEYS,
}


async def columns_of_postgres(cluster: Cluster) -> dict[str, dict[str, str]]:
    connection = await connect(cluster, TEMPLATE)
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = $1::text::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped",
        SCHEMA,
    )
    await connection.close()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


async def columns_of_sqlite(folder: Path) -> dict[str, set[str]]:
    await (await open_store(folder, clock=ManualClock())).close()
    connection = apsw.Connection(str(folder / "posthouse.db"))
    rows = connection.execute(
        "SELECT t.name, c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    ).fetchall()
    connection.close()
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(str(table), set()).add(str(column))
    return found


async def test_every_column_is_carried_or_stays_for_a_reason(cluster: Cluster, tmp_path: Path) -> None:
    """A new table or column fails here until `store/shared/tables.py` says what becomes of it in a move."""
    there: dict[str, dict[str, set[str]]] = {
        SQLITE: await columns_of_sqlite(tmp_path),
        POSTGRESQL: {table: set(columns) for table, columns in (await columns_of_postgres(cluster)).items()},
    }
    known = {table.name: table for table in TABLES}
    wrong = []
    for engine, tables in there.items():
        wrong += [f"{engine}: the table {name} is not in tables.py" for name in tables.keys() - known.keys()]
        for name, columns in tables.items():
            table = known.get(name)
            if table is None or table.carried is Carried.STAYS:
                continue
            named = {column.name for column in table.columns_in(engine)} | {*table.fixed.get(engine, {}), *table.void}
            wrong += [f"{engine}: {name}.{column} is not in tables.py" for column in columns - named]
            wrong += [f"tables.py: {engine} has no {name}.{column}" for column in named - columns]
    wrong += [f"tables.py: no engine has {name}" for name in known if not any(name in there[e] for e in there)]
    carried = {name for name, table in known.items() if table.carried is not Carried.STAYS}
    wrong += [f"{engine} has no table {name}" for engine in there for name in carried - there[engine].keys()]
    assert sorted(wrong) == []


async def test_every_column_is_of_the_kind_that_it_is_said_to_be(cluster: Cluster) -> None:
    there = await columns_of_postgres(cluster)
    for table in TABLES:
        for column in table.columns:
            assert KINDS[there[table.name][column.name]] is column.kind, f"{table.name}.{column.name}"


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table.carried is not Carried.STAYS], ids=lambda t: t.name
)
async def test_no_two_rows_share_the_place_by_which_both_engines_find_them(
    cluster: Cluster, table: object, tmp_path: Path
) -> None:
    await (await open_store(tmp_path, clock=ManualClock())).close()
    connection = apsw.Connection(str(tmp_path / "posthouse.db"))
    found = next(t for t in TABLES if t is table)
    primary = [
        str(name)
        for (name,) in connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (found.name,))
        if name not in found.fixed.get(SQLITE, {})
    ]
    connection.close()
    assert set(primary) <= set(found.order)
    assert set(found.marks) <= {column.name for column in found.columns if column.kind is Kind.INTEGER}
