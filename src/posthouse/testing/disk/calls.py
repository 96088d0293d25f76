"""What SQLite asks of a disk, of which file, and how a disk refuses."""

from enum import StrEnum

import apsw


class Call(StrEnum):
    """What is asked."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"


class FileKind(StrEnum):
    """Of which file."""

    DATABASE = "database"
    WAL = "wal"  #: the write-ahead log
    JOURNAL = "journal"  #: the rollback journal, before there is a log

    @classmethod
    def of(cls, name: str) -> "FileKind":
        """The kind of the file with this name."""
        if name.endswith("-wal"):
            return cls.WAL
        return cls.JOURNAL if name.endswith("-journal") else cls.DATABASE


class DiskError(StrEnum):
    """How it is refused."""

    IO = "EIO"
    FULL = "ENOSPC"
    SHORT = "short"  #: of a write: a part of it is written, then the disk is full; else as FULL


def refusal(call: Call, error: DiskError) -> apsw.Error:
    """What SQLite's own VFS makes of it: a file that cannot be opened, a full disk (writes only), or a bad one."""
    text = f"injected: {error} from {call}"
    if call is Call.OPEN:
        return apsw.CantOpenError(text)
    if call is Call.WRITE and error is not DiskError.IO:
        return apsw.FullError(text)
    return apsw.IOError(text)
