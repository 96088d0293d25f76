"""What takes minutes: real nodes, simulated histories, planted bugs. Arguments go to pytest.

Real nodes wait a lot, for their clocks and for each other, and leave the processors idle meanwhile. Simulated ones know
only virtual time: they are simulated beside the real ones, while these wait. Rigs measure and kill: two at a time, and
beside them at most what is left of the simulation, which gives way to them.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack

import postgres
import steps

#: Folders of tests that run together, and on how many processes. Drills and nodes wait as long as they work.
REAL = {("integration", "e2e", "model"): 3, ("postgres",): 3}
RIGS = ("rigs",)
SECONDS_MAX = 1_800
SIMULATED_SECONDS_MAX = 2_700  #: while all the real ones have precedence
SEEDS = ("--first", "23", "--seeds", "30")  #: tests/simulation lives the first 23


def main(arguments: list[str]) -> int:
    """Run everything, also after a failure; 0 if all passed."""
    good = postgres.ready()  # if it is not, tests that need it say so, too; the others run
    with ExitStack() as running:
        simulated = {
            "simulation": tests(("simulation",), 2, arguments),
            "seeds": ["python", "-m", "posthouse.testing.simulation", *SEEDS],
        }
        lives = [running.enter_context(simulate(name, command)) for name, command in simulated.items()]
        for names, workers in REAL.items():
            command = tests(names, workers, arguments)
            good &= steps.run(" and ".join(names), command, seconds_max=SECONDS_MAX, in_memory=True)
        good &= steps.run("rigs", tests(RIGS, 2, arguments), seconds_max=SECONDS_MAX)  # on a real disk
        for step in lives:
            good &= step.finish()
    good &= steps.run("mutants", ["python", "scripts/mutants.py"], seconds_max=SECONDS_MAX, in_memory=True)
    return 0 if good else 1


def simulate(name: str, command: Sequence[str]) -> steps.Step:
    """Run what needs no clock, while nothing else runs."""
    return steps.Step(name, command, seconds_max=SIMULATED_SECONDS_MAX, in_memory=True, held=True, idle=True)


def tests(names: Sequence[str], workers: int, arguments: Sequence[str]) -> list[str]:
    """How pytest runs these folders on so many processes."""
    return ["pytest", "--durations=5", "-n", str(workers), "--dist", "loadgroup", *steps.folders(names), *arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
