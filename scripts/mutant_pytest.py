"""Pytest as the mutation check runs it, many times from one process, so that what is no part of it is imported once.

An order a line comes in: the tree whose ``src`` must be the one that is imported, where to write the record, where to
write what is printed, and pytest's own arguments. It is carried out in a fork of this process: its id goes out when it
begins, its exit code when it has ended. Nothing of the project is imported before the fork.

The record has one JSON object a line, so that it also says how far a run came that was ended.
"""

import gc
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TypedDict

import pytest

LINE_CHARS_MAX = 300

#: What takes long to import and is not the project's. Not pytest's plugins: pytest itself wants to import those.
BEFOREHAND = (
    "aiohttp",
    "apsw",
    "asyncio",
    "asyncpg",
    "cryptography.x509",
    "fastapi",
    "httpx2",
    "hypothesis.stateful",
    "hypothesis.strategies",
    "prometheus_client",
    "pydantic",
    "rich.traceback",
    "structlog",
    "trustme",
    "typer",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


class Order(TypedDict):
    """One run of pytest."""

    tree: str
    record: str
    printed: str
    environment: dict[str, str]
    arguments: list[str]


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


def carry_out(order: Order) -> int:
    """Run pytest in this process, which ends with it; its exit code."""
    tree = Path(order["tree"])
    os.setsid()  # so that it can be ended with all that it starts
    os.chdir(tree)
    printed = os.open(order["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), printed, printed)):
        os.dup2(file, stream)
    source = tree / "src"
    os.environ |= {"PYTHONPATH": str(source), **order["environment"]}
    sys.path[0:1] = [str(tree / "scripts"), str(source)]
    project = importlib.import_module("posthouse")
    assert Path(str(project.__file__)).is_relative_to(source), f"{project.__file__} is imported, not {source}"
    return int(pytest.main(order["arguments"], plugins=[Recorder(Path(order["record"]))]))


def main() -> int:
    """Carry out orders until there are no more."""
    for name in BEFOREHAND:
        importlib.import_module(name)
    assert "posthouse" not in sys.modules
    gc.collect()
    gc.freeze()  # what all share need not be looked at by each
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 3  # what pytest says of a fault of its own
            try:
                code = carry_out(json.loads(line))
            except BaseException:  # noqa: BLE001 - nothing may go back into the parent's loop
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
