"""The receiver of everything: nginx, which answers each POST with an empty 200 and counts it.

Its count knows nothing of the node or the forwarder, so it can be held against what they say.
"""

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import machine

ENDPOINTS = 16
_START_SECONDS_MAX = 10.0
_STOP_SECONDS_MAX = 5.0

#: Every endpoint has an address of its own, as in real life: connections are kept per host.
ADDRESSES = tuple(f"127.0.0.{number + 2}" for number in range(ENDPOINTS))

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server {{
        {listen}
        location = /status {{ stub_status; }}
        location / {{ return 200; }}
    }}
}}
"""


class Sink:
    """A running sink."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._own = 0
        #: One per endpoint.
        self.urls = tuple(f"http://{address}:{port}/hook" for address in ADDRESSES)

    def received(self) -> int:
        """How many deliveries have come in since the start."""
        connection = http.client.HTTPConnection(ADDRESSES[0], self._port, timeout=5)
        try:
            connection.request("GET", "/status")
            self._own += 1
            requests = int(connection.getresponse().read().splitlines()[2].split()[2])
        finally:
            connection.close()
        return requests - self._own


@contextmanager
def running(core: int | None, folder: Path) -> Iterator[Sink]:
    """A sink that runs on ``core`` (None: any) and keeps its files in ``folder``."""
    port = free_port(ADDRESSES)
    listen = "\n        ".join(f"listen {address}:{port} backlog=1024;" for address in ADDRESSES)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, listen=listen), encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(configuration)]
    with machine.pinned(core):
        process = subprocess.Popen(command)
    try:
        sink = Sink(port)
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                sink.received()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"nginx does not start: {(folder / 'nginx.log').read_text('utf-8')}") from None
                time.sleep(0.02)
        yield sink
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(addresses: tuple[str, ...]) -> int:
    """A TCP port that is free on all ``addresses`` now."""
    with socket.socket() as first:
        first.bind((addresses[0], 0))
        port: int = first.getsockname()[1]
        for address in addresses[1:]:
            with socket.socket() as other:
                other.bind((address, port))
    return port
