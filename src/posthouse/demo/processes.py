"""The processes that a demonstration owns: the node and the receivers. Both end with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec

from posthouse.demo.board import Tally
from posthouse.demo.receivers import Command, ReceiverSpec
from posthouse.sdk.client import Client, Problem, Unreachable

T = TypeVar("T")

#: Runs a module. Without -P a file in the current directory could stand in for one of Python's own.
PYTHON: Final = (sys.executable, "-P", "-m")
START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 40.0  #: a little more than a node's drain
POLL_SECONDS: Final = 0.05
_LOG_TAIL_CHARS: Final = 2_000


class DemoFailed(Exception):
    """The demonstration cannot go on. The message says why."""


class NodeAddress(msgspec.Struct, frozen=True):
    """What a node writes into its data directory once it listens."""

    url: str
    pid: int


class Node:
    """A node in a process group of its own, so that Ctrl-C reaches only its owner."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}-node.log")
        self.url = ""
        self._port = port
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
        """Start it and return once it is ready. The second time it gets the port that it had."""
        command = [*PYTHON, "posthouse", "serve", "--data", str(self.data), "--port", str(self._port)]
        command += ["--allow-network", "127.0.0.0/8", "--log-format", "json"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environ
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready(self._process):
            if self._process.poll() is not None:
                raise DemoFailed(f"The node ended with code {self._process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"The node was not ready after {START_SECONDS_MAX:.0f} s:\n{self._log_tail()}")
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
        """Raise DemoFailed if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoFailed(f"The node ended with code {self._process.returncode}:\n{self._log_tail()}")

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


class Receivers:
    """The receivers' process."""

    def __init__(self, specs: Sequence[ReceiverSpec], seed: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [*PYTHON, "posthouse.demo.receivers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            ports = self._ask(Command("open", list(specs), seed), dict[str, int])
        except BaseException:
            self.stop()
            raise
        #: Receiver → the URL to deliver to.
        self.urls = {name: f"http://127.0.0.1:{port}/hook" for name, port in ports.items()}

    def recover(self) -> None:
        """Let the hanging one answer again."""
        self._ask(Command("recover"), type(None))

    def killed(self) -> None:
        """Tell them that whatever comes from now on is sent by another process of the node."""
        self._ask(Command("killed"), type(None))

    def tallies(self) -> dict[str, Tally]:
        """Receiver → its counts."""
        return self._ask(Command("tallies"), dict[str, Tally])

    def ledgers(self) -> dict[str, dict[str, str]]:
        """Receiver → event id → hash of its data."""
        return self._ask(Command("ledgers"), dict[str, dict[str, str]])

    def stop(self) -> None:
        """End the process. Idempotent."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, command: Command, kind: type[T]) -> T:
        to, fro = self._pipes()
        try:
            to.write(msgspec.json.encode(command) + b"\n")
            to.flush()
            return msgspec.json.decode(fro.readline(), type=kind)
        except (OSError, msgspec.DecodeError) as error:
            raise DemoFailed("The receivers' process is gone.") from error

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end this process the way Ctrl-C does, so that what it owns is ended too."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
