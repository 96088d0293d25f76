"""What is printed where: a terminal, a pipe, a program."""

import json
import sys
from typing import Any

import pytest

from posthouse.cli.output import Output, aligned
from posthouse.cli.progress import bulk_progress


def test_numbers_are_aligned_to_the_right() -> None:
    assert aligned(("id", "#owed"), [["a", "1"], ["bb", "1,000"]]) == ["ID   OWED", "a       1", "bb  1,000"]


def test_values_as_people_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(("a", "b", "c", "d"), [(None, True, 1_204, {"x": 1, "y": ["p", "q"]})])
    assert capsys.readouterr().out.splitlines()[1] == "-  yes  1,204  x 1, y p, q"


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).facts((("a", None), ("longer", 0), ("b", ""), ("c", [])))
    assert capsys.readouterr().out == "longer  0\n"


def test_notes_are_silent_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, stdout and stderr hold documents and nothing beside them."""
    out = Output(as_json=True)
    out.note("hint")
    out.document({"ä": 1})
    printed, err = capsys.readouterr()
    assert json.loads(printed) == {"ä": 1}
    assert err == ""


def test_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Output(as_json=False).table(("id", "state"), [("ep_1", "active"), ("[bold]", "paused")])
    text = capsys.readouterr().out
    assert "\x1b[32mactive" in text
    assert "[bold]" in text


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_goes_to_stderr_only(capsys: pytest.CaptureFixture[str], monkeypatch: Any, quiet: bool) -> None:
    monkeypatch.setattr("posthouse.cli.progress.PLAIN_SECONDS", 0.0)
    with bulk_progress(1_000, quiet=quiet) as progress:
        progress(10, 500)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("10 lines, 500 B, 50% of the file" in err) is not quiet
