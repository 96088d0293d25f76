"""The tables of the outbox: made by the script or with a store, the same either way, with rights for who uses them."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.sdk.outbox import outbox_schema, publish
from posthouse.store.open import open_outbox, open_store
from posthouse.store.postgres.store import open_postgres
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, UNSAFE, connect, drop_database, make_database
from posthouse.testing.sluice import Sluice


async def say(connection: Any) -> None:
    """Publish an event in a transaction."""
    async with connection.transaction():
        await publish(connection, {"type": "a", "data": {}})


async def test_what_has_no_tables_says_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    name = await make_database(cluster, template=EMPTY)
    store = await open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0)
    source = open_outbox(cluster.dsn(name), store)
    sluice = await Sluice.open(store, source, clock=ManualClock())
    with pytest.raises(StoreUnavailable) as refused:
        await sluice.drain.step()
    assert "posthouse outbox schema" in refused.value.advice
    await source.close()
    await store.close()
    await drop_database(cluster, name)


async def test_a_store_may_move_in_where_the_tables_are_already(cluster: Cluster) -> None:
    """And drains what stood there before it came."""
    name = await make_database(cluster, template=EMPTY)
    application = await connect(cluster, name)
    await application.execute(outbox_schema())
    await say(application)
    store = await open_postgres(cluster.dsn(name), clock=ManualClock(), commit_interval_ms=0, rules=UNSAFE)
    assert store.outbox is not None
    sluice = await Sluice.open(store, store.outbox, clock=ManualClock())
    assert await sluice.empty() == 1
    await store.close()
    await application.close()
    await drop_database(cluster, name)


async def test_the_tables_of_the_script_are_those_of_the_store(cluster: Cluster) -> None:
    name = await make_database(cluster)
    looker = await connect(cluster, name)
    await looker.execute(outbox_schema(schema="elsewhere"))
    described = []
    for schema in ("posthouse", "elsewhere"):
        await looker.execute(f"SET search_path = {schema}")
        found = await looker.fetch(
            """
            SELECT c.relname, c.reloptions, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                a.attidentity, pg_get_expr(d.adbin, d.adrelid)
            FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
            LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'posthouse\\_outbox\\_v1%'
                AND c.relkind IN ('r', 'i')
            ORDER BY c.relname, a.attnum
            """
        )
        constraints = await looker.fetch(
            """
            SELECT c.relname, x.conname, pg_get_constraintdef(x.oid)
            FROM pg_constraint AS x JOIN pg_class AS c ON c.oid = x.conrelid
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'posthouse\\_outbox\\_v1%'
            ORDER BY x.conname
            """
        )
        described.append([tuple(row) for row in (*found, *constraints)])
    assert described[0] == described[1]
    assert len(described[0]) > 25
    await looker.close()
    await drop_database(cluster, name)


async def test_its_grants_are_enough_and_no_more(cluster: Cluster, tmp_path: Path) -> None:
    name = await make_database(cluster, template=EMPTY)
    looker = await connect(cluster, name)
    for role in ("shop", "gatekeeper"):
        await looker.execute(f"CREATE ROLE {role} LOGIN")
    await looker.execute(outbox_schema(application="shop", gateway="gatekeeper"))
    await looker.execute("SET ROLE shop")
    await say(looker)
    await say(looker)
    for forbidden in ("SELECT FROM {0}", "DELETE FROM {0}", "SELECT FROM {0}_head", "SELECT FROM {0}_doubts"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await looker.execute(forbidden.format("posthouse.posthouse_outbox_v1"))
    await looker.execute("RESET ROLE")
    await looker.execute("INSERT INTO posthouse.posthouse_outbox_v1 (type, data) VALUES ('', '1')")
    store = await open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0)
    source = open_outbox(cluster.dsn(name).replace("user=postgres", "user=gatekeeper"), store)
    sluice = await Sluice.open(store, source, clock=ManualClock())
    assert await sluice.empty() == 3
    assert (await source.status()).doubts == 1
    await source.close()
    await store.close()
    await looker.close()
    await drop_database(cluster, name)
    owner = await connect(cluster)
    await owner.execute("DROP ROLE shop, gatekeeper")
    await owner.close()
