"""The locks that say who may have a data directory open: one process, or several that share it."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from posthouse.core.errors import StoreInUse

POLL_S: Final = 0.005


class DirectoryLock:
    """Held from construction until :meth:`release`, or until the process dies: the kernel lets go then.

    The file holds the process id of who had it alone last, for people to read.

    Args:
        path: The file.
        shared: Whether others that share it may hold it at the same time. If nobody else does, this one has it
            ``alone``, and keeps the others out until :meth:`share` is called.

    Raises:
        StoreInUse: Someone else holds it, and one of the two does not share.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.alone = _locked(self._fd, fcntl.LOCK_EX)
        if not self.alone:
            if not shared or not _locked(self._fd, fcntl.LOCK_SH):
                self._refuse()
            return
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def share(self) -> None:
        """Let others that share it hold it too. Raises :class:`StoreInUse` if one that does not was faster."""
        assert self._fd is not None
        self.alone = False
        if not _locked(self._fd, fcntl.LOCK_SH):
            self._refuse()

    def release(self) -> None:
        """Let go. Idempotent. The file stays: deleting it would let two nodes hold two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _refuse(self) -> None:
        assert self._fd is not None
        holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        self.release()
        raise StoreInUse(f"Another node (process {holder}) runs on {self._path.parent}.")


class OpeningLock:
    """Who opens a shared directory holds it meanwhile: one after the other.

    Raises:
        StoreInUse: Others hold it for ``patience_s``, one of them for too long.
    """

    def __init__(self, path: Path, *, patience_s: float) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + patience_s
        while not _locked(self._fd, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                os.close(self._fd)
                raise StoreInUse(f"Another process has been opening {path.parent} for {patience_s:g} s.")
            time.sleep(POLL_S)

    def release(self) -> None:
        """Let the next one open it."""
        os.close(self._fd)


def _locked(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
