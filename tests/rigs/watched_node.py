"""A node like any other, whose wall clock can be set and whose boundaries can be watched from outside.

Usage: ``python tests/rigs/watched_node.py [--clock FILE] [--boundaries FILE]`` with options of
``posthouse serve``. SIGUSR1 makes its wall clock go before or behind the machine's by the milliseconds
in the file of ``--clock``. Each boundary of :data:`WATCHED` is a line in the file of ``--boundaries``.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from posthouse.app import run
from posthouse.assembly import Machine
from posthouse.config import load_config
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.ports import Clock
from posthouse.system import SystemClock

WATCHED = {Failpoint.LEASE_ASKED, Failpoint.LEASE_HELD, Failpoint.SEND_CHOSEN}


class SteppingClock(SystemClock):
    """The machine's clocks, the wall clock set as a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_ms = 0
        signal.signal(signal.SIGUSR1, self._step)

    def now_ms(self) -> int:
        """Unix time as this node sees it."""
        return super().now_ms() + self._by_ms

    def _step(self, *_: object) -> None:
        self._by_ms = int(self._file.read_text("utf-8"))


def watch(file: Path) -> Reach:
    """Write down when each of the watched boundaries is reached, in monotonic seconds."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(point: Failpoint) -> None:
        if point in WATCHED:
            os.write(descriptor, f"{time.monotonic():.6f} {point}\n".encode())

    return note


def main() -> int:
    """Run the node until a signal ends it; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--boundaries", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--allow-network", dest="allow_networks", action="append")
    parser.add_argument("--log-level")
    flags = vars(parser.parse_args())
    clock_file, boundaries = flags.pop("clock"), flags.pop("boundaries")
    clock: Clock = SystemClock() if clock_file is None else SteppingClock(clock_file)
    reach = pass_by if boundaries is None else watch(boundaries)
    return run(load_config(flags, environ={}, config_file=None), Machine(clock=clock, reach=reach))


if __name__ == "__main__":
    sys.exit(main())
