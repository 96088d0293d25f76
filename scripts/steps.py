"""Running the project's own tools one after the other, each within a bound of time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def run(name: str, command: Sequence[str], *, seconds_max: int) -> bool:
    """Run a tool of .venv and say how it went; True if it ended with 0.

    A step that is not done in ``seconds_max`` is ended with everything that it started: a test that hangs
    while it cleans up would hang for ever. Settings of a node in the environment are kept from it.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")} | {"COLUMNS": "120"}
    print(f"== {name}", flush=True)
    started = time.monotonic()
    # A group of its own, so that it can be ended as a whole.
    with subprocess.Popen(
        [BIN / command[0], *command[1:]], cwd=ROOT, env=environment, start_new_session=True
    ) as process:
        try:
            good = process.wait(seconds_max) == 0
            said = "ok" if good else "failed"
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            good, said = False, f"not done after {seconds_max} s, so it was ended"
    print(f"== {name}: {said} in {time.monotonic() - started:.1f} s", flush=True)
    return good


def folders(names: Sequence[str]) -> list[str]:
    """Those folders of tests that exist."""
    return [f"tests/{name}" for name in names if (ROOT / "tests" / name).is_dir()]
