"""The read pool."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.store.sqlite.connection import connect_reader
from posthouse.store.sqlite.offload import Threads
from posthouse.store.sqlite.readers import Readers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "WAL")
    connection.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY); INSERT INTO notes VALUES (1)")
    return path


@pytest.fixture
async def readers(path: Path) -> AsyncIterator[Readers]:
    threads = Threads("test", 2)
    readers = Readers([connect_reader(path, patient=True) for _ in range(2)], threads)
    yield readers
    await readers.close()
    threads.close()


def count(connection: apsw.Connection) -> int:
    return len(connection.execute("SELECT n FROM notes").fetchall())


async def test_a_read_is_one_snapshot(readers: Readers, path: Path) -> None:
    """What is committed in the middle of it shows in the next one."""
    started, go = threading.Event(), threading.Event()

    def twice(connection: apsw.Connection) -> tuple[int, int]:
        before = count(connection)
        started.set()
        go.wait(10)
        return before, count(connection)

    reading = asyncio.ensure_future(readers.read(twice))
    await asyncio.to_thread(started.wait, 10)
    writer = apsw.Connection(str(path))
    writer.execute("INSERT INTO notes VALUES (2)")
    go.set()
    assert await reading == (1, 1)
    assert await readers.read(count) == 2
    writer.close()


async def test_a_reader_cannot_write(readers: Readers) -> None:
    with pytest.raises(StoreUnavailable):
        await readers.read(lambda connection: connection.execute("DELETE FROM notes"))
    assert await readers.read(count) == 1


async def test_errors_leave_the_connection_usable(readers: Readers) -> None:
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await readers.read(lambda connection: connection.execute("SELECT * FROM nothing"))
        with pytest.raises(ZeroDivisionError):
            await readers.read(lambda _: 1 // 0)
    assert await readers.read(count) == 1


async def test_a_read_that_nobody_waits_for_loses_no_connection(readers: Readers) -> None:
    go = threading.Event()
    reading = [asyncio.ensure_future(readers.read(lambda _: go.wait(10))) for _ in range(4)]
    await asyncio.sleep(0)
    for task in reading:
        task.cancel()
    go.set()
    assert await asyncio.gather(*(readers.read(count) for _ in range(6))) == [1] * 6


async def test_a_closed_pool_refuses(readers: Readers) -> None:
    await readers.close()
    await readers.close()
    with pytest.raises(StoreUnavailable):
        await readers.read(count)
