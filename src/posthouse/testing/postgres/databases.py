"""Databases of a cluster: each test gets one of its own, with the tables in it already."""

import itertools
import os
from typing import Final

import asyncpg

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.server import ServerRules
from posthouse.store.postgres.store import PostgresStore, open_postgres
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.waiting import until

UNSAFE: Final = ServerRules(allow_unsafe=True)  #: the test's server is fast, not durable
#: A database with an empty store in it. Processes that share a server have one each: their schemas may differ.
TEMPLATE: Final = f"template_{os.getpid()}"
EMPTY: Final = "template0"  #: a database with nothing in it

_numbers = itertools.count()


async def make_template(cluster: Cluster) -> None:
    """The database which others are copies of."""
    await administer(cluster, f"CREATE DATABASE {TEMPLATE} STRATEGY file_copy")
    await (await open_store_at(cluster.dsn(TEMPLATE))).close()


async def drop_template(cluster: Cluster) -> None:
    """Remove it from a server that goes on."""
    await drop_database(cluster, TEMPLATE)


async def make_database(cluster: Cluster, *, template: str = TEMPLATE) -> str:
    """The name of a new database, with an empty store in it unless another template is named."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await administer(cluster, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return name


async def drop_database(cluster: Cluster, name: str) -> None:
    """Remove it, whoever is still connected."""
    await administer(cluster, f"DROP DATABASE {name} WITH (FORCE)")


async def deadlocks(cluster: Cluster, name: str) -> int:
    """How often somebody waited in a circle there. Stores must be closed: a connection tells for sure at its end."""
    looker = await connect(cluster)
    try:
        query = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name <> '')"
        await until(lambda: looker.fetchval(query, name))
        count: int = await looker.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", name)
        return count
    finally:
        await looker.close()


async def open_store_at(dsn: str) -> PostgresStore:
    """The store in a database of a test's server."""
    clock = ManualClock()
    return await open_postgres(dsn, clock=clock, commit_interval_ms=0, rules=UNSAFE, patience_s=0, days_ahead=0)


async def connect(cluster: Cluster, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
    """A plain connection, for what a test looks at or breaks behind the store's back."""
    return await asyncpg.connect(host=str(cluster.socket), port=cluster.port, user="postgres", database=database)


async def administer(cluster: Cluster, statement: str) -> None:
    """Run a statement as the server's owner."""
    try:
        connection = await connect(cluster)
    except OSError as error:
        raise StoreUnavailable("The test's server is gone.") from error
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
