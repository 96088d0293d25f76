"""Migrations: forward only, whole or not at all, by one node at a time, and never over a store that is not ours."""

import asyncio
import re
from collections.abc import AsyncIterator
from importlib.resources import files

import asyncpg
import pytest

from posthouse.core.errors import StoreIncompatible
from posthouse.core.failpoints import Failpoint
from posthouse.store.postgres import migrating
from posthouse.store.postgres.dial import Dialler, PostgresWire, Session
from posthouse.store.postgres.dsn import SCHEMA, parse_dsn
from posthouse.store.postgres.migrating import known_migrations, migrate
from posthouse.store.postgres.outcome import Contended, Refused
from posthouse.store.shared.migrations import Migration
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, connect, drop_database, make_database
from posthouse.testing.postgres.waiting import until

KNOWN = known_migrations()
MORE = [*KNOWN, Migration(len(KNOWN) + 1, "more", "CREATE TABLE more (n integer);")]


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster, template=EMPTY)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def wires(cluster: Cluster, database: str) -> AsyncIterator[list[PostgresWire]]:
    dialler = Dialler(parse_dsn(cluster.dsn(database)))
    wires = [await dialler.dial(Session(name="test", settings={})) for _ in range(2)]
    yield wires
    for wire in wires:
        wire.terminate()


@pytest.fixture
def wire(wires: list[PostgresWire]) -> PostgresWire:
    return wires[0]


@pytest.fixture
async def looker(cluster: Cluster, database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await connect(cluster, database)
    await connection.execute(f"SET search_path = {SCHEMA}")
    yield connection
    await connection.close()


async def contents(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> dict[str, list[str]]:
    """Columns, indexes, constraints and options of a schema's tables, and how many rows they have."""
    questions = {
        "columns": """
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
                l.collname, pg_get_expr(d.adbin, d.adrelid)
            FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
                LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
                LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
            WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY c.relname, a.attnum""",
        "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY indexdef",
        "constraints": """
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = $1::text::regnamespace ORDER BY 1, 2""",
        "options": """
            SELECT relname, reloptions FROM pg_class
            WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'i') ORDER BY relname""",
    }
    found = {
        name: [re.sub(rf"\b{schema}\.", "", str(tuple(row))) for row in await connection.fetch(question, schema)]
        for name, question in questions.items()
    }
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
    for (table,) in tables:
        if table != "migrations":
            # An outbox names itself by chance.
            shown = "t.one::text" if table == "posthouse_outbox_v1_head" else "t::text"
            rows = await connection.fetch(f"SELECT {shown} FROM {schema}.{table} AS t ORDER BY 1")  # noqa: S608 - ours
            found[f"rows of {table}"] = [row[0] for row in rows]
    return found


async def test_the_schema_file_is_what_the_migrations_make(
    wire: PostgresWire, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await migrate(wire, SCHEMA, KNOWN, now=1)
    described = files("posthouse.store.postgres").joinpath("schema.sql").read_text("utf-8")
    await looker.execute(f"CREATE SCHEMA described; SET search_path = described; {described}")
    assert await contents(looker, SCHEMA) == await contents(looker, "described")


async def test_a_new_database_gets_every_step_once(
    wire: PostgresWire, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    assert await migrate(wire, SCHEMA, KNOWN, now=7) == len(KNOWN)
    recorded = await looker.fetch("SELECT number, name, checksum, applied_at FROM migrations ORDER BY number")
    assert [tuple(row) for row in recorded] == [(m.number, m.name, m.checksum, 7) for m in KNOWN]
    assert await migrate(wire, SCHEMA, KNOWN, now=8) == 0


async def test_two_nodes_that_start_at_once_do_it_once(wires: list[PostgresWire]) -> None:
    applied = await asyncio.gather(*(migrate(wire, SCHEMA, MORE, now=1) for wire in wires))
    assert sum(applied) == len(MORE)


async def test_an_older_store_gets_what_is_missing(wire: PostgresWire) -> None:
    await migrate(wire, SCHEMA, KNOWN, now=1)
    assert await migrate(wire, SCHEMA, MORE, now=2) == 1


async def test_a_step_that_fails_leaves_the_store_as_it_was(
    wire: PostgresWire, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await migrate(wire, SCHEMA, KNOWN, now=1)
    before = await contents(looker, SCHEMA)
    bad = [*KNOWN, Migration(len(KNOWN) + 1, "bad", "CREATE TABLE half (n integer); SELECT nothing;")]
    with pytest.raises(Refused):
        await migrate(wire, SCHEMA, bad, now=2)
    await wire.command("ROLLBACK")
    assert await contents(looker, SCHEMA) == before
    assert await migrate(wire, SCHEMA, KNOWN, now=3) == 0


@pytest.mark.parametrize(
    "at", [Failpoint.MIGRATE_BEGUN, Failpoint.MIGRATE_APPLIED, Failpoint.MIGRATE_RECORDED, Failpoint.MIGRATE_DONE]
)
async def test_a_node_that_dies_leaves_whole_steps(wires: list[PostgresWire], at: Failpoint) -> None:
    dying, next_one = wires

    def die(reached: Failpoint) -> None:
        if reached is at:
            dying.terminate()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await migrate(dying, SCHEMA, KNOWN, now=1, reach=die)
    done = 1 if at is Failpoint.MIGRATE_DONE else 0
    assert await migrate(next_one, SCHEMA, KNOWN, now=2) == len(KNOWN) - done


async def test_a_newer_store_is_refused(wire: PostgresWire) -> None:
    await migrate(wire, SCHEMA, MORE, now=1)
    with pytest.raises(StoreIncompatible, match="schema version"):
        await migrate(wire, SCHEMA, KNOWN, now=2)


async def test_a_newer_store_that_older_nodes_can_read_is_not(wire: PostgresWire) -> None:
    """So that nodes can be replaced one by one."""
    script = f"-- A column more.\n-- readable-from: {len(KNOWN)}\nALTER TABLE events ADD COLUMN note text;"
    newer = [*KNOWN, Migration(len(KNOWN) + 1, "expand", script)]
    await migrate(wire, SCHEMA, newer, now=1)
    assert await migrate(wire, SCHEMA, KNOWN, now=2) == 0


async def test_a_store_of_other_migrations_is_refused(wire: PostgresWire) -> None:
    """A released step must never change."""
    await migrate(wire, SCHEMA, KNOWN, now=1)
    changed = [KNOWN[0]._replace(script=KNOWN[0].script + " "), *KNOWN[1:]]
    with pytest.raises(StoreIncompatible, match="other migrations"):
        await migrate(wire, SCHEMA, changed, now=2)


async def test_a_store_lives_beside_the_tables_of_others(
    wire: PostgresWire, looker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await looker.execute("CREATE TABLE public.events (theirs text)")
    await migrate(wire, SCHEMA, KNOWN, now=1)
    assert await looker.fetchval("SELECT count(*) FROM posthouse.events") == 0
    assert await looker.fetchval("SELECT count(*) FROM public.events") == 0


async def test_a_step_that_waits_for_a_table_lets_others_have_it_meanwhile(
    wire: PostgresWire, looker: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a waiting ALTER TABLE waits too; so it gives up soon, and tries again."""
    await migrate(wire, SCHEMA, KNOWN, now=1)
    monkeypatch.setattr(migrating, "STEP_LOCK_MS", 20)
    monkeypatch.setattr(migrating, "STEP_TRIES", 2)
    alter = [*KNOWN, Migration(len(KNOWN) + 1, "alter", "ALTER TABLE probe ADD COLUMN more integer;")]
    await looker.execute("BEGIN; SELECT FROM probe")
    with pytest.raises(Contended):
        await migrate(wire, SCHEMA, alter, now=2)
    monkeypatch.setattr(migrating, "STEP_TRIES", 1_000)
    tried: list[Failpoint] = []
    stepping = asyncio.ensure_future(migrate(wire, SCHEMA, alter, now=2, reach=tried.append))
    await until(lambda: tried.count(Failpoint.MIGRATE_BEGUN) > 1)
    await looker.execute("COMMIT")
    assert await stepping == 1
