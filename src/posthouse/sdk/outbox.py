"""Publishing in a transaction of your own: the event is published if that commits, and only then.

``publish(connection, event)`` writes one row into the outbox, by the connection that it is given: one of SQLAlchemy 2
(also a session, sync or async), asyncpg, psycopg 3 (sync or async) or Django. A gateway drains the outbox; while none
runs, events wait in it.

None of these libraries is needed or imported here: a connection is recognised by where its class comes from.
"""

import importlib
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.model import Environment
from posthouse.core.publishing import check_event, read_event
from posthouse.sdk.outbox_schema import SCHEMA, TABLE, outbox_schema, plain_name

__all__ = ["outbox_schema", "publish"]

_COLUMNS: Final = ("id", "environment", "tenant", "type", "occurred_at", "ordering_key", "data")
_PSYCOPG_IDLE: Final = 0  #: pq.TransactionStatus: no transaction is open

Row = tuple[object, ...]


def publish(connection: Any, event: object, *, environment: str = "live", schema: str = SCHEMA) -> Any:
    """Write ``event`` into the outbox, in the transaction that is open on ``connection``.

    Args:
        connection: Of a library that is named above. It is neither committed nor closed.
        event: As the API takes it: a mapping with ``type`` and ``data`` and, if wanted, ``tenant``, ``id``,
            ``occurred_at`` (RFC 3339) and ``ordering_key``; or a ``NewEvent`` of the client; or its JSON as bytes.
        environment: ``live`` or ``test``.
        schema: Where the tables of the outbox stand.

    Returns:
        The event's id: its own, or a new UUIDv7. From an asynchronous connection an awaitable of it, which must be
        awaited.

    Raises:
        InvalidInput, MalformedJson, TooLarge: The API would refuse the event for the same reason. Nothing was written.
            Also InvalidInput with the code ``no_transaction``: the connection would commit at once by itself.
        TypeError: The connection is of no library that is known here, or JSON cannot say the event.
    """
    write = _writer_of(connection)
    row = _row(event, environment)
    return write(connection, row, f"{plain_name(schema)}.{TABLE}")


def _row(event: object, environment: str) -> Row:
    body = event if isinstance(event, bytes) else msgspec.json.encode(event)
    said = check_event(read_event(body))
    if environment not in set(Environment):
        raise InvalidInput.at("environment", "environment", "The environment is neither 'live' nor 'test'.")
    id_ = said.id or _uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
    return id_, str(environment), said.tenant, said.type, said.occurred_at, said.ordering_key, said.data


def _uuid7(now_ms: int, chance: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 bits of chance."""
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | chance & (1 << 62) - 1
    return str(uuid.UUID(int=value))


# -- one writer for each library ------------------------------------------------------------------


def _writer_of(connection: Any) -> Callable[[Any, Row, str], str | Awaitable[str]]:
    """How to write by this connection; subclasses of the libraries' classes are known too."""
    kind = type(connection)
    for base in kind.__mro__:
        for place, (mark, write) in _LIBRARIES.items():
            # Not every thing of a library is a connection: engines, pools and cursors are none.
            if f"{base.__module__}.".startswith(place) and hasattr(connection, mark):
                is_async = write is _write_psycopg and base.__name__.startswith("Async")
                return _write_psycopg_async if is_async else write
    raise TypeError(f"publish() knows no connection of the class {kind.__module__}.{kind.__qualname__}.")


def _write_sqlalchemy(connection: Any, row: Row, table: str) -> str:
    connection.execute(*_for_sqlalchemy(row, table))
    return str(row[0])


async def _write_sqlalchemy_async(connection: Any, row: Row, table: str) -> str:
    await connection.execute(*_for_sqlalchemy(row, table))
    return str(row[0])


def _for_sqlalchemy(row: Row, table: str) -> tuple[Any, dict[str, object]]:
    values = ", ".join("CAST(:occurred_at AS bigint)" if name == "occurred_at" else f":{name}" for name in _COLUMNS)
    text = importlib.import_module("sqlalchemy").text
    return text(_insert(table, values)), dict(zip(_COLUMNS, row, strict=True))


async def _write_asyncpg(connection: Any, row: Row, table: str) -> str:
    if not connection.is_in_transaction():
        raise _no_transaction("Use 'async with connection.transaction():'.")
    await connection.execute(_insert(table, "$1, $2, $3, $4, $5, $6, $7"), *row)
    return str(row[0])


def _write_psycopg(connection: Any, row: Row, table: str) -> str:
    _prove_transaction_of_psycopg(connection)
    connection.execute(_insert(table, _PLACES), row)
    return str(row[0])


async def _write_psycopg_async(connection: Any, row: Row, table: str) -> str:
    _prove_transaction_of_psycopg(connection)
    await connection.execute(_insert(table, _PLACES), row)
    return str(row[0])


def _prove_transaction_of_psycopg(connection: Any) -> None:
    """Without autocommit, the statement opens one."""
    if connection.autocommit and connection.info.transaction_status == _PSYCOPG_IDLE:
        raise _no_transaction("Use 'with connection.transaction():'.")


def _write_django(connection: Any, row: Row, table: str) -> str:
    if connection.vendor != "postgresql":
        raise TypeError(f"publish() writes to PostgreSQL only, not to {connection.vendor}.")
    if not connection.in_atomic_block and connection.get_autocommit():
        raise _no_transaction("Use 'with transaction.atomic(using=alias):'.")
    with connection.cursor() as cursor:
        cursor.execute(_insert(table, _PLACES), row)
    return str(row[0])


_PLACES: Final = "%s, %s, %s, %s, %s, %s, %s"

#: Where classes come from, what only connections of that library have, and how to write by them.
_LIBRARIES: Final[dict[str, tuple[str, Callable[[Any, Row, str], str | Awaitable[str]]]]] = {
    "sqlalchemy.ext.asyncio.": ("begin_nested", _write_sqlalchemy_async),
    "sqlalchemy.": ("begin_nested", _write_sqlalchemy),
    "asyncpg.": ("is_in_transaction", _write_asyncpg),
    "psycopg.": ("autocommit", _write_psycopg),
    "django.": ("in_atomic_block", _write_django),
}


def _insert(table: str, values: str) -> str:
    return f"INSERT INTO {table} ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608 - of constants and a plain name


def _no_transaction(hint: str) -> InvalidInput:
    message = "The connection has no open transaction, so the event would be published whatever becomes of the rest."
    return InvalidInput.at("connection", "no_transaction", message, hint=hint)
