"""Resolve the dependencies of pyproject.toml into requirements/, with hashes and without addresses.

One resolution holds for Python 3.11 to 3.13 on every platform (markers say where a package is needed).
base.txt is what a node needs; dev.txt is that and what the tests and checks need.
Existing pins stay unless ``--upgrade`` is given or pyproject.toml rules them out.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOLVER = "uv==0.13.9"
HEADER = "# Made by `make lock` from pyproject.toml. Install with: pip install --require-hashes -r {name}\n"


def main(arguments: list[str]) -> int:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", RESOLVER])
        resolver = Path(folder) / "bin" / "uv"
        resolve(resolver, "base.txt", arguments)
        resolve(resolver, "dev.txt", ["--group", "dev", "--constraint", "requirements/base.txt", *arguments])
    return 0


def resolve(resolver: Path, name: str, extra: list[str]) -> None:
    """Write requirements/``name``."""
    path = ROOT / "requirements" / name
    fixed = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    silent = ["--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    run([resolver, "pip", "compile", "pyproject.toml", "--output-file", path, *fixed, *silent, *extra])
    body = "".join(line for line in path.read_text("utf-8").splitlines(keepends=True) if not line.startswith("#"))
    path.write_text(HEADER.format(name=f"requirements/{name}") + body, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {sum('==' in line for line in body.splitlines())} packages")


def run(command: list[str | Path]) -> None:
    """Run a command in the project's folder; ends the script if it fails."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"{Path(command[0]).name} failed; what it says above tells why.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
