"""Publishing by each library in a transaction of its own: what commits is published, and nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from posthouse.core.errors import InvalidInput
from posthouse.sdk.outbox import outbox_schema, publish
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, connect, drop_database, make_database

KEPT = {"type": "order.paid", "data": {"n": 1, "name": "ü"}, "occurred_at": "2025-01-31T12:34:56.789Z"}
UNDONE = {"type": "order.lost", "data": None}
NESTED = {"type": "order.sent", "data": [1, 2], "id": "own-1", "tenant": "acme", "ordering_key": "o 1"}


class Place:
    """A database with an outbox in it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.host, self.port, self.name = str(cluster.socket), cluster.port, name
        self.dsn = cluster.dsn(name)

    @property
    def libpq(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "user": "postgres", "dbname": self.name}

    @property
    def asyncpg(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "user": "postgres", "database": self.name}


class Undone(Exception):
    """Ends a savepoint or a transaction."""


def undo() -> None:
    raise Undone


# Each way publishes KEPT, then UNDONE in a savepoint that is rolled back, then NESTED in one that is released; then it
# commits, or ends with Undone. It returns the ids that it was told.


async def by_sqlalchemy_connection(place: Place, *, commit: bool) -> list[str]:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=place.libpq, poolclass=NullPool)
    ids: list[str] = []
    with engine.begin() as connection:
        ids.append(publish(connection, KEPT))
        with contextlib.suppress(Undone), connection.begin_nested():
            publish(connection, UNDONE)
            undo()
        with connection.begin_nested():
            ids.append(publish(connection, NESTED))
        if not commit:
            undo()
    return ids


async def by_sqlalchemy_session(place: Place, *, commit: bool) -> list[str]:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=place.libpq, poolclass=NullPool)
    ids: list[str] = []
    with Session(engine) as session, session.begin():
        ids.append(publish(session, KEPT))
        with contextlib.suppress(Undone), session.begin_nested():
            publish(session, UNDONE)
            undo()
        with session.begin_nested():
            ids.append(publish(session, NESTED))
        if not commit:
            undo()
    return ids


async def by_sqlalchemy_async_connection(place: Place, *, commit: bool) -> list[str]:
    engine = create_async_engine("postgresql+asyncpg://", connect_args=place.asyncpg, poolclass=NullPool)
    ids: list[str] = []
    async with engine.begin() as connection:
        ids.append(await publish(connection, KEPT))
        with contextlib.suppress(Undone):
            async with connection.begin_nested():
                await publish(connection, UNDONE)
                undo()
        async with connection.begin_nested():
            ids.append(await publish(connection, NESTED))
        if not commit:
            undo()
    return ids


async def by_sqlalchemy_async_session(place: Place, *, commit: bool) -> list[str]:
    engine = create_async_engine("postgresql+psycopg://", connect_args=place.libpq, poolclass=NullPool)
    ids: list[str] = []
    async with AsyncSession(engine) as session, session.begin():
        ids.append(await publish(session, KEPT))
        with contextlib.suppress(Undone):
            async with session.begin_nested():
                await publish(session, UNDONE)
                undo()
        async with session.begin_nested():
            ids.append(await publish(session, NESTED))
        if not commit:
            undo()
    return ids


async def by_asyncpg(place: Place, *, commit: bool) -> list[str]:
    ids: list[str] = []
    async with (
        asyncpg.create_pool(**place.asyncpg, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        ids.append(await publish(connection, KEPT))
        with contextlib.suppress(Undone):
            async with connection.transaction():
                await publish(connection, UNDONE)
                undo()
        async with connection.transaction():
            ids.append(await publish(connection, NESTED))
        if not commit:
            undo()
    return ids


async def by_psycopg(place: Place, *, commit: bool) -> list[str]:
    ids: list[str] = []
    with psycopg.connect(**place.libpq) as connection:
        ids.append(publish(connection, KEPT))
        with contextlib.suppress(Undone), connection.transaction():
            publish(connection, UNDONE)
            undo()
        with connection.transaction():
            ids.append(publish(connection, NESTED))
        if not commit:
            undo()
    return ids


async def by_psycopg_async(place: Place, *, commit: bool) -> list[str]:
    ids: list[str] = []
    async with (
        await psycopg.AsyncConnection.connect(**place.libpq, autocommit=True) as connection,
        connection.transaction(),
    ):
        ids.append(await publish(connection, KEPT))
        with contextlib.suppress(Undone):
            async with connection.transaction():
                await publish(connection, UNDONE)
                undo()
        async with connection.transaction():
            ids.append(await publish(connection, NESTED))
        if not commit:
            undo()
    return ids


async def by_django(place: Place, *, commit: bool) -> list[str]:
    return await asyncio.to_thread(django_application, place, commit=commit)


def django_application(place: Place, *, commit: bool) -> list[str]:
    """Django has a connection for each thread, and refuses to be called where a loop runs."""
    configure_django(place)
    ids: list[str] = []
    connection = connections["orders"]
    try:
        with transaction.atomic(using="orders"):
            ids.append(publish(connection, KEPT))
            with contextlib.suppress(Undone), transaction.atomic(using="orders"):
                publish(connection, UNDONE)
                undo()
            with transaction.atomic(using="orders"):
                ids.append(publish(connections["orders"], NESTED))
            if not commit:
                undo()
    finally:
        forget_django()
    return ids


def forget_django(alias: str = "orders") -> None:
    connections[alias].close()
    del connections[alias]


def configure_django(place: Place) -> None:
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": place.host,
        "PORT": place.port,
        "USER": "postgres",
        "NAME": place.name,
    }
    if not settings.configured:
        settings.configure()
        django.setup()
    connections.settings = connections.configure_settings({"default": database, "orders": database})


WAYS: list[Callable[..., Awaitable[list[str]]]] = [
    by_sqlalchemy_connection,
    by_sqlalchemy_session,
    by_sqlalchemy_async_connection,
    by_sqlalchemy_async_session,
    by_asyncpg,
    by_psycopg,
    by_psycopg_async,
    by_django,
]


@pytest.fixture
async def place(cluster: Cluster) -> AsyncIterator[Place]:
    name = await make_database(cluster, template=EMPTY)
    place = Place(cluster, name)
    looker = await connect(cluster, name)
    await looker.execute(outbox_schema())
    await looker.close()
    yield place
    await drop_database(cluster, name)


async def rows(place: Place) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(**place.asyncpg)
    try:
        found: list[asyncpg.Record] = await connection.fetch("SELECT * FROM posthouse.posthouse_outbox_v1 ORDER BY n")
        return found
    finally:
        await connection.close()


@pytest.mark.parametrize("way", WAYS)
async def test_what_commits_is_written_and_what_is_rolled_back_is_not(
    place: Place, way: Callable[..., Awaitable[list[str]]]
) -> None:
    with pytest.raises(Undone):
        await way(place, commit=False)
    assert await rows(place) == []
    ids = await way(place, commit=True)
    kept, nested = await rows(place)
    assert [kept["id"], nested["id"]] == ids
    assert kept["id"][14] == "7", "a UUID of version 7"
    assert (kept["type"], kept["data"], kept["tenant"]) == (
        "order.paid",
        '{"n":1,"name":"ü"}'.encode(),
        "default",
    )
    assert (kept["occurred_at"], kept["ordering_key"]) == (1_738_326_896_789, None)
    assert (nested["id"], nested["tenant"], nested["ordering_key"], nested["data"], nested["occurred_at"]) == (
        "own-1",
        "acme",
        "o 1",
        b"[1,2]",
        None,
    )
    assert {kept["environment"], nested["environment"]} == {"live"}


async def test_a_connection_without_a_transaction_is_refused(place: Place) -> None:
    """It would publish at once, whatever becomes of the rest."""
    connection = await asyncpg.connect(**place.asyncpg)
    with pytest.raises(InvalidInput) as refused:
        await publish(connection, KEPT)
    assert refused.value.errors[0]["code"] == "no_transaction"
    await connection.close()
    with psycopg.connect(**place.libpq, autocommit=True) as plain, pytest.raises(InvalidInput):
        publish(plain, KEPT)
    async with await psycopg.AsyncConnection.connect(**place.libpq, autocommit=True) as other:
        with pytest.raises(InvalidInput):
            await publish(other, KEPT)

    def django_without_atomic() -> None:
        configure_django(place)
        try:
            with pytest.raises(InvalidInput):
                publish(django.db.connection, KEPT)
        finally:
            forget_django("default")

    await asyncio.to_thread(django_without_atomic)
    assert await rows(place) == []


async def test_a_scoped_session_is_one_too(place: Place) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=place.libpq, poolclass=NullPool)
    session = scoped_session(sessionmaker(engine))
    publish(session, UNDONE)
    session.rollback()
    publish(session, KEPT)
    session.commit()
    session.remove()
    assert [row["type"] for row in await rows(place)] == ["order.paid"]


async def test_what_is_no_connection_is_refused(place: Place) -> None:
    """A pool or an engine has no transaction of yours."""
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=place.libpq, poolclass=NullPool)
    async_engine = create_async_engine("postgresql+asyncpg://", connect_args=place.asyncpg, poolclass=NullPool)
    async with asyncpg.create_pool(**place.asyncpg, min_size=1, max_size=1) as pool:
        for thing in (engine, async_engine, pool, psycopg.pq, settings):
            with pytest.raises(TypeError, match="no connection"):
                publish(thing, KEPT)


async def test_the_tables_may_stand_in_another_schema(cluster: Cluster, place: Place) -> None:
    looker = await connect(cluster, place.name)
    await looker.execute(outbox_schema(schema="mail_room"))
    async with looker.transaction():
        await publish(looker, KEPT, schema="mail_room", environment="test")
    assert await looker.fetchval("SELECT environment FROM mail_room.posthouse_outbox_v1") == "test"
    assert await rows(place) == []
    await looker.close()
