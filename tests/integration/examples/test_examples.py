"""The examples run as they stand, against a real node in a process of its own."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from posthouse.sdk.client import Client

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program whose lines the test reads; it is stopped at the end."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.terminate()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that the program prints; waits for it."""
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, "the program ended early"
    return text.strip()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What an example needs to find the node."""
    command = ("-m", "posthouse", "serve", "--data", str(tmp_path), "--port", "0", "--allow-network", "127.0.0.0/8")
    with running(*command, "--log-level", "error") as node:
        url = re.search(r"http://[\d.]+:\d+", line(node))
        assert url is not None
        api_key = (tmp_path / "api_key").read_text("utf-8").strip()
        yield {**os.environ, "POSTHOUSE_URL": url[0], "POSTHOUSE_API_KEY": api_key}


@pytest.fixture
def receiver(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """examples/receive.py, with an endpoint that leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        client = stack.enter_context(Client(environment["POSTHOUSE_URL"], environment["POSTHOUSE_API_KEY"]))
        # Paused until the receiver listens: an early refusal would only be retried 15 s later.
        endpoint = client.post("/v1/endpoints", {"url": f"http://127.0.0.1:{port}/", "events": ["order.*"]})
        client.post(f"/v1/endpoints/{endpoint['id']}/pause")
        process = stack.enter_context(running(str(EXAMPLES / "receive.py"), endpoint["secret"], str(port)))
        assert line(process) == f"listening on http://127.0.0.1:{port}"
        client.post(f"/v1/endpoints/{endpoint['id']}/resume")
        yield process


def test_publishing_and_receiving_from_python(environment: dict[str, str], receiver: subprocess.Popen[str]) -> None:
    command = [sys.executable, str(EXAMPLES / "publish.py")]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "order-1042-paid: 1 deliveries"
    assert shown[1] == "order-1042-paid: was there before: True"
    assert len(shown) == 5
    received = sorted(line(receiver).split(" ", 1) for _ in range(4))
    assert received[-1] == ["order-1042-paid", 'order.paid {"order": 1042, "total": "59.90"}']
    assert [what for _, what in received[:3]] == [f'order.shipped {{"order": {n}}}' for n in (1040, 1041, 1042)]


def test_a_source(environment: dict[str, str]) -> None:
    command = [sys.executable, str(EXAMPLES / "source.py")]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == ["delivery-1: 200", "delivery-2: 200", "delivery-1: 200", "2 events, 1 repetition"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_publishing_with_curl(environment: dict[str, str], receiver: subprocess.Popen[str]) -> None:
    command = [str(EXAMPLES / "publish.sh")]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert '"duplicate":false' in first.replace(" ", "")
    assert '"duplicate":true' in again.replace(" ", "")
    assert line(receiver).endswith('order.paid {"order": 1043, "total": "12.00"}')


def test_a_receiver_refuses_what_is_not_signed(receiver: subprocess.Popen[str]) -> None:
    port = int(re.findall(r"\d+", str(receiver.args))[-1])
    with Client(f"http://127.0.0.1:{port}", None, tries=1) as stranger, pytest.raises(Exception, match="401"):
        stranger.post("/", {"type": "order.paid", "data": {}})
    assert line(receiver).startswith("refused: ")
