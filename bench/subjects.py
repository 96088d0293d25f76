"""What is measured: a node and the bare forwarder, each a process of its own on one core."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import machine
import msgspec

from posthouse.core.signature import generate_secret
from posthouse.sdk.client import Client, Unreachable
from posthouse.testing.postgres.cluster import Cluster

_T = TypeVar("_T")

_START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 40.0
_POLL_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")
#: As on a small machine that is its own; what it acknowledges is on disk.
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
_FORWARDER = Path(__file__).with_name("forwarder.py")


class Subject:
    """A running process that takes events on ``url``."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], url: str, api_key: str) -> None:
        self.name = name
        self.url = url
        self.api_key = api_key
        self.process = process
        self._folder = Path(f"/proc/{process.pid}")

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU time that the process has used, all threads, user and system."""
        fields = (self._folder / "stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_memory_mb(self) -> float:
        """The most memory that the process has had at one time (VmHWM), in units of 10^6 bytes."""
        for line in (self._folder / "status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"The {self.name} is gone.")

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None


class Books(msgspec.Struct, frozen=True):
    """What ``GET /v1/audit`` counts."""

    owed: int
    delivered: int
    waiting: int
    retrying: int
    imbalance: int

    @property
    def unsettled(self) -> int:
        """Deliveries that are still open."""
        return self.waiting + self.retrying


def books(node: Subject) -> Books:
    """The node's books, recounted from its rows."""
    with Client(node.url, node.api_key, timeout_s=120.0) as client:
        audit: Mapping[str, Any] = client.get("/v1/audit")
    return msgspec.convert({name: audit[name] for name in Books.__struct_fields__}, Books)


@contextmanager
def database(core: int | None) -> Iterator[str]:
    """A PostgreSQL server on ``core`` that keeps what it acknowledges, with a fresh database; its address."""
    with machine.pinned(core):
        server = Cluster.start(durable=True, **SERVER)
    try:
        yield server.dsn("postgres")
    finally:
        server.stop()


@contextmanager
def node(core: int | None, folder: Path, urls: Mapping[str, str], address: str | None = None) -> Iterator[Subject]:
    """A node on a fresh store in ``folder``, or in the database at ``address``.

    ``urls``: event type → the one endpoint that subscribes to it.
    """
    with _serving(core, folder, address) as (process, url):
        subject = Subject("node", process, url, (folder / "data" / "api_key").read_text("utf-8").strip())
        _wait_until_ready(subject, folder)
        with Client(url, subject.api_key, timeout_s=10.0) as client:
            for event_type, endpoint in urls.items():
                client.post("/v1/endpoints", {"url": endpoint, "events": [event_type]})
        yield subject


@contextmanager
def another_node(folder: Path, address: str, api_key: str) -> Iterator[Subject]:
    """One more node on the database at ``address``, on any core."""
    with _serving(None, folder, address) as (process, url):
        subject = Subject("node", process, url, api_key)
        _wait_until_ready(subject, folder)
        yield subject


@contextmanager
def _serving(core: int | None, folder: Path, address: str | None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A node that listens, and where."""
    data = folder / "data"
    command = [sys.executable, "-m", "posthouse", "serve", "--data", str(data), "--port", "0"]
    command += ["--allow-network", "127.0.0.0/8", "--log-level", "warning"]
    command += [] if address is None else ["--database", address]
    with _process("node", core, command, folder) as process:

        def listening() -> str | None:
            found = _read_json(data / "node.json")
            return str(found["url"]) if found and found["pid"] == process.pid else None

        yield process, _wait_for(listening, process, folder / "node.log")


def _wait_until_ready(subject: Subject, folder: Path) -> None:
    with Client(subject.url, subject.api_key, timeout_s=10.0) as client:
        _wait_for(lambda: _is_ready(client), subject.process, folder / "node.log")


@contextmanager
def forwarder(core: int, folder: Path, urls: Sequence[str]) -> Iterator[Subject]:
    """The bare forwarder; events of the n-th type go to the n-th of ``urls``."""
    endpoints = [{"url": url, "secret": generate_secret(os.urandom(24))} for url in urls]
    settings = folder / "forwarder.json"
    settings.write_text(json.dumps(endpoints), encoding="utf-8")
    ready = folder / "forwarder-ready.json"
    with _process("forwarder", core, [sys.executable, str(_FORWARDER), str(settings), str(ready)], folder) as process:
        found = _wait_for(lambda: _read_json(ready), process, folder / "forwarder.log")
        yield Subject("forwarder", process, str(found["url"]), "none")


@contextmanager
def bare(core: int, folder: Path, program: Path) -> Iterator[Subject]:
    """A program that writes its ``{"url"}`` to the file that it is given, and keeps nothing."""
    ready = folder / "bare-ready.json"
    with _process("bare", core, [sys.executable, str(program), str(ready)], folder) as process:
        found = _wait_for(lambda: _read_json(ready), process, folder / "bare.log")
        yield Subject("bare", process, str(found["url"]), "none")


@contextmanager
def _process(name: str, core: int | None, command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` on ``core`` with its output in ``folder``; it is stopped at the end, and killed if it stays."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("POSTHOUSE_")}
    with (folder / f"{name}.log").open("wb") as log, machine.pinned(core):
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(look: Callable[[], _T | None], process: subprocess.Popen[bytes], log: Path) -> _T:
    """What ``look`` returns once that is something. Raises RuntimeError with the log when it takes too long."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while (found := look()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"It does not start. Its log ends with:\n{log.read_text('utf-8')[-2000:]}")
        time.sleep(_POLL_SECONDS)
    return found


def _is_ready(client: Client) -> bool | None:
    try:
        client.get("/readyz")
    except Unreachable:
        return None
    return True


def _read_json(path: Path) -> dict[str, Any] | None:
    """The document in ``path``, None while it is not there or not whole."""
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return document
