"""Pytest as the mutation check runs it: on one tree, with a record of what began and what failed.

Arguments: the tree whose ``src`` must be the one that is imported, the record, then pytest's own.
The record has one JSON object a line, so that it also says how far a run came that was ended.
"""

import json
import sys
from pathlib import Path

import pytest

import posthouse

LINE_CHARS_MAX = 300


class Recorder:
    """A pytest plugin that writes the record; with xdist it sits in the controller and sees every worker."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._write({"began": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test is over."""
        self._write({"test": report.nodeid, "seconds": report.duration, "ended": report.when == "teardown"})
        if report.failed:
            self._write({"failed": report.nodeid, "says": first_line(report)})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module was read."""
        if report.failed:
            self._write({"unreadable": report.nodeid, "says": report.longreprtext[-LINE_CHARS_MAX:]})

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")


def first_line(report: pytest.TestReport) -> str:
    """What the failure says, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else crash.message
    return next(iter(text.splitlines()), "")[:LINE_CHARS_MAX]


def main(tree: str, record: str, *arguments: str) -> int:
    """Run pytest; its exit code."""
    source = Path(tree) / "src"
    assert Path(posthouse.__file__).is_relative_to(source), f"{posthouse.__file__} is imported, not {source}"
    return int(pytest.main([*arguments], plugins=[Recorder(Path(record))]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
