"""Rules of the source that no linter knows: sizes, purity, words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from posthouse.telemetry import COUNTERS, GAUGES, TIMERS, Log

LINES_MAX = 600
LINES_USUAL = 400
FUNCTION_LINES_MAX = 60

#: Modules above LINES_USUAL, and why they are not cut.
LONG_MODULES: dict[str, str] = {}

#: Names that say nothing about what is inside.
DRAWERS = {"base", "common", "helper", "helpers", "lib", "manager", "managers", "misc", "service", "util", "utils"}

#: Other people's words for things that have a name here (docs/glossary.md).
FOREIGN_WORDS = {
    "destination": "endpoint",
    "destinations": "endpoints",
    "msg": "event",
    "sink": "endpoint",
    "subscriber": "endpoint",
    "subscription": "endpoint (its events)",
    "subscriptions": "endpoints",
    "topic": "event type",
    "topics": "event types",
}

#: Calls that bring in the outside; in core they come as arguments.
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "read_text", "read_bytes"}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


def called(node: ast.AST) -> str | None:
    """The last part of the name that a call calls."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else None


def test_modules_have_a_bound(root: Path, python_files: dict[str, ast.Module]) -> None:
    lengths = {name: len((root / name).read_text("utf-8").splitlines()) for name in python_files}
    assert not {name: lines for name, lines in lengths.items() if lines > LINES_MAX}
    long = {name for name, lines in lengths.items() if lines > LINES_USUAL and name.startswith("src/")}
    assert long == set(LONG_MODULES), "a long module needs a reason, and a reason a long module"


def test_functions_have_a_bound(python_files: dict[str, ast.Module]) -> None:
    long = {
        f"{name}:{function.name}": body_lines(function)
        for name, tree in python_files.items()
        for function in functions(tree)
        if body_lines(function) > FUNCTION_LINES_MAX
    }
    assert not long


def test_core_has_no_coroutine_and_asks_nothing(source_files: dict[str, ast.Module]) -> None:
    """What import-linter cannot see: core decides from its arguments alone."""
    found = [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name, tree in source_files.items()
        if name.startswith("src/posthouse/core/")
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global) or called(node) in IMPURE_CALLS
    ]
    assert not found


def test_no_module_is_a_drawer(source_files: dict[str, ast.Module]) -> None:
    names = {part for name in source_files for part in Path(name).with_suffix("").parts}
    assert not names & DRAWERS


def test_identifiers_use_the_words_of_the_glossary(source_files: dict[str, ast.Module]) -> None:
    found = []
    for name, tree in source_files.items():
        for identifier, line in identifiers(tree):
            words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier).lower().split("_")
            found += [f"{name}:{line} {identifier}: say {FOREIGN_WORDS[w]}" for w in words if w in FOREIGN_WORDS]
    assert not found


def test_every_log_event_is_written_somewhere(root: Path, source_files: dict[str, ast.Module]) -> None:
    """Declared data tells the truth: what is declared is logged, and nothing logs past the declarations."""
    used, past = set(), []
    for name, tree in source_files.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Log":
                used.add(node.attr)
            if called(node) in {"getLogger", "get_logger"} and name != "src/posthouse/telemetry/logs.py":
                past.append(f"{name}:{node.lineno}" if isinstance(node, ast.Call) else name)
    assert not past
    assert used == set(Log.__members__)


def test_every_metric_is_counted_somewhere(source_files: dict[str, ast.Module]) -> None:
    used = {
        node.attr
        for name, tree in source_files.items()
        if name != "src/posthouse/telemetry/logs.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    assert {metric.attribute for metric in (*COUNTERS, *TIMERS)} <= used
    told = {
        node.args[0].value
        for tree in source_files.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) == "gauge" and isinstance(node.args[0], ast.Constant)
    }
    assert told == {gauge.name for gauge in GAUGES}
