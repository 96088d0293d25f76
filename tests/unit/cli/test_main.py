"""The door of the command line: help, versions, mistakes."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from typer.main import get_command

from posthouse.cli.exits import Exit, exit_of
from posthouse.cli.main import VERBS
from posthouse.core import errors

Run = Callable[..., Any]

HEAVY = ("aiohttp", "apsw", "cryptography", "fastapi", "httpx2", "importlib.metadata", "msgspec", "pydantic", "rich")


def test_help_imports_nothing_heavy() -> None:
    """Help is fast because it loads no library that only commands need; counted, not timed."""
    code = (
        "import sys; from posthouse.cli.main import main; main(['--help']);"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "publish" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_module_with_help(verb: str, run: Run) -> None:
    ended = run(verb, "--help")
    assert ended.code == Exit.OK
    assert f"posthouse {verb}" in ended.out
    assert "--install-completion" not in ended.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_takes_json(verb: str) -> None:
    """--json is everywhere, so that programs need no table of which command has it."""
    command: Any = get_command(import_module(f"posthouse.cli.{verb}").app)
    for each in getattr(command, "commands", {"": command}).values():
        assert "--json" in {option for parameter in each.params for option in parameter.opts}


def test_no_arguments_shows_help(run: Run) -> None:
    assert run().out == run("--help").out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("posthouse ")


def test_unknown_verb_names_the_nearest(run: Run) -> None:
    ended = run("pubish")
    assert ended.code == Exit.USAGE
    assert "Did you mean 'publish'?" in ended.err
    assert ended.out == ""


def test_usage_errors_are_documents_with_json(run: Run) -> None:
    ended = run("deliveries", "list", "--status", "lost", "--json")
    assert ended.code == Exit.USAGE
    assert ended.problem["code"] == "usage"
    assert "waiting" in ended.problem["title"]
    assert "deliveries list --help" in ended.problem["hint"]


def _all_errors(of: type[errors.PosthouseError]) -> list[type[errors.PosthouseError]]:
    return [of, *(each for child in of.__subclasses__() for each in _all_errors(child))]


@pytest.mark.parametrize("error", _all_errors(errors.PosthouseError), ids=lambda e: e.__name__)
def test_every_refusal_has_an_exit_code(error: type[errors.PosthouseError]) -> None:
    """The table is total, and no refusal ends a command with 0 or with the code of wrong usage."""
    assert exit_of(error.status) not in {Exit.OK, Exit.USAGE, Exit.UNREACHABLE, Exit.INTERRUPTED}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.REFUSED),
        (401, Exit.UNAUTHORIZED),
        (403, Exit.UNAUTHORIZED),
        (404, Exit.NOT_FOUND),
        (409, Exit.REFUSED),
        (422, Exit.REFUSED),
        (429, Exit.BUSY),
        (500, Exit.FAILED),
        (503, Exit.BUSY),
        (302, Exit.FAILED),
    ],
)
def test_exit_codes(status: int, code: Exit) -> None:
    assert exit_of(status) is code
