"""The tests with real nodes: several minutes, one after the other, because they measure and kill.

Arguments go to pytest. The last line is pytest's own summary.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SLOW = ("integration", "e2e", "rigs")


def main(arguments: list[str]) -> int:
    """Run the slow folders; pytest's exit code."""
    folders = [f"tests/{name}" for name in SLOW if (ROOT / "tests" / name).is_dir()]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")}
    command = [sys.executable, "-m", "pytest", "--durations=5", *folders, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
