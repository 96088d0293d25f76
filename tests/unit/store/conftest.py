"""A writer on a real file, and a disk that fails when it is told to."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest

from posthouse.store.sqlite.connection import BusyPolling, connect_writer, enter_wal
from posthouse.store.sqlite.offload import Offload, Threads
from posthouse.store.sqlite.writer import Writer
from posthouse.telemetry import Metrics

_NAMES = itertools.count()


class Disk(apsw.VFS):
    """The default disk of SQLite; calls named in ``faults`` fail with that error."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_NAMES)}"
        self.faults: dict[str, type[apsw.Error]] = {}
        self.calls: list[str] = []
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "DiskFile":  # noqa: N802 - SQLite's name
        return DiskFile(self, name, flags)

    def note(self, call: str, filename: str) -> None:
        """Fail if this call on this kind of file is to fail; ``call`` or ``call-wal`` or ``call-db``."""
        kind = "wal" if filename.endswith("-wal") else "db"
        self.calls.append(f"{call}-{kind}")
        fault = self.faults.get(f"{call}-{kind}")
        if fault is not None:
            raise fault("injected")


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = name if isinstance(name, str) else (name.filename() if name else "")
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.note("sync", self._name)
        super().xSync(flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.note("write", self._name)
        super().xWrite(data, offset)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.faults.clear()
    disk.unregister()


class MakeWriter(Protocol):
    async def __call__(
        self, *, interval_s: float = 0.0, vfs: str | None = None, offload: Offload | None = None
    ) -> Writer: ...


@pytest.fixture
async def make_writer(tmp_path: Path) -> AsyncIterator[MakeWriter]:
    """Makes a writer on a file with one table, ``notes (n INTEGER PRIMARY KEY)``."""
    threads = Threads("test", 1)
    closing: list[Callable[[], Any]] = []

    async def make(*, interval_s: float = 0.0, vfs: str | None = None, offload: Offload | None = None) -> Writer:
        busy = BusyPolling(patient=False)
        connection = connect_writer(tmp_path / "notes.db", busy=busy, vfs=vfs)
        enter_wal(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS notes (n INTEGER PRIMARY KEY) STRICT")
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        writer = Writer(
            connection, busy=busy, offload=offload or threads, interval_s=interval_s, failed=failed, metrics=Metrics()
        )
        closing.append(writer.close)
        return writer

    yield make
    for close in closing:
        await close()
    threads.close()
