"""A PostgreSQL server that lives as long as the tests that use it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

#: Variables that name the folder of PostgreSQL's programs, and that of a server which several processes use. They do
#: not begin as a node's settings do, which tests take out of their environment.
PROGRAMS_VARIABLE: Final = "TEST_POSTGRES_PROGRAMS"
SERVER_VARIABLE: Final = "TEST_POSTGRES_SERVER"

DEBIANS: Final = Path("/usr/lib/postgresql")  #: a folder for each version
PORT: Final = 54_321  #: names the socket only; nothing listens on the network
START_S: Final = 30.0
NOBODY: Final = 65_534
PREFIX: Final = "posthouse-pg-"

_FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_COMMON: Final = {
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
}


_STATUS_LINE: Final = 7  #: of the lock file, counted from 0
#: Small segments of the log are made sooner, and are enough.
_INITDB: Final = ("-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--no-locale", "--wal-segsize=1")


_NOT_THERE: Final = (
    "There is no PostgreSQL here. `python3 scripts/postgres.py` installs it on Debian and Ubuntu; "
    f"{PROGRAMS_VARIABLE} names the folder of initdb and postgres if they are elsewhere."
)


class NoPostgres(Exception):
    """There is no PostgreSQL on this machine, or it does not run."""


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``, the newest; one that is named is the only one that is looked at.

    Raises:
        NoPostgres: They are not there.
    """
    named = os.environ.get(PROGRAMS_VARIABLE)
    found = [Path(named)] if named else sorted(DEBIANS.glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("initdb")
    if on_path and not named:
        found.append(Path(on_path).parent)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgres(_NOT_THERE)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdecimal())


class Cluster:
    """A running server with its data in a folder of its own. Ends with :meth:`stop`, or with the process."""

    def __init__(self, folder: Path, programs: Path, settings: Mapping[str, str], *, is_borrowed: bool = False) -> None:
        self._folder = folder
        self._programs = programs
        self._settings = settings
        self._is_borrowed = is_borrowed
        self._server: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, *, durable: bool = False, **settings: str) -> Self:
        """Make a server and wait until it answers.

        Args:
            durable: Whether it keeps what it acknowledged; else it is only fast.
            settings: More of its settings; ``port`` and ``listen_addresses`` let it be reached over TCP.
        """
        folder = make_folder()
        cluster = cls.on(folder, durable=durable, **settings)
        subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [*as_nobody(), str(binaries() / "initdb"), "-D", str(folder / "data"), *_INITDB],
            check=True,
            capture_output=True,
            cwd="/",
        )
        cluster.begin()
        return cluster

    @classmethod
    def on(cls, folder: Path, *, durable: bool = False, **settings: str) -> Self:
        """The server whose data is in ``folder``, or will be; it does not run yet. As :meth:`start`."""
        place = {"unix_socket_directories": str(folder), "port": str(PORT)}
        return cls(folder, binaries(), {**_COMMON, **({} if durable else _FAST), **place, **settings})

    @classmethod
    def borrowed(cls, folder: Path) -> Self:
        """The server of another process, which made it in ``folder`` and ends it: :meth:`stop` leaves it alone."""
        return cls(folder, binaries(), {"port": str(PORT)}, is_borrowed=True)

    def begin(self) -> None:
        """Let the server run, with the data that is there. Raises :class:`NoPostgres`."""
        given = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
                [
                    *as_nobody(dies_with_us=True),
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._folder / "data"),
                    *given,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
            )
        self._wait()

    def dsn(self, database: str, **options: str) -> str:
        """The address of one of its databases."""
        more = "".join(f"&{name}={quote(value, safe='')}" for name, value in options.items())
        return f"postgresql:///{database}?host={quote(str(self._folder), safe='')}&port={self.port}&user=postgres{more}"

    @property
    def port(self) -> int:
        """Where it listens; also part of the name of its socket."""
        return int(self._settings["port"])

    @property
    def socket(self) -> Path:
        """The folder of its socket."""
        return self._folder

    def crash(self) -> None:
        """End the server as a crash of its processes would: it recovers when it begins again."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGQUIT)
        try:
            self._server.wait(timeout=START_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def kill(self) -> None:
        """End all processes of the server in the same moment, as if its machine were switched off. Idempotent."""
        if self._server is not None:
            for pid in (self._server.pid, *self._children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def stop_sending(self, standbys: int) -> None:
        """Send nothing more to so many standbys, as if the network to them were slow; for the rest of its life."""
        senders = [pid for pid in self._children() if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for pid in senders[:standbys]:
            os.kill(pid, signal.SIGSTOP)

    def _children(self) -> list[int]:
        assert self._server is not None, "it runs"
        pid = self._server.pid
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def stop(self) -> None:
        """End the server, and remove its data. Idempotent."""
        if self._is_borrowed:
            return
        self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._is_ready():
                return
            if self._server is None or self._server.poll() is not None:
                break
            time.sleep(0.01)
        log = (self._folder / "log").read_text("utf-8", "replace")
        self.stop()
        raise NoPostgres(f"The server did not start: {log}")

    def _is_ready(self) -> bool:
        """What the server says in its lock file, as ``pg_ctl`` reads it: no process is needed to ask."""
        try:
            lines = (self._folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        ours = self._server is not None and lines[:1] == [str(self._server.pid)]
        return ours and len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() in {"ready", "standby"}


def make_folder() -> Path:
    """A new folder for a server, which its user can use. What is left of servers that were killed is removed."""
    remove_remains()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if os.geteuid() == 0:  # the server refuses to run as root
        os.chown(folder, NOBODY, NOBODY)
    return folder


def remove_remains() -> None:
    """Remove the folders of servers that ended without removing them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
            if Path(f"/proc/{pid}/cwd").readlink() == folder / "data":
                continue
        except (OSError, ValueError, IndexError):
            if time.time() - folder.stat().st_mtime < START_S:
                continue  # it is being made
        shutil.rmtree(folder, ignore_errors=True)


def as_nobody(*, dies_with_us: bool = False) -> list[str]:
    """What stands before a command, so that root does not run it, and so that it ends when this process is killed."""
    options = []
    if os.geteuid() == 0:
        options += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if dies_with_us:
        options += ["--pdeathsig", "QUIT"]
    program = shutil.which("setpriv")
    return [program, *options] if program and options else []
