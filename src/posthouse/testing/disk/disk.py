"""One simulated disk: a VFS for SQLite, and what is left after a crash."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from posthouse.testing.disk.faults import DiskFaults
from posthouse.testing.disk.recorder import DiskStatistics, Recorder
from posthouse.testing.disk.vfs import DiskVfs

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one
_numbers = itertools.count(1)


class Disk:
    """A disk with one data directory, which moves on to a new generation at each crash.

    The same ``random`` and the same calls make the same disk. ``trace`` is told every call:
    ``("disk", call, kind of file, offset, size, error)``. Nothing is synced for real.
    """

    def __init__(self, parent: Path, random: Random, *, trace: Callable[..., None] | None = None) -> None:
        self._recorder = Recorder(random, trace)
        self._parent = parent
        self._generation = 0
        self._old: list[Path] = []
        self.vfs: str = f"posthouse-disk-{next(_numbers)}"  #: its name, for ``open_store(…, vfs=…)``
        self._vfs = DiskVfs(self.vfs, self._recorder)
        self._folder = self._vfs.folder_at(self._next_path())

    @property
    def directory(self) -> Path:
        """The data directory as it is since the last crash."""
        return self._folder.path

    @property
    def faults(self) -> DiskFaults:
        """What the disk does wrong; changes count from the next call on."""
        return self._recorder.faults

    @property
    def statistics(self) -> DiskStatistics:
        """What the disk did so far."""
        return self._recorder.statistics

    def crash(self, *, power: bool) -> Path:
        """Make the next generation of the directory, as a new process finds it; its path.

        ``power=False``: the process died, the system lives: everything written is there, and as
        durable as it was. ``power=True``: what was synced is there, and of the rest whatever chance
        left. Files that did not go through the disk are taken along as they are. Whoever still uses
        the old generation does it on files of its own, and meets no fault there.
        """
        before, after_path = self._folder, self._next_path()
        for path in sorted(before.path.iterdir()):
            if path.is_file() and not before.knows(path.name) and not path.name.endswith("-shm"):
                shutil.copy2(path, after_path / path.name)
        if power:
            after, lost, torn = before.cut_power(after_path, self._recorder.chance)
            self.statistics.cuts += 1
            self.statistics.lost += lost
            self.statistics.torn += torn
        else:
            after = before.end_process(after_path)
            self.statistics.crashes += 1
        self._old.append(before.path)
        self._folder = self._vfs.folders[after_path] = after
        return after_path

    def forget_old(self) -> None:
        """Delete the generations that crashes left behind."""
        for path in self._old:
            shutil.rmtree(path)
        self._old.clear()

    def close(self) -> None:
        """Take the VFS away. Connections should be closed by then."""
        self._vfs.unregister()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next_path(self) -> Path:
        self._generation += 1
        path = self._parent / f"generation-{self._generation}"
        path.mkdir(mode=0o700, parents=True)
        return path


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A new directory in memory if the system has a place for that, else among its temporary files."""
    place = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="posthouse-disk-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
