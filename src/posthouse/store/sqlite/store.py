"""The embedded store as a whole: what its facets share, and in which order it ends."""

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import apsw

from posthouse.core.errors import StoreIncompatible, StoreUnavailable
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.ports import Clock
from posthouse.store.protocol import (
    AdminFacet,
    CatalogueFacet,
    HintsChannel,
    InboundFacet,
    Intake,
    JobsFacet,
    LedgerFacet,
    OutboxSource,
    Ownership,
    WorkFacet,
)
from posthouse.store.shared.custody import prove_here
from posthouse.store.sqlite.admin import SqliteAdmin
from posthouse.store.sqlite.catalogue import SqliteCatalogue
from posthouse.store.sqlite.connection import BusyPolling, check_library, connect_reader, connect_writer, enter_wal
from posthouse.store.sqlite.custody import custody_in
from posthouse.store.sqlite.inbound import SqliteInbound
from posthouse.store.sqlite.intake import SqliteIntake
from posthouse.store.sqlite.jobs import SqliteJobs
from posthouse.store.sqlite.ledger import SqliteLedger
from posthouse.store.sqlite.lock import DirectoryLock
from posthouse.store.sqlite.migrating import check_ours, known_migrations, migrate
from posthouse.store.sqlite.offload import Offload, Threads
from posthouse.store.sqlite.ownership import SqliteOwnership
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.remains import write_remains_again
from posthouse.store.sqlite.work import SqliteWork
from posthouse.store.sqlite.writer import Writer
from posthouse.telemetry import Metrics

DATABASE: Final = "posthouse.db"
LOCK: Final = "node.lock"
READERS: Final = 2  #: long reads at the same time


class SqliteStore:
    """A store in one directory. Made by :func:`open_sqlite`; implements ``store.protocol.Store``."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        *,
        busy: BusyPolling,
        commit_interval_ms: int,
        offload: Offload | None,
        vfs: str | None,
        metrics: Metrics,
        reach: Reach,
        on_closed: Callable[[], None],
    ) -> None:
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_closed = on_closed
        self._closing: asyncio.Task[None] | None = None
        self._threads: list[Threads] = []
        self._local = connect_reader(path, patient=False, vfs=vfs)
        self._writer = Writer(
            connection,
            busy=busy,
            offload=offload or self._start_threads("posthouse-writer", 1),
            interval_s=commit_interval_ms / 1_000,
            failed=self.failed,
            metrics=metrics,
            reach=reach,
        )
        self._readers = Readers(
            [connect_reader(path, patient=True, vfs=vfs) for _ in range(READERS)],
            offload or self._start_threads("posthouse-reader", READERS),
        )
        self.intake: Intake = SqliteIntake(self._writer)
        self.inbound: InboundFacet = SqliteInbound(self._writer, self._readers, self._local)
        self.work: WorkFacet = SqliteWork(self._writer, self._readers, self._local)
        self.catalogue: CatalogueFacet = SqliteCatalogue(self._writer, self._readers)
        self.ledger: LedgerFacet = SqliteLedger(self._readers)
        self.ownership: Ownership = SqliteOwnership(self._writer, self._readers)
        self.jobs: JobsFacet = SqliteJobs(self._writer, self._readers)
        self.admin: AdminFacet = SqliteAdmin(self._writer, self._readers, path)
        self.outbox: OutboxSource | None = None
        self.hints: HintsChannel | None = None
        self.alone = True

    @property
    def alive(self) -> bool:
        """Whether a write may succeed now."""
        return self._closing is None and not self.failed.done()

    def when_back(self, told: Callable[[], None]) -> None:
        """The disk is never lost and found again: a store that failed is at its end."""

    async def close(self) -> None:
        """Finish what was submitted, then close and let the directory go. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._readers.close()
            self._local.close()
            await self._writer.close()  # the last one to close copies the log into the file
        finally:
            for threads in self._threads:
                threads.close()
            self._on_closed()

    def _start_threads(self, name: str, count: int) -> Threads:
        threads = Threads(name, count)
        self._threads.append(threads)
        return threads


def open_sqlite(
    directory: Path,
    *,
    clock: Clock,
    commit_interval_ms: int,
    offload: Offload | None = None,
    vfs: str | None = None,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
) -> SqliteStore:
    """Open or make the store in ``directory``. Must be called with a running event loop.

    Raises:
        UnsafeLibrary: This SQLite can lose data.
        StoreInUse: Another node runs on the directory.
        StoreIncompatible: The file is no store, or a newer one.
        StoreMoved: Its contents belong to another store.
        StoreUnavailable: The disk refuses.
    """
    check_library(apsw.sqlite_lib_version())
    try:
        make_directory(directory)
        lock = DirectoryLock(directory / LOCK)
    except OSError as error:
        raise StoreUnavailable(f"The data directory {directory} cannot be used: {error}") from error
    with ExitStack() as undo:
        undo.callback(lock.release)
        try:
            path = directory / DATABASE
            make_file(path)
            write_remains_again(path, vfs=vfs)
            busy = BusyPolling(patient=True)
            connection = connect_writer(path, busy=busy, vfs=vfs)
            undo.callback(_close, connection)
            migrations = known_migrations()
            check_ours(connection, migrations)
            enter_wal(connection)
            migrate(connection, migrations, now=clock.now_ms(), reach=reach)
            prove_here(custody_in(connection))
            busy.patient = False
            store = SqliteStore(
                path,
                connection,
                busy=busy,
                commit_interval_ms=commit_interval_ms,
                offload=offload,
                vfs=vfs,
                metrics=metrics or Metrics(),
                reach=reach,
                on_closed=lock.release,
            )
        except apsw.NotADBError as error:
            raise StoreIncompatible(f"The file {path} is not a database.") from error
        except (apsw.Error, OSError) as error:
            raise StoreUnavailable(f"The store in {directory} cannot be opened: {error}") from error
        undo.pop_all()
        return store


def _close(connection: apsw.Connection) -> None:
    """Close it after a failure, which is what is to be told: what cannot be copied out of the log stays there."""
    with suppress(apsw.Error):
        connection.close()


def make_directory(directory: Path) -> None:
    """Only the owner may look inside a new one."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        _sync_directory(directory.parent)


def make_file(path: Path) -> None:
    """Create the database empty, so that it and the files that SQLite puts beside it are the owner's only."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    _sync_directory(path.parent)  # a name must survive a power cut as well as what it names


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
