"""Everything that a change must pass, fast: format, lint, types, imports, then the fast tests.

All steps run even when one fails, so that one run shows every fault. Arguments go to pytest.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

#: Folders of tests that need no real node: seconds, and safe to run side by side.
FAST = ("tidy", "unit", "property", "conformance", "simulation")


def main(arguments: list[str]) -> int:
    """Run every step; 0 if all passed."""
    fast = [f"tests/{name}" for name in FAST if (ROOT / "tests" / name).is_dir()]
    steps = {
        "format": ["ruff", "format", "--check", "--quiet", "."],
        "lint": ["ruff", "check", "--quiet", "."],
        "types": ["mypy"],
        "imports": ["lint-imports", "--no-logo"],
        "tests": ["pytest", "-n", "2", *fast, *arguments],
    }
    failed = []
    for name, command in steps.items():
        print(f"== {name}", flush=True)
        started = time.monotonic()
        if subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, env=environment(), check=False).returncode:
            failed.append(name)
        print(f"== {name}: {'failed' if name in failed else 'ok'} in {time.monotonic() - started:.1f} s", flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


def environment() -> dict[str, str]:
    """The environment without settings of a node, with a width that keeps reports readable."""
    return {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")} | {"COLUMNS": "120"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
