"""The store itself: does it write, how large is it, which version."""

from pathlib import Path
from typing import Final

import apsw

from posthouse.store.protocol import StoreStats
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.retention import retain, retained_from
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_KEY_FLOOR: Final = SQL["key_floor"]
_PROBE: Final = SQL["probe"]


class SqliteAdmin:
    """The admin facet."""

    def __init__(self, writer: Writer, readers: Readers, path: Path) -> None:
        self._writer = writer
        self._readers = readers
        self._path = path

    async def probe(self, *, now: int) -> None:
        """One real durable write; see the protocol."""
        await self._writer.submit(lambda connection: _probe(connection, now))

    async def make_room(self, *, now: int) -> None:
        """Nothing: a file grows as it is written; see the protocol."""

    async def retain(self, *, now: int, keep_ms: int, limit: int) -> bool:
        """Drop some of what is old; see the protocol."""
        return await self._writer.submit(lambda connection: retain(connection, now, keep_ms, limit))

    async def retained_from(self) -> int:
        """What was accepted before may be gone; see the protocol."""
        return await self._readers.read(retained_from)

    async def key_floor(self) -> int:
        """The greatest key in the store; see the protocol."""
        floor: int = await self._readers.read(lambda connection: value_of(connection, _KEY_FLOOR))
        return floor

    async def stats(self) -> StoreStats:
        """Sizes and versions; see the protocol."""
        return await self._readers.read(self._stats)

    def _stats(self, connection: apsw.Connection) -> StoreStats:
        log = Path(f"{self._path}-wal")
        return StoreStats(
            bytes_used=connection.pragma("page_count") * connection.pragma("page_size"),
            bytes_wal=log.stat().st_size if log.exists() else 0,
            schema_version=connection.pragma("user_version"),
            library=f"SQLite {apsw.sqlite_lib_version()}, apsw {apsw.apsw_version()}",
        )


def _probe(connection: apsw.Connection, now: int) -> Steps[None]:
    connection.execute(_PROBE, (now,))
    yield 1
