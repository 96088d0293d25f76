"""The demonstration, whole: the promise holds, and nothing of it stays behind."""

import json
import os
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

POSTHOUSE = Path(sysconfig.get_path("scripts")) / "posthouse"


def test_demo_keeps_the_promise(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    command = [str(POSTHOUSE), "demo", "--once", "--rounds", "1", "--rate", "100", "--data", str(data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    reckoning = json.loads(done.stdout)
    assert reckoning["holds"] is True
    assert reckoning["delivered"] == reckoning["owed"] == 3 * reckoning["acknowledged"]
    assert all(reckoning[name] == 0 for name in ("lost", "altered", "bad_signatures", "unexplained", "imbalance"))
    assert any("SIGKILL to the node" in moment["text"] for moment in reckoning["moments"])
    assert done.stderr == ""
    assert not (data / "node.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_ends_with_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    """However the demonstration is ended, its node and its receivers end with it."""
    data = tmp_path / "demo"
    demo = subprocess.Popen(
        [str(POSTHOUSE), "demo", "--rounds", "50", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "publishing" in line:
            break
    node = json.loads((data / "node.json").read_text())["pid"]
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(node, 0)


def test_demo_wants_a_new_directory(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    done = subprocess.run(
        [str(POSTHOUSE), "demo", "--once", "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr
