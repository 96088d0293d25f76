"""Looks at this machine and measures it: libraries, disk, clock, limits, files, settings."""

import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from posthouse.cli.database_checks import check_database
from posthouse.cli.findings import (
    Finding,
    Verdict,
    judge_clock_steps,
    judge_disk,
    judge_filesystem,
    judge_fsync,
    judge_key_mode,
    judge_open_files,
)
from posthouse.cli.session import KEY_FILE
from posthouse.core.errors import ConfigurationError, UnsafeLibrary

if TYPE_CHECKING:
    from posthouse.config import Config

SYNCS: Final = 50
SYNC_BYTES: Final = 4_096
PACKAGES: Final = (
    "posthouse",
    "apsw",
    "asyncpg",
    "aiohttp",
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "cryptography",
)
IN_FLIGHT_DEFAULT: Final = 512  #: taken for the settings' own if they cannot be read

_MOUNTS: Final = Path("/proc/self/mounts")


class ClockWatch:
    """Compares the wall clock with the monotonic one from its making on."""

    def __init__(self) -> None:
        self._started = self._read()

    def finding(self) -> Finding:
        """How far the two have come apart."""
        wall, steady = self._read()
        watched = steady - self._started[1]
        return judge_clock_steps((wall - self._started[0] - watched) * 1_000, watched)

    @staticmethod
    def _read() -> tuple[float, float]:
        return time.time(), time.monotonic()


def check_machine(
    data: Path, config_file: Path | None, environ: Mapping[str, str], *, database: str | None = None
) -> list[Finding]:
    """Everything that can be found without a node. Writes only a temporary file, which it removes.

    With a store in a database that is looked at, and not the disk here.
    """
    watch = ClockWatch()
    settings, config = _settings({"data": data, "database": database}, config_file, environ)
    if config is not None and config.database is not None:
        store = [_directory(data), *check_database(config.database.get_secret_value())]
    else:
        store = [sqlite_library(), *_disk(data)]
    return [
        _versions(),
        settings,
        *store,
        _key_file(data / KEY_FILE),
        _open_files(config.in_flight_max if config is not None else IN_FLIGHT_DEFAULT),
        watch.finding(),
    ]


def _disk(data: Path) -> list[Finding]:
    """Whether the embedded store can live where it is."""
    where = _existing(data)
    usage = shutil.disk_usage(where)
    return [
        _directory(data),
        judge_disk(usage.free, usage.total),
        judge_filesystem(filesystem_of(where)),
        _fsync(where),
    ]


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    missing = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = f"Install {', '.join(missing)}: 'pip install posthouse' brings all."
        return Finding("libraries", Verdict.WRONG, ", ".join(found), advice)
    return Finding("libraries", Verdict.OK, ", ".join(found))


def sqlite_library() -> Finding:
    """Whether the store's library is one that keeps what it committed."""
    from posthouse.store.sqlite.connection import check_library, library_version  # noqa: PLC0415 - loads the library

    found = library_version()
    try:
        check_library(found)
    except UnsafeLibrary as error:
        return Finding("SQLite", Verdict.WRONG, error.message, error.advice)
    return Finding("SQLite", Verdict.OK, found)


def _settings(
    flags: Mapping[str, object], config_file: Path | None, environ: Mapping[str, str]
) -> "tuple[Finding, Config | None]":
    from posthouse.config import load_config, shown  # noqa: PLC0415 - takes a while to load

    try:
        config = load_config(flags, environ=environ, config_file=config_file)
    except ConfigurationError as error:
        return Finding("settings", Verdict.WRONG, error.message, error.advice), None
    changed = [
        f"{name} = {shown(getattr(config, name))} ({origin})"
        for name, origin in config.origins.items()
        if origin != "default"
    ]
    return Finding("settings", Verdict.OK, ", ".join(changed) or "all at their defaults"), config


def _directory(data: Path) -> Finding:
    if not data.exists():
        advice = "Nothing to do: 'posthouse serve' makes it. Name another one with --data."
        return Finding("data directory", Verdict.OK, f"{data} does not exist yet", advice)
    if not data.is_dir():
        return Finding("data directory", Verdict.WRONG, f"{data} is no directory", "Name a directory with --data.")
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        advice = "Run as its owner, or give this user the right to write there."
        return Finding("data directory", Verdict.WRONG, f"{data} cannot be written to", advice)
    return Finding("data directory", Verdict.OK, str(data.resolve()))


def _existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that exists."""
    found = path.resolve()
    while not found.is_dir():
        found = found.parent
    return found


def filesystem_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the file system that ``path`` lies on, or None where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in lines:
        _, point, found, *_ = line.split(" ")
        # Blanks and backslashes in a mount point are written as octal numbers.
        mount = Path(point.encode("latin-1", "backslashreplace").decode("unicode_escape"))
        if path.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), found
    return kind


def sync_durations_ms(directory: Path, *, syncs: int = SYNCS) -> list[float]:
    """Milliseconds that each of ``syncs`` small appends takes to reach the disk."""
    block = b"\0" * SYNC_BYTES
    found = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(syncs):
            started = time.perf_counter()
            os.write(file.fileno(), block)
            os.fsync(file.fileno())
            found.append((time.perf_counter() - started) * 1_000)
    return found


def _fsync(directory: Path) -> Finding:
    try:
        return judge_fsync(sync_durations_ms(directory))
    except OSError as error:
        advice = "Run as the user of the node."
        return Finding("fsync", Verdict.SKIPPED, f"{directory}: {os.strerror(error.errno or 0)}", advice)


def _key_file(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Finding("API key file", Verdict.OK, f"{path} does not exist")
    except OSError as error:
        return Finding("API key file", Verdict.SKIPPED, f"{path}: {os.strerror(error.errno or 0)}")
    return judge_key_mode(stat.S_IMODE(mode), str(path))


def _open_files(in_flight_max: int) -> Finding:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return Finding("open files", Verdict.SKIPPED, "this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return judge_open_files(-1 if soft == unlimited else soft, -1 if hard == unlimited else hard, in_flight_max)
