"""Rules of every file: nothing left over, no machine's own paths, tests that do not sleep."""

import ast
import re
import tomllib
from pathlib import Path

TEXT = {".cfg", ".css", ".html", ".js", ".json", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yaml", ".yml", ""}

#: Files whose content is other people's: real payloads and vectors.
FOREIGN_FOLDERS = ("data", "vectors")

LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|root|home/[a-z]+)/")
REGISTRIES = re.compile(r"pypi\.org|pythonhosted\.|deb\.debian\.org|--index-url")
THIS_FILE = "tests/tidy/test_repository.py"  #: has to spell what it looks for

#: Tests that wait for real time, and why nothing else would do.
SLEEPERS: dict[str, str] = {
    "tests/integration/processes/test_serve_several.py": "it asks other processes now and then whether they are so far",
    "tests/rigs/failover_rig.py": "a primary lives for a while under load; publishers wait before they ask again",
    "tests/rigs/received_rig.py": "it posts at a rate, and waits before it calls a node again that was killed",
    "tests/rigs/spread_rig.py": "it measures CPU time: a look at a counter now and then costs nothing",
}


def texts(root: Path, tracked: list[Path]) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text("utf-8")
        for path in tracked
        if path.suffix in TEXT and not any(part in FOREIGN_FOLDERS for part in path.relative_to(root).parts)
    }


def found(pattern: re.Pattern[str], root: Path, tracked: list[Path]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts(root, tracked).items()
        for number, line in enumerate(text.splitlines(), 1)
        if name != THIS_FILE and pattern.search(line)
    ]


def test_nothing_is_left_over(root: Path, tracked: list[Path]) -> None:
    assert not found(LEFTOVERS, root, tracked)


def test_no_file_names_a_path_of_one_machine(root: Path, tracked: list[Path]) -> None:
    assert not found(MACHINE_PATHS, root, tracked)


def test_no_file_names_a_package_registry(root: Path, tracked: list[Path]) -> None:
    """Where packages come from is each machine's own business; the lock has versions and hashes."""
    assert not found(REGISTRIES, root, tracked)


def test_text_ends_with_one_newline_and_no_line_with_a_blank(root: Path, tracked: list[Path]) -> None:
    bad = [
        name
        for name, text in texts(root, tracked).items()
        if text and (not text.endswith("\n") or text.endswith("\n\n") or re.search(r"[ \t]+$", text, re.MULTILINE))
    ]
    assert not bad


def test_tests_do_not_sleep(python_files: dict[str, ast.Module]) -> None:
    """A test waits for a thing to happen, not for time to pass."""
    sleepers = set()
    for name, tree in python_files.items():
        if not name.startswith("tests/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "sleep":
                ticks = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                if not ticks:  # sleep(0) only lets the loop turn
                    sleepers.add(name)
    assert sleepers == set(SLEEPERS)


def test_every_pin_has_hashes_and_the_small_lock_is_part_of_the_large_one(root: Path) -> None:
    pins = {}
    for name in ("base", "dev"):
        text = (root / "requirements" / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert all("==" in line and "--hash=sha256:" in line for line in lines)
        pins[name] = {line.split()[0] for line in lines}
    assert pins["base"] <= pins["dev"]


def test_every_dependency_is_locked(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    for name, wanted in (
        ("base", project["project"]["dependencies"]),
        (
            "dev",
            project["project"]["dependencies"] + groups["oracles"] + [d for d in groups["dev"] if isinstance(d, str)],
        ),
    ):
        pinned = {
            line.partition("==")[0] for line in (root / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
        }
        assert {re.split(r"[><=;\s\[]", requirement)[0] for requirement in wanted} <= pinned
