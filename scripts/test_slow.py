"""The tests with real nodes: minutes. The rigs come last and alone, because they measure and kill.

Arguments go to pytest.
"""

import sys

import steps

#: Folders that run together, how, and for how many seconds at most.
GROUPS = (
    (("integration", "e2e"), ("-n", "2"), 1_200),
    (("rigs",), (), 2_400),
)


def main(arguments: list[str]) -> int:
    """Run every group, also after a failure; 0 if all passed."""
    failed = False
    for names, options, seconds_max in GROUPS:
        command = ["pytest", "--durations=5", *options, *steps.folders(names), *arguments]
        failed |= not steps.run(" and ".join(names), command, seconds_max=seconds_max)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
