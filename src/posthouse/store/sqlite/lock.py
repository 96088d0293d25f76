"""The lock that keeps a second node away from a data directory."""

import fcntl
import os
from pathlib import Path

from posthouse.core.errors import StoreInUse


class DirectoryLock:
    """Held from construction until :meth:`release`, or until the process dies: the kernel lets go then.

    The file holds the process id of the holder, for people to read.

    Raises:
        StoreInUse: Someone else holds it.
    """

    def __init__(self, path: Path) -> None:
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise StoreInUse(f"Another node (process {holder}) runs on {path.parent}.") from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. Idempotent. The file stays: deleting it would let two nodes hold two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
