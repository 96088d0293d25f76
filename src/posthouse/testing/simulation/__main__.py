"""``python -m posthouse.testing.simulation``: simulate seeds, or tell everything about one."""

import argparse
import sys
from typing import Final

from posthouse.testing.simulation.runner import Report, attempt, fix_hashes, run_all, work

_TAIL: Final = 40


def main(arguments: list[str]) -> int:
    """Do as the arguments say; 0 if every law held."""
    options = _parse(arguments)
    if options.worker:
        work(sys.stdin, sys.stdout)
        return 0
    if options.seed is not None:
        fix_hashes(arguments)
        return _tell(options.seed, options.tail)
    report = Report(sys.stdout, failures_max=options.failures)
    seeds = range(options.first, options.first + options.seeds)
    run_all(seeds, jobs=options.jobs, each=report.add)
    run_all(seeds[: options.twice], jobs=options.jobs, each=report.compare)
    report.tell(everything=options.all)
    return 1 if report.failed else 0


def _tell(seed: int, tail: int) -> int:
    result = attempt(seed, tail=tail)
    print(result.plan, "", "timeline:", *result.timeline, "", "end of the trace:", *result.tail, sep="\n")
    print("", f"digest: {result.digest}", f"findings: {len(result.findings)}", *result.findings, sep="\n")
    return 1 if result.findings else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m posthouse.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--twice", type=int, default=5, help="so many are lived twice, in another process")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many seeds that failed")
    parser.add_argument("--all", action="store_true", help="show every count")
    parser.add_argument("--seed", type=int, help="tell everything about this one")
    parser.add_argument("--tail", type=int, default=_TAIL, help="lines of the trace to show of one seed")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
