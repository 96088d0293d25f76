"""The tests with real nodes: minutes. The rigs come last and alone, because they measure and kill.

Arguments go to pytest. The last line is pytest's own summary.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Folders that run together, and how.
GROUPS = ((("integration", "e2e"), ("-n", "2")), (("rigs",), ()))


def main(arguments: list[str]) -> int:
    """Run every group, also after a failure; 0 if all passed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")}
    failed = False
    for names, options in GROUPS:
        folders = [f"tests/{name}" for name in names if (ROOT / "tests" / name).is_dir()]
        print(f"== {', '.join(folders)}", flush=True)
        command = [sys.executable, "-m", "pytest", "--durations=5", *options, *folders, *arguments]
        failed |= subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
