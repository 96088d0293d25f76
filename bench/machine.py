"""The machine under the measurement: which cores are used, what kind of disk, which versions."""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

_FSYNC_TRIALS = 200
_PAGE = b"\0" * 4096
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_PACKAGES = ("aiohttp", "apsw", "asyncpg", "httptools", "msgspec", "uvicorn", "uvloop")


def two_cores() -> tuple[int, int]:
    """The core of what is measured, and the core of load generator and sink. Ends the program with less than two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("The benchmark needs two cores: one for what is measured, one for load generator and sink.")
    return cores[0], cores[1]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes that are started inside run on ``core`` only, with all their threads. None: on any."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_disk(project: Path) -> Path:
    """A folder whose files are on a disk: the one for temporary files, or ``project`` if that one is in memory."""
    usual = Path(tempfile.gettempdir())
    return project if file_system(usual) in _IN_MEMORY else usual


def file_system(folder: Path) -> str:
    """The type of the file system that ``folder`` is on, such as ``ext4``."""
    place = folder.resolve()
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        mount, found = line.split()[1:3]
        if len(mount) >= len(best) and place.is_relative_to(mount):
            best, kind = mount, found
    return kind


def fsync_us(folder: Path) -> float:
    """The median time of one fsync after a write of 4 KiB, in microseconds: what every commit waits for."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_FSYNC_TRIALS):
            file.write(_PAGE)
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return round(statistics.median(taken) * 1e6, 1)


def facts(folder: Path) -> dict[str, object]:
    """What a reader needs to judge the figures. Holds no name and no path of this machine."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "file_system": file_system(folder),
        "fsync_us": fsync_us(folder),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
