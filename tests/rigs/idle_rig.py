"""What a node costs that has nothing to do: CPU and memory with many endpoints and no events.

Usage: ``python tests/rigs/idle_rig.py --endpoints 1000 --seconds 20``
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rig_node import rig_node

CPU_PERCENT_MAX = 1.0
_CALM_SECONDS = 1.0  #: after the last request, so that its echoes are not counted


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    endpoints: int
    seconds: float
    cpu_percent: float  #: of one core
    memory_mb: float

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        if self.cpu_percent >= CPU_PERCENT_MAX:
            return [f"cpu_percent is {self.cpu_percent}, not below {CPU_PERCENT_MAX}"]
        return []


def run(folder: Path, *, endpoints: int, seconds: float) -> Figures:
    """Run the rig with its files in ``folder``."""
    with rig_node(folder) as node:
        node.start()
        with node.client() as client:
            for number in range(endpoints):
                client.post("/v1/endpoints", {"url": f"http://127.0.0.1:9/{number}", "events": [f"idle.{number}"]})
        node.live_for(_CALM_SECONDS)
        before = node.cpu_seconds()
        node.live_for(seconds)
        used = node.cpu_seconds() - before
        return Figures(endpoints, seconds, round(used / seconds * 100, 2), round(node.memory_mb("VmRSS"), 1))


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--endpoints", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="posthouse-idle-") as folder:
        figures = run(Path(folder), endpoints=options.endpoints, seconds=options.seconds)
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
