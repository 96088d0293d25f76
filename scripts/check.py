"""Everything that a change must pass, fast: format, lint, types, imports, and the fast tests.

All steps run even when one fails, so that one run shows every fault. Arguments go to pytest.
"""

import sys

import steps

#: Folders of tests that need no real node: seconds, and safe to run side by side.
FAST = ("tidy", "unit", "property", "conformance")
SECONDS_MAX = 600  #: for each step

READING = {
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "lint": ["ruff", "check", "--quiet", "."],
    "types": ["mypy"],
    "imports": ["lint-imports", "--no-logo"],
}


def main(arguments: list[str]) -> int:
    """Run every step; 0 if all passed.

    The tests begin at once, for what only reads the code would leave a core idle; what they print comes last.
    """
    command = ["pytest", "-n", "2", "--dist", "loadgroup", *steps.folders(FAST), *arguments]
    with steps.Step("tests", command, seconds_max=SECONDS_MAX, in_memory=True, held=True) as tests:
        failed = [name for name, reader in READING.items() if not steps.run(name, reader, seconds_max=SECONDS_MAX)]
        if not tests.finish():
            failed.append("tests")
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
