"""Connections to the file: which library may open it, and with which settings."""

import time
from pathlib import Path
from typing import Final

import apsw

from posthouse.core.errors import StoreUnavailable, UnsafeLibrary

PAGE_BYTES: Final = 4_096
BUSY_POLL_S: Final = 0.0003  #: SQLite's own waits grow to 100 ms; this keeps a handover short
BUSY_SECONDS_MAX: Final = 5.0
WAL_PAGES_MAX: Final = 4_000  #: at this length of the log a checkpoint is due: 16 MiB
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024  #: a longer log is cut back to this after a checkpoint

_POLLS_MAX: Final = round(BUSY_SECONDS_MAX / BUSY_POLL_S)
_WRITER_CACHE_KIB: Final = 32_768
_READER_CACHE_KIB: Final = 8_192

#: Errors after which nobody knows what is on disk, or that say that the disk is bad.
FATAL: Final = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.ProtocolError,
)


def library_version() -> str:
    """The version of the SQLite that this process uses."""
    return apsw.sqlite_lib_version()


def check_library(version: str) -> None:
    """Refuse a SQLite that can lose acknowledged commits.

    Up to 3.51.2 two connections that write and checkpoint at once can reset the log over committed
    frames (https://sqlite.org/wal.html#walresetbug); 3.44.6 and 3.50.7 have the repair too, and
    3.52.0 was withdrawn.

    Raises:
        UnsafeLibrary: It is one of those.
    """
    numbers = tuple(int(part) for part in version.split("."))
    repaired = numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)
    if not repaired or numbers == (3, 52, 0):
        raise UnsafeLibrary(
            f"SQLite {version} can lose commits that it acknowledged.",
            hint="Install apsw 3.51.3 or newer from PyPI: it brings its own SQLite.",
        )


class BusyPolling:
    """A busy handler that polls often. While not ``patient`` it gives up at once.

    The event loop's thread must never wait for a lock: there it is switched off.
    """

    def __init__(self, *, patient: bool) -> None:
        self.patient = patient

    def __call__(self, polls: int) -> bool:
        """Whether SQLite should try again, after a pause."""
        if not self.patient or polls >= _POLLS_MAX:
            return False
        time.sleep(BUSY_POLL_S)
        return True


def connect_writer(path: Path, *, busy: BusyPolling, vfs: str | None = None) -> apsw.Connection:
    """The one connection that writes. Its log mode is set by whoever knows that the file is ours."""
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_handler(busy)
    connection.pragma("page_size", PAGE_BYTES)
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", 0)
    connection.pragma("cache_size", -_WRITER_CACHE_KIB)
    connection.pragma("temp_store", "MEMORY")  # savepoints keep their pages in memory
    connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
    connection.wal_autocheckpoint(0)  # the writer does it itself, so that no error goes unseen
    return connection


def enter_wal(connection: apsw.Connection) -> None:
    """Switch the file to a write-ahead log; it stays so.

    Raises:
        StoreUnavailable: The file system cannot carry one.
    """
    mode = connection.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise StoreUnavailable(
            f"The file system cannot carry a write-ahead log (journal mode {mode!r}).",
            hint="Put the data directory on a local disk.",
        )


def connect_reader(path: Path, *, patient: bool, vfs: str | None = None) -> apsw.Connection:
    """A connection that cannot write."""
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_handler(BusyPolling(patient=patient))
    connection.pragma("query_only", 1)
    connection.pragma("cache_size", -_READER_CACHE_KIB)
    connection.wal_autocheckpoint(0)
    return connection
