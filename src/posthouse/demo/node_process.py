"""A node as its user runs it, in a process that its owner starts, kills and ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from posthouse.sdk.client import Client, Problem, Unreachable

#: Runs a module. Without -P a file in the current directory could stand in for one of Python's own.
PYTHON: Final = (sys.executable, "-P", "-m")
SERVE: Final = ("posthouse", "serve")  #: the module of a node as it is, and its verb
START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 40.0  #: a little more than a node's drain
POLL_SECONDS: Final = 0.05
_LOG_TAIL_CHARS: Final = 2_000


class NodeFailed(Exception):
    """The node's process does not start, or has ended by itself. The message says how, with the end of its log."""


class NodeAddress(msgspec.Struct, frozen=True):
    """What a node writes into its data directory once it listens."""

    url: str
    pid: int


class Node:
    """A node in a process group of its own, so that Ctrl-C reaches only its owner.

    Args:
        data: its data directory; the log lies beside it.
        port: where it listens on the loopback interface; 0 takes a free one, and keeps it over restarts.
        program: the module to run with its first arguments; it takes the options of ``posthouse serve``.
        options: more of those options.
    """

    def __init__(
        self, data: Path, port: int = 0, *, program: Sequence[str] = SERVE, options: Sequence[str] = ()
    ) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}-node.log")
        self.url = ""
        self._port = port
        self._program = program
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def api_key(self) -> str:
        """The key that the node made on its new store."""
        return (self.data / "api_key").read_text(encoding="ascii").strip()

    def start(self) -> None:
        """Start it and return once it is ready. The second time it gets the port that it had.

        Raises NodeFailed if it ends, or is not ready within ``START_SECONDS_MAX``.
        """
        command = [*PYTHON, *self._program, "--data", str(self.data), "--port", str(self._port)]
        command += ["--allow-network", "127.0.0.0/8", "--log-format", "json", *self._options]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environ
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready(self._process):
            self.check()
            if time.monotonic() > deadline:
                raise NodeFailed(f"The node was not ready after {START_SECONDS_MAX:.0f} s:\n{self._log_tail()}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL: the process is gone in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ask it to end, and wait until it has; kill it if it does not. Idempotent."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS_MAX)
        self.kill()

    def check(self) -> None:
        """Raise NodeFailed if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise NodeFailed(f"The node ended with code {self._process.returncode}:\n{self._log_tail()}")

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        try:
            address = msgspec.json.decode((self.data / "node.json").read_bytes(), type=NodeAddress)
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        if address.pid != process.pid:
            return False  # written by the one that was killed
        try:
            with Client(address.url, None, tries=1, timeout_s=5.0) as client:
                client.fetch("/readyz")
        except (Problem, Unreachable):
            return False
        self.url = address.url
        self._port = int(address.url.rpartition(":")[2])
        return True

    def _log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARS:]


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end this process the way Ctrl-C does, so that what it owns is ended too."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
