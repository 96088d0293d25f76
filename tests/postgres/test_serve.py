"""``posthouse serve`` on a database that it cannot use, or cannot use yet. The rigs run it on one that it can."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import TEMPLATE


@contextmanager
def serving(data: Path, address: str) -> Iterator["subprocess.Popen[str]"]:
    """A process whose log is read line by line."""
    command = [sys.executable, "-P", "-m", "posthouse", "serve", "--data", str(data), "--port", "0", "--json"]
    environ = {**os.environ, "POSTHOUSE_DATABASE": address}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_server_that_loses_what_it_acknowledged_ends_the_start(cluster: Cluster, tmp_path: Path) -> None:
    with serving(tmp_path / "data", cluster.dsn(TEMPLATE, password="hunter2")) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert "unsafe_library" in said
    assert "fsync=off" in said
    assert "hunter2" not in said


def test_a_database_that_is_not_there_yet_is_waited_for_until_a_signal_comes(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"postgresql://app:hunter2@127.0.0.1:{nobody.getsockname()[1]}/post"
        with serving(tmp_path / "data", address) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate()
    assert process.returncode == 0
    assert "store_awaited" in first
    assert "node_stopped" in rest
    assert "hunter2" not in first + rest
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["node.lock"]
