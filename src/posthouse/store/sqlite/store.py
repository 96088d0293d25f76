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
from posthouse.store.sqlite.datagrams import Datagrams
from posthouse.store.sqlite.inbound import SqliteInbound
from posthouse.store.sqlite.intake import SqliteIntake
from posthouse.store.sqlite.jobs import SqliteJobs
from posthouse.store.sqlite.ledger import SqliteLedger
from posthouse.store.sqlite.lock import DirectoryLock, OpeningLock
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
OPENING: Final = "opening.lock"  #: held by who opens a store that several processes share
OPENING_S: Final = 30.0  #: those before it are waited for so long
READERS: Final = 2  #: long reads at the same time


class SqliteStore:
    """A store in one directory. Made by :func:`open_sqlite`; implements ``store.protocol.Store``."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        *,
        shared: bool,
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
        self._local = connect_reader(path, patient=shared, vfs=vfs)
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
        self._datagrams = _datagrams(path.parent) if shared else None
        self.hints: HintsChannel | None = self._datagrams
        self.alone = not shared

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
            if self._datagrams is not None:
                self._datagrams.close()
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


def _datagrams(directory: Path) -> Datagrams | None:
    """Where hints go; None: this machine has no way for them, and sweeps find everything."""
    with suppress(OSError):
        return Datagrams(directory)
    return None


def open_sqlite(
    directory: Path,
    *,
    clock: Clock,
    commit_interval_ms: int,
    shared: bool = False,
    offload: Offload | None = None,
    vfs: str | None = None,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
) -> SqliteStore:
    """Open or make the store in ``directory``. Must be called with a running event loop.

    ``shared``: other processes that say so too may have it open at the same time.

    Raises:
        UnsafeLibrary: This SQLite can lose data.
        StoreInUse: Another node runs on the directory, and one of the two does not share it.
        StoreIncompatible: The file is no store, or a newer one.
        StoreMoved: Its contents belong to another store.
        StoreUnavailable: The disk refuses.
    """
    check_library(apsw.sqlite_lib_version())
    with ExitStack() as undo, ExitStack() as opening:
        try:
            make_directory(directory)
            if shared:
                opening.callback(OpeningLock(directory / OPENING, patience_s=OPENING_S).release)
            lock = DirectoryLock(directory / LOCK, shared=shared)
        except OSError as error:
            raise StoreUnavailable(f"The data directory {directory} cannot be used: {error}") from error
        undo.callback(lock.release)
        try:
            path = directory / DATABASE
            busy = BusyPolling(patient=True)
            connection = _prepare(path, busy=busy, alone=lock.alone, vfs=vfs, now=clock.now_ms(), reach=reach)
            undo.callback(_close, connection)
            prove_here(custody_in(connection))
            if lock.alone and shared:
                lock.share()
            busy.patient = False
            store = SqliteStore(
                path,
                connection,
                shared=shared,
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


def _prepare(path: Path, *, busy: BusyPolling, alone: bool, vfs: str | None, now: int, reach: Reach) -> apsw.Connection:
    """The connection that writes, to a file with this version's schema. ``alone``: nobody else has it open."""
    make_file(path)
    if alone:
        write_remains_again(path, vfs=vfs)
    connection = connect_writer(path, busy=busy, vfs=vfs)
    with ExitStack() as undo:
        undo.callback(_close, connection)
        migrations = known_migrations()
        check_ours(connection, migrations, alone=alone)
        if alone:
            enter_wal(connection)
        migrate(connection, migrations, now=now, reach=reach)
        undo.pop_all()
    return connection


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
