"""Everything that a change must pass, fast: format, lint, types, imports, then the fast tests.

All steps run even when one fails, so that one run shows every fault. Arguments go to pytest.
"""

import sys

import steps

#: Folders of tests that need no real node: seconds, and safe to run side by side.
FAST = ("tidy", "unit", "property", "conformance")
SECONDS_MAX = 600  #: for each step


def main(arguments: list[str]) -> int:
    """Run every step; 0 if all passed."""
    commands = {
        "format": ["ruff", "format", "--check", "--quiet", "."],
        "lint": ["ruff", "check", "--quiet", "."],
        "types": ["mypy"],
        "imports": ["lint-imports", "--no-logo"],
        "tests": ["pytest", "-n", "2", *steps.folders(FAST), *arguments],
    }
    failed = [name for name, command in commands.items() if not steps.run(name, command, seconds_max=SECONDS_MAX)]
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
