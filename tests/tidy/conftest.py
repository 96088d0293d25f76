"""What the repository's own rules look at."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HIDDEN = re.compile(r"(^|/)(\.(?!ci/)|__pycache__|var/)|\.egg-info")  #: what git ignores, where there is no git


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git tracks or would track; without git, every file outside hidden folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False) if shutil.which("git") else None
    if listed is not None and listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not HIDDEN.search(str(path.relative_to(ROOT)))]
    return sorted(path for path in paths if path.is_file())


@pytest.fixture(scope="session")
def python_files(tracked: list[Path]) -> dict[str, ast.Module]:
    """Every Python file, parsed, by its path from the repository's root."""
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text("utf-8")) for p in tracked if p.suffix == ".py"}


@pytest.fixture(scope="session")
def source_files(python_files: dict[str, ast.Module]) -> dict[str, ast.Module]:
    """The package's own modules."""
    return {name: tree for name, tree in python_files.items() if name.startswith("src/")}
