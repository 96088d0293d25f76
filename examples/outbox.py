"""Publish in a transaction of your own, by the library that you use already.

python outbox.py LIBRARY DSN, where LIBRARY is one of: sqlalchemy, sqlalchemy-async, asyncpg, psycopg, psycopg-async,
django. The database holds the tables that `posthouse outbox schema` prints, and a table of yours:
CREATE TABLE orders (number integer PRIMARY KEY).
"""

import asyncio
import sys
from typing import Any

from posthouse.sdk.outbox import publish


def order_paid(number: int) -> dict[str, Any]:
    """What happened. An id of your own makes a repeat recognisable; without one it gets a UUID."""
    return {"type": "order.paid", "id": f"order-{number}-paid", "data": {"order": number}}


def with_sqlalchemy(dsn: str) -> None:
    """A Connection, or a Session."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        publish(connection, order_paid(1))
    with Session(engine) as session, session.begin():
        session.execute(text("INSERT INTO orders VALUES (2)"))
        publish(session, order_paid(2))
    engine.dispose()


async def with_sqlalchemy_async(dsn: str) -> None:
    """An AsyncConnection, or an AsyncSession: publish() is awaited."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+psycopg:", 1))
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO orders VALUES (3)"))
        await publish(connection, order_paid(3))
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(text("INSERT INTO orders VALUES (4)"))
        await publish(session, order_paid(4))
    await engine.dispose()


async def with_asyncpg(dsn: str) -> None:
    """A connection, also one of a pool."""
    import asyncpg

    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute("INSERT INTO orders VALUES (5)")
        await publish(connection, order_paid(5))
    await connection.close()


def with_psycopg(dsn: str) -> None:
    """The block commits when it ends well."""
    import psycopg

    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO orders VALUES (6)")
        publish(connection, order_paid(6))


async def with_psycopg_async(dsn: str) -> None:
    """As above; publish() is awaited."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("INSERT INTO orders VALUES (7)")
        await publish(connection, order_paid(7))


def with_django(dsn: str) -> None:
    """The connection of the alias that you write to, within atomic()."""
    import django
    from django.conf import settings
    from django.db import connections, transaction
    from psycopg.conninfo import conninfo_to_dict

    place = {name.upper(): value for name, value in conninfo_to_dict(dsn).items()}
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": place.pop("DBNAME"), **place}
    settings.configure(DATABASES={"default": database})  # your own settings have it already
    django.setup()
    with transaction.atomic(using="default"):
        connection = connections["default"]
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (8)")
        publish(connection, order_paid(8))


def main(library: str, dsn: str) -> None:
    """Sell something by one library."""
    done = globals()[f"with_{library.replace('-', '_')}"](dsn)
    if done is not None:
        asyncio.run(done)
    print(f"{library}: committed")


if __name__ == "__main__":
    main(*sys.argv[1:])
