"""Reading: a few connections that cannot write, each used by one caller at a time."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

import apsw

from posthouse.core.errors import StoreUnavailable
from posthouse.store.sqlite.offload import Offload

T = TypeVar("T")


def in_snapshot(connection: apsw.Connection, read: Callable[[apsw.Connection], T]) -> T:
    """Run ``read`` in one snapshot: everything that was committed before, nothing after.

    Raises:
        StoreUnavailable: The file cannot be read.
    """
    try:
        connection.execute("BEGIN")
        try:
            return read(connection)
        finally:
            connection.execute("ROLLBACK")
    except apsw.Error as error:
        raise StoreUnavailable(f"The store cannot be read: {error}") from error


class Readers:
    """A pool of connections for reads that may take long, off the loop's thread."""

    def __init__(self, connections: Sequence[apsw.Connection], offload: Offload) -> None:
        self._count = len(connections)
        self._offload = offload
        self._closed = False
        # The queue is read off the loop: a caller that was cancelled cannot leak a connection.
        self._free: SimpleQueue[apsw.Connection] = SimpleQueue()
        for connection in connections:
            self._free.put(connection)

    async def read(self, read: Callable[[apsw.Connection], T]) -> T:
        """The result of ``read`` in one snapshot. Raises :class:`StoreUnavailable`."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")

        def run() -> T:
            connection = self._free.get()
            try:
                return in_snapshot(connection, read)
            finally:
                self._free.put(connection)

        return await self._offload(run)

    async def close(self) -> None:
        """Wait for running reads, then close all connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._count):
            await self._offload(lambda: self._free.get().close())
