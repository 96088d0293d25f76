"""One seed is one history: in one process twice, and in another process."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

HISTORY = Path(__file__).with_name("history.py")


def test_one_seed_is_one_history_in_one_process() -> None:
    history = runpy.run_path(str(HISTORY))["History"]
    ballast = []
    digests = []
    for seed in (1, 2, 3, 1, 2, 3):
        ballast.append(bytearray(seed * 10_007))  # other places in memory for what comes next
        digests.append(history(seed).run())
    assert digests[:3] == digests[3:]
    assert len(set(digests)) == 3


def test_one_seed_is_one_history_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "error", HISTORY, "4"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


def test_the_history_has_everything_in_it() -> None:
    """So that its equality proves something."""
    happened, seen = set(), set()
    for seed in range(10):
        history = runpy.run_path(str(HISTORY))["History"](seed)
        history.run()
        happened |= set(history.network.happened)
        seen |= set(history.seen)
        assert history.loop.steps > 2_000
        assert history.seen["answered"] > 20
    assert happened == {"chunked", "cut", "lost", "refused", "reset", "swallowed"}
    assert {"killed", "cut", "frozen", "in doubt", "not sent", "sent", "received"} <= seen
