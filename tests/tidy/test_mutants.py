"""The list of known bugs fits the code: each can be planted, and the tests that should notice it exist."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
import pytest

from posthouse.store.shared.statements import parse

MUTANTS_MIN = 20
ENGINES_MUTANTS_MIN = 15  #: of each engine of the store
ENGINES = "src/posthouse/store/"
NODE = "src/posthouse/"
TESTING = "src/posthouse/testing/"  #: bugs are planted in what is tested, not in what tests it
SUITES = "src/posthouse/testing/conformance/"  #: their classes are imported by the tests of each engine


@pytest.fixture(scope="module")
def script(root: Path) -> ModuleType:
    """The script that plants them."""
    spec = importlib.util.spec_from_file_location("posthouse_mutants", root / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mutants(root: Path, script: ModuleType) -> dict[str, Any]:
    """Every mutant by the name of its file."""
    return {path.stem: script.Mutant.read(path) for path in (root / script.FOLDER).glob("*.toml")}


@pytest.fixture(scope="module")
def planted(root: Path, mutants: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each mutant a tree with the files that it changes, changed."""
    trees = {}
    for name, mutant in mutants.items():
        tree = trees[name] = tmp_path_factory.mktemp(name)
        for change in mutant.change:
            (tree / change.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / change.file, tree / change.file)
        mutant.apply(tree)  # raises unless each old text is there exactly once
    return trees


@pytest.mark.parametrize(
    ("code", "failed", "hanging", "tests", "verdict"),
    [
        (1, {"t": "assert 1 == 2"}, None, {"t": 0.1}, "caught"),
        (None, {"t": "assert 1 == 2"}, "u", {"t": 0.1}, "caught"),
        (None, {}, "u", {"t": 0.1}, "hung"),
        (0, {}, None, {"t": 0.1}, "survived"),
        (0, {}, None, {}, "unusable"),
        (2, {}, None, {}, "unusable"),
        (None, {}, None, {}, "unusable"),
    ],
)
def test_only_a_test_that_failed_or_hung_has_noticed_a_bug(
    *, script: ModuleType, code: int | None, failed: dict[str, str], hanging: str | None, tests: Any, verdict: str
) -> None:
    """A run that could not begin says nothing, and neither does one in which no test ran."""
    mutant = script.Mutant(name="m", law="", caught_by=(), change=())
    judged = script.verdict_of(mutant, script.Run(code, 1.0, failed, hanging, tests, ""))
    assert judged.verdict == verdict
    assert judged.is_good is (verdict in {"caught", "hung"})


@pytest.mark.parametrize(
    ("file", "test"), [("queries/intake.sql", "tests/unit/test_a.py"), ("lane.py", "tests/postgres/test_a.py")]
)
def test_a_statement_that_does_not_compile_is_no_bug(script: ModuleType, file: str, test: str) -> None:
    """Whatever else failed with it; and a server that is not there has noticed nothing either."""
    change = script.Change(file=f"src/posthouse/store/postgres/{file}", old="", new="")
    mutant = script.Mutant(name="m", law="", caught_by=(test,), change=(change,))
    assert mutant.targets == (script.COMPILES, test)
    failed = {script.COMPILES: "syntax error", test: "assert 1 == 2"}
    assert script.verdict_of(mutant, script.Run(1, 1.0, failed, None, {"t": 0.1}, "")).verdict == "unusable"


def test_each_engine_has_enough(mutants: dict[str, Any]) -> None:
    for engine in ("sqlite", "postgres"):
        planted = [m for m in mutants.values() if any(c.file.startswith(f"{ENGINES}{engine}/") for c in m.change)]
        assert len(planted) >= ENGINES_MUTANTS_MIN, engine


def test_there_are_enough_and_their_files_have_their_names(mutants: dict[str, Any]) -> None:
    assert len(mutants) >= MUTANTS_MIN
    assert [name for name, mutant in mutants.items() if mutant.name != name] == []


def test_each_says_which_promise_it_breaks(mutants: dict[str, Any]) -> None:
    laws = [mutant.law for mutant in mutants.values()]
    assert [law for law in laws if not re.fullmatch(r"[A-Z][^\n]{20,110}\.", law)] == []
    assert len(set(laws)) == len(laws)


def test_each_is_planted_in_the_node(mutants: dict[str, Any]) -> None:
    changed = {change.file for mutant in mutants.values() for change in mutant.change}
    assert [file for file in changed if not file.startswith(NODE) or file.startswith(TESTING)] == []
    assert all(mutant.change and mutant.caught_by for mutant in mutants.values())


def test_what_is_planted_is_code(root: Path, planted: dict[str, Path]) -> None:
    """A bug that only breaks the syntax, or names what is not there, would be noticed by anything.

    Statements of PostgreSQL are compiled by a server, when the bug is tried out; here they are only told apart.
    """
    for tree in planted.values():
        for path in tree.rglob("*.py"):
            ast.parse(path.read_text("utf-8"))
        for path in tree.rglob("*.sql"):
            file = path.relative_to(tree)
            if file.is_relative_to(f"{ENGINES}sqlite"):
                compile_statements(path.read_text("utf-8"))
            else:
                assert parse(path.read_text("utf-8")).keys() == parse((root / file).read_text("utf-8")).keys()
    ruff = Path(sys.executable).with_name("ruff")
    unknown_names = ["--isolated", "--no-cache", "--quiet", "--select", "F821,F822,F823"]
    found = subprocess.run(
        [ruff, "check", *unknown_names, *planted.values()], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def compile_statements(text: str) -> None:
    """Raise if a statement of this file does not compile on the schema."""
    database = apsw.Connection(":memory:")
    database.execute(files("posthouse.store.sqlite").joinpath("schema.sql").read_text("utf-8"))
    for statement in parse(text).values():
        named = re.findall(r":([a-z_]+)", statement)
        numbered = [int(number) for number in re.findall(r"\?(\d+)", statement)]
        places = max(numbered) if numbered else statement.count("?")
        database.execute(f"EXPLAIN {statement}", dict.fromkeys(named) if named else (None,) * places)


def test_the_tests_that_should_notice_exist(
    root: Path, mutants: dict[str, Any], python_files: dict[str, ast.Module]
) -> None:
    for name, mutant in mutants.items():
        for target in mutant.caught_by:
            path, *parts = target.split("::")
            assert (root / path).exists(), f"{name}: there is no {path}"
            if parts:
                wanted = tuple(part.partition("[")[0] for part in parts)
                assert wanted in set(contents_of(path, python_files)), f"{name}: there is no {target}"


def contents_of(path: str, python_files: dict[str, ast.Module]) -> Iterator[tuple[str, ...]]:
    """Classes and tests of a module, also of the suites of which it imports the classes."""
    imported: set[str] = set()
    for node in python_files[path].body:
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.name for alias in node.names}
        yield from parts_of(node)
    for suite, tree in python_files.items():
        if suite.startswith(SUITES):
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.name in imported:
                    yield from parts_of(node)


def parts_of(node: ast.stmt) -> Iterator[tuple[str, ...]]:
    """A test, or a class and its tests, as the parts of a node id."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield (node.name,)
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            yield from ((node.name, *parts) for parts in parts_of(inner))


def test_the_page_names_each_of_them(root: Path, mutants: dict[str, Any]) -> None:
    text = (root / "docs" / "mutants.md").read_text("utf-8")
    shown = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert shown == {name: mutant.law for name, mutant in mutants.items()}
