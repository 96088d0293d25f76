"""What an earlier process left on the disk, written once more before anything is built on it.

After an fsync that failed, the system takes pages for clean that never reached the disk. The next process reads
them from memory as if they were there, appends to the log behind them and syncs what it appended. A power cut then
leaves a hole in the log, and SQLite throws away everything behind a hole: commits that were acknowledged. What is
written again is dirty again, so that one sync says the truth about all of it.

Who comes to a database that others have open needs none of it: they share an index of the log in which a commit stands
only when it is synced, and what is not in there is written over.
"""

from pathlib import Path
from typing import Final

import apsw

from posthouse.store.sqlite.connection import PAGE_BYTES

_CHUNK_BYTES: Final = 64 * 1024  # SQLite writes less than 128 KiB at a time


def write_remains_again(path: Path, *, vfs: str | None) -> None:
    """Make the log beside the database at ``path`` durable, and the database's first page: it makes the log count.

    Of all other pages the log holds whatever is not surely in the file: a checkpoint that did not end is done
    again from its start. After a clean end there is no log. Nobody may have the database open; no byte
    changes, so a power cut in the middle does no harm. Raises apsw.Error.
    """
    if path.stat().st_size:
        _write_again(path, apsw.SQLITE_OPEN_TRANSIENT_DB, PAGE_BYTES, vfs)
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        _write_again(log, apsw.SQLITE_OPEN_WAL, None, vfs)


def _write_again(path: Path, kind: int, bytes_max: int | None, vfs: str | None) -> None:
    file = apsw.VFSFile(vfs or "", str(path), [kind | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        size = file.xFileSize()
        end = size if bytes_max is None else min(size, bytes_max)
        for offset in range(0, end, _CHUNK_BYTES):
            file.xWrite(file.xRead(min(_CHUNK_BYTES, end - offset), offset), offset)
        file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()
