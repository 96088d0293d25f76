"""A real node, started by the installed command, and a receiver that answers as told."""

import json
import queue
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

POSTHOUSE = Path(sysconfig.get_path("scripts")) / "posthouse"
SECONDS_MAX = 30.0


class CommandLine:
    """The installed command, with the data directory of one node."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(POSTHOUSE), *arguments, "--data", str(self.data)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """The document that a command prints; it must succeed."""
        done = self(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class NodeProcess:
    """``posthouse serve`` in the foreground of its own process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it says where it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(POSTHOUSE), "serve", "--data", str(self.data), "--port", "0", "--allow-network", "127.0.0.0/8"],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        assert b"http://127.0.0.1:" in self._process.stdout.readline(), self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and wait for the exit code."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(number)
        code = self._process.wait(SECONDS_MAX)
        self._process.stdout.close()
        self._process = None
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self.end(signal.SIGKILL)


class Receiver(ThreadingHTTPServer):
    """Answers every request with :attr:`status` and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        #: (headers, body) of every request, in the order of arrival.
        self.requests: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.put((dict(self.headers.items()), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node on a new directory."""
    started = NodeProcess(tmp_path / "data")
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture
def posthouse(node: NodeProcess) -> CommandLine:
    """The command line of that node."""
    return CommandLine(node.data)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Asks until the answer is good; every question is a process of its own, so asking takes its time."""

    def eventually(ask: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + SECONDS_MAX
        while not good(answer := ask()):
            assert time.monotonic() < deadline, answer
        return answer

    return eventually
