"""What takes minutes: real nodes, simulated histories, planted bugs. Rigs come last and alone: they measure and kill.

Arguments go to pytest.
"""

import sys

import postgres
import steps

#: Folders of tests that run together, and on how many processes. Drills and nodes wait as long as they work.
TOGETHER = {("integration", "e2e", "model"): 3, ("postgres",): 2, ("simulation",): 2}
ALONE = "rigs"
SECONDS_MAX = 1_200
RIG_SECONDS_MAX = 2_400

#: Programs that prove something by themselves, and for how many seconds they may run.
PROGRAMS = {
    # tests/simulation lives the first 23.
    "seeds": (["python", "-m", "posthouse.testing.simulation", "--first", "23", "--seeds", "100"], 900),
    "mutants": (["python", "scripts/mutants.py"], 1_200),
}


def main(arguments: list[str]) -> int:
    """Run everything, also after a failure; 0 if all passed."""
    good = postgres.ready()  # if it is not, tests that need it say so, too; the others run
    for names, workers in TOGETHER.items():
        how = ["--durations=5", "-n", str(workers), "--dist", "loadgroup"]
        command = ["pytest", *how, *steps.folders(names), *arguments]
        good &= steps.run(" and ".join(names), command, seconds_max=SECONDS_MAX, in_memory=True)
    for name, (command, seconds_max) in PROGRAMS.items():
        good &= steps.run(name, command, seconds_max=seconds_max, in_memory=True)
    command = ["pytest", "--durations=5", *steps.folders((ALONE,)), *arguments]
    good &= steps.run(ALONE, command, seconds_max=RIG_SECONDS_MAX)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
