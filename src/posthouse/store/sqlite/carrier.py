"""The embedded store as one end of a move."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.errors import NotFound, StoreIncompatible, StoreUnavailable
from posthouse.store.shared.copying import Bound, Place, Range, written
from posthouse.store.shared.custody import Custody
from posthouse.store.shared.moving import Row
from posthouse.store.shared.tables import SQLITE, Kind, Table
from posthouse.store.shared.tally import Tally
from posthouse.store.sqlite.backup import tally
from posthouse.store.sqlite.connection import BusyPolling, check_library, connect_reader, connect_writer, enter_wal
from posthouse.store.sqlite.custody import custody_in, put_custody
from posthouse.store.sqlite.lock import DirectoryLock
from posthouse.store.sqlite.migrating import check_ours, known_migrations, migrate
from posthouse.store.sqlite.remains import write_remains_again
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.store import DATABASE, LOCK, make_directory, make_file

_ALL_COLUMNS: Final = SQL["all_columns"]
_KEY_FLOOR: Final = SQL["key_floor"]
_LOG_PAGES_MAX: Final = 4_000  #: of the target's log, before it is copied into the file


class SqliteCarrier:
    """A store in a directory; as a :class:`~posthouse.store.shared.moving.Carrier`. Its calls block.

    Until :meth:`stop_nodes` a source is only read, beside the node that writes to it.
    """

    def __init__(self, directory: Path) -> None:
        self.name = str(directory.resolve())
        self._path = directory / DATABASE
        self._ends = ExitStack()
        self._locked = False
        self._connection: apsw.Connection

    @classmethod
    def source(cls, directory: Path) -> "SqliteCarrier":
        """Of the store that is there.

        Raises:
            NotFound: There is none.
            StoreIncompatible: It is none of this version.
            StoreUnavailable: It cannot be read.
        """
        check_library(apsw.sqlite_lib_version())
        carrier = cls(directory)
        if not carrier._path.is_file():
            raise NotFound(f"There is no store in {directory}.", hint="Name the data directory to move from.")
        with carrier._opening():
            carrier._use(connect_reader(carrier._path, patient=True))
            carrier._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # what is in the log stays there
            known = known_migrations()
            check_ours(carrier._connection, known)
            if carrier._connection.pragma("user_version") != len(known):
                raise StoreIncompatible(
                    f"The store in {directory} has an older schema.",
                    hint="Start a node of this version on it once, and then move it.",
                )
        return carrier

    @classmethod
    def target(cls, directory: Path, *, now: int) -> "SqliteCarrier":
        """Of a store that is made if there is none; nobody else may use it meanwhile.

        Raises:
            StoreInUse: A node runs on it, or another process fills it.
            StoreIncompatible: There is a store of another version.
            StoreUnavailable: The disk refuses.
        """
        check_library(apsw.sqlite_lib_version())
        carrier = cls(directory)
        with carrier._opening():
            make_directory(directory)
            carrier._lock()
            make_file(carrier._path)
            carrier._begin_to_write()
            enter_wal(carrier._connection)
            migrate(carrier._connection, known_migrations(), now=now)
        return carrier

    async def close(self) -> None:
        """Let go of it. Idempotent."""
        with _told():
            self._ends.close()

    async def stop_nodes(self) -> None:
        """Take the lock that a node would need, until the end. Raises StoreInUse."""
        with _told():
            self._lock()

    async def custody(self) -> Custody:
        """Whose its contents are."""
        with _told():
            return custody_in(self._connection)

    async def put_custody(self, custody: Custody) -> None:
        """Whose they are from now on. Raises StoreInUse if a node runs here."""
        with _told():
            if not self._locked:
                self._lock()
                self._connection.close()
                self._begin_to_write()
            put_custody(self._connection, custody)

    async def key_floor(self) -> int:
        """The greatest key in it."""
        with _told():
            floor: int = value_of(self._connection, _KEY_FLOOR)
            return floor

    async def tally(self) -> Tally:
        """Its books, recounted."""
        with _told():
            return tally(self._connection)

    async def count(self, table: Table) -> int:
        """How many rows a table has."""
        ((count, *_),) = self._asked(table, Range(table, SQLITE, None, None).marks()) or [(0,)]
        return int(count)

    async def end(self, table: Table, after: Place | None, count: int) -> Place | None:
        """The place of the ``count``-th row behind another place."""
        found = self._asked(table, Range(table, SQLITE, after, None).end(count))
        return found[0] if found else None

    async def marks(self, table: Table, after: Place | None, upto: Place | None) -> tuple[int, ...]:
        """The number of rows of a range, and sums over them."""
        found = self._asked(table, Range(table, SQLITE, after, upto).marks())
        return found[0] if found else (0,) * (1 + len(table.marks))

    async def rows(self, table: Table, after: Place | None, upto: Place | None) -> AsyncIterator[Row]:
        """The rows of a range, one by one."""
        if self._is_lost(table):
            return
        statement, values = Range(table, SQLITE, after, upto).rows()
        with _told():
            for row in self._connection.execute(statement, values):
                yield [_read(column, value) for column, value in zip(table.columns, row, strict=True)]

    async def replace(self, table: Table, after: Place | None, upto: Place | None, rows: AsyncIterator[Row]) -> None:
        """Put these rows in the place of all that a range holds."""
        columns, constant = written(table, SQLITE)
        insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - by tables.py
        with _told(), self._connection:
            self._connection.execute(*Range(table, SQLITE, after, upto).deletion())
            async for row in rows:
                self._connection.execute(insert, [*_written(table, row), *constant])

    async def clear(self, table: Table) -> None:
        """Leave no row in a table."""
        with _told():
            self._connection.execute(f"DELETE FROM {table.name}")  # noqa: S608 - by tables.py

    def _asked(self, table: Table, bound: Bound) -> list[Any]:
        with _told():
            return [] if self._is_lost(table) else rows_of(self._connection, *bound)

    def _is_lost(self, table: Table) -> bool:
        there = {column for name, column in rows_of(self._connection, _ALL_COLUMNS) if name == table.name}
        return table.may_be_lost and there != {column.name for column in table.columns_in(SQLITE)}

    def _lock(self) -> None:
        if not self._locked:
            self._ends.callback(DirectoryLock(self._path.with_name(LOCK)).release)
            self._locked = True

    def _begin_to_write(self) -> None:
        write_remains_again(self._path, vfs=None)
        self._use(connect_writer(self._path, busy=BusyPolling(patient=True)))
        self._connection.wal_autocheckpoint(_LOG_PAGES_MAX)
        check_ours(self._connection, known_migrations())

    def _use(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._ends.callback(connection.close)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            with _told():
                yield
        except BaseException:
            self._ends.close()
            raise


def _read(column: Any, value: Any) -> Any:
    """A value as it is on its way."""
    if value is None:
        return None
    if column.made is not None:
        return column.made(value)
    if column.kind is Kind.FLAG:
        return bool(value)
    if column.kind is Kind.KEYS:
        return msgspec.json.decode(value, type=list[int])
    return value


def _written(table: Table, row: Row) -> list[Any]:
    """The values that the engine has columns for, as it keeps them."""
    values: list[Any] = []
    for column, value in zip(table.columns, row, strict=True):
        if column.asked is not None:
            continue
        if column.kind is Kind.KEYS:
            values.append(f"[{','.join(map(str, value))}]")
        elif column.kind is Kind.FLAG and value is not None:
            values.append(int(value))
        else:
            values.append(value)
    return values


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise StoreUnavailable(f"The embedded store cannot be read or written: {error}") from error
