"""From an archive to a data directory in which there was no store."""

import os
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, Final

import apsw

from posthouse.core.errors import ArchiveInvalid, PlaceOccupied, StoreUnavailable
from posthouse.core.ids import first_key_at
from posthouse.store.shared.archives import Manifest, check_files, prove_known, sync_folder
from posthouse.store.shared.custody import Custody, Holding
from posthouse.store.shared.telling import Tell, tell_nobody
from posthouse.store.sqlite.backup import check_whole, count_rows, tally
from posthouse.store.sqlite.connection import check_library
from posthouse.store.sqlite.custody import put_custody
from posthouse.store.sqlite.lock import DirectoryLock
from posthouse.store.sqlite.migrating import check_ours, known_migrations, migrate
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.store import DATABASE, LOCK, make_directory

_BEGUN: Final = ".restoring"  #: behind the database's name until it is whole
_FORGET_NODES: Final = SQL["forget_nodes"]
_VOID_LEASES: Final = SQL["void_leases"]


def restore_sqlite(archive: Path, manifest: Manifest, directory: Path, *, now: int, tell: Tell = tell_nobody) -> None:
    """Make the store of an archive in ``directory``, brought to this version's schema. Blocks.

    All of it is checked before it gets its name: checksums, the database as a whole, rows of each table, and the books.
    Nobody holds a slot in it, and its next key is greater than any that was made before ``now``.

    Raises:
        ArchiveInvalid: The archive is not as it was written.
        PlaceOccupied: There is a store.
        StoreInUse: A node runs there, or another restore.
        StoreIncompatible: The archive is of a newer version.
        StoreUnavailable: The disk refuses.
    """
    check_library(apsw.sqlite_lib_version())
    prove_known(manifest, len(known_migrations()))
    check_files(archive, manifest, tell)
    try:
        make_directory(directory)
        lock = DirectoryLock(directory / LOCK)
    except OSError as error:
        raise StoreUnavailable(f"The data directory {directory} cannot be used: {error}") from error
    begun = directory / (DATABASE + _BEGUN)
    try:
        for name in (DATABASE, f"{DATABASE}-wal"):
            if os.path.lexists(directory / name):
                raise PlaceOccupied(f"There is a store in {directory}.", hint="Name a directory without one.")
        _remove(begun)
        with (archive / DATABASE).open("rb") as source, _created(begun) as file:
            shutil.copyfileobj(source, file, 1024 * 1024)
        with closing(apsw.Connection(str(begun), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            _settle_in(connection, manifest, now, tell)
        _sync(begun)
        begun.rename(directory / DATABASE)
        sync_folder(directory)
    except (apsw.Error, OSError) as error:
        raise StoreUnavailable(f"The archive cannot be restored to {directory}: {error}") from error
    finally:
        _remove(begun)
        lock.release()


def _settle_in(connection: apsw.Connection, manifest: Manifest, now: int, tell: Tell) -> None:
    connection.pragma("synchronous", "FULL")
    migrations = known_migrations()
    check_ours(connection, migrations)
    check_whole(connection, tell)
    if count_rows(connection) != dict(manifest.rows) or tally(connection) != manifest.tally:
        raise ArchiveInvalid("The archive does not hold what its manifest says.")
    migrate(connection, migrations, now=now)
    if tally(connection) != manifest.tally:
        raise ArchiveInvalid("The books of the archive do not survive the step to this version's schema.")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_VOID_LEASES)
    connection.execute(_FORGET_NODES)
    put_custody(connection, Custody(Holding.HERE, "", now, first_key_at(now + 1) - 1))
    connection.execute("COMMIT")


def _created(path: Path) -> BinaryIO:
    """A new file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(begun: Path) -> None:
    for path in (begun, *(begun.with_name(begun.name + end) for end in ("-journal", "-wal", "-shm"))):
        with suppress(FileNotFoundError):
            path.unlink()
