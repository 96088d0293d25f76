"""A node as a user runs it: ``posthouse serve`` in a process of its own, to be measured and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from posthouse.drills.ground import Books
from posthouse.sdk.client import Client

SERVE = ("-m", "posthouse", "serve")
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 40.0
POLL_SECONDS = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")


class RigNode:
    """One data directory and the process that serves it, if one runs.

    ``program`` is what Python runs; it takes the options of ``posthouse serve``, of which ``options`` are some more.
    """

    def __init__(self, folder: Path, program: Sequence[str] = SERVE, *, options: Sequence[str] = ()) -> None:
        self.data = folder / "data"
        self.program = program
        self._options = options
        self.url = ""
        self.api_key = ""
        self._log = folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "the node was not started"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether a process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start a process and wait until it listens; the seconds that this took."""
        started = time.monotonic()
        self.spawn()
        self.wait_until_listening()
        return time.monotonic() - started

    def spawn(self) -> None:
        """Start a process, and wait for nothing."""
        command = [sys.executable, *self.program, "--data", str(self.data), "--port", "0"]
        command += ["--allow-network", "127.0.0.0/8", "--log-level", "warning", *self._options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait_until_listening(self) -> None:
        """Return when the process has said where it listens; AssertionError with its log if it does not."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while (said := self._said()) is None:
            assert time.monotonic() < deadline, f"the node does not start:\n{self.log()}"
            self.live_for(POLL_SECONDS)
        self.url = said
        self.api_key = (self.data / "api_key").read_text("utf-8").strip()

    def live_for(self, seconds: float) -> None:
        """Let time pass for the node; AssertionError with its log as soon as it ends by itself."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the node ended by itself with {code}:\n{self.log()}")

    def kill(self) -> None:
        """End the process at this instant; it notices nothing."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Let the process drain and end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the node does not stop:\n{self.log()}") from None

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self, field: str) -> float:
        """``VmRSS`` (now) or ``VmHWM`` (the most so far) of the process, in units of 10^6 bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))

    def client(self) -> Client:
        """A client with the store's first key. Close it."""
        return Client(self.url, self.api_key, timeout_s=120.0)

    def add_endpoint(self, url: str, events: list[str]) -> dict[str, Any]:
        """Create an endpoint; the node's answer, secret included."""
        with self.client() as client:
            created: dict[str, Any] = client.post("/v1/endpoints", {"url": url, "events": events})
        return created

    def books(self) -> Books:
        """The books, recounted by the node."""
        with self.client() as client:
            audit: Mapping[str, Any] = client.get("/v1/audit")
        return msgspec.convert({name: audit[name] for name in Books.__struct_fields__}, Books)

    def log(self) -> str:
        """The end of what the node logged."""
        return self._log.read_text("utf-8")[-4_000:]

    def _said(self) -> str | None:
        try:
            said: dict[str, Any] = json.loads((self.data / "node.json").read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return str(said["url"]) if said["pid"] == self.process.pid else None


@contextmanager
def rig_node(folder: Path, program: Sequence[str] = SERVE, *, options: Sequence[str] = ()) -> Iterator[RigNode]:
    """A node that is not started yet; whatever runs at the end is killed."""
    node = RigNode(folder, program, options=options)
    try:
        yield node
    finally:
        if node.runs:
            node.kill()
