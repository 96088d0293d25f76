"""The mutation check: bugs put into the node on purpose, each of which the tests must notice.

A bug is a file in ``tests/mutants``: the promise that it breaks, the text that it changes, and the
tests that catch it. Each one is made in a copy of the repository of its own. First the same tests run
on a copy without a bug: they must pass, or the check would prove nothing. See docs/mutants.md.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import msgspec

from posthouse.testing.postgres.cluster import SERVER_VARIABLE, Cluster, NoPostgres, binaries

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = "tests/mutants"
CHILD: Final = "scripts/mutant_pytest.py"
#: Where --all looks for tests that catch a bug.
FAST: Final = ("tests/unit", "tests/property", "tests/conformance", "tests/model", "tests/postgres")
#: Tests below it need a server; it is theirs for all mutants, for it takes longer to make than most of them.
ON_A_SERVER: Final = "tests/postgres"
#: Statements below it are compiled by the server only. One that does not compile is no bug that a test has noticed, and
#: neither is a server that is not there.
SERVERS_SQL: Final = "src/posthouse/store/postgres/queries/"
COMPILES: Final = "tests/postgres/test_statements.py::test_each_statement_compiles"
#: What the tests need of pytest's plugins. Loading all that are installed takes longer than most of the tests.
PLUGINS: Final = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin", "xdist.plugin")

START_SECONDS_MAX: Final = 20.0  #: for pytest to begin, on a busy machine
SLOWER: Final = 5  #: a run that takes so many times as long as without the bug hangs
PATIENCE_SECONDS: Final = 5.0  #: then a run most likely waits for what never comes, and another one begins beside it
CLEAN_SECONDS_MAX: Final = 600.0
ALL_SECONDS_MAX: Final = 600.0
_NOTHING_FAILED, _TESTS_FAILED = 0, 1  # exit codes of pytest
_LEFT_OUT: Final = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist", "var")
_REWRITTEN: Final = shutil.ignore_patterns("*-pytest-*.pyc")  # they name the tree that they were made in
_OUTPUT_LINES: Final = 40


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``old`` stands exactly once in ``file`` and becomes ``new``."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """``text`` with the change. Raises ValueError if the old text is not there exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"the text to change stands {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bug, the promise that it breaks, and the tests that catch it, the narrowest first."""

    name: str
    law: str
    caught_by: tuple[str, ...]
    change: tuple[Change, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The mutant in a TOML file."""
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), cls)

    @property
    def targets(self) -> tuple[str, ...]:
        """What is run: before the tests that catch it, whether it can run at all, if only a server can tell."""
        files = (change.file for change in self.change)
        needs_server = any(test.startswith(ON_A_SERVER) for test in self.caught_by)
        return (COMPILES, *self.caught_by) if needs_server or any(map(_is_servers_sql, files)) else self.caught_by

    def apply(self, tree: Path) -> None:
        """Put the bug into a copy of the repository. Raises ValueError if it does not fit."""
        for change in self.change:
            path = tree / change.file
            text = change.applied(path.read_text("utf-8"))
            path.unlink()  # the file may be shared with the tree that was copied
            path.write_text(text, encoding="utf-8")
            for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
                compiled.unlink()  # it may look as young as the file


class Run(msgspec.Struct, frozen=True):
    """What one run of pytest came to."""

    code: int | None  #: pytest's exit code; None: it was ended because it hung
    seconds: float
    failed: Mapping[str, str]  #: tests that failed and what they say, in their order
    hanging: str | None  #: the test that was running when the run was ended
    tests: Mapping[str, float]  #: every test with its seconds
    output: str


class Verdict(msgspec.Struct, frozen=True):
    """What the tests made of one mutant."""

    mutant: str
    verdict: str  #: caught, hung, survived, or unusable: it could not be put in, or pytest could not run
    seconds: float
    catchers: tuple[str, ...] = ()
    says: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the bug was noticed."""
        return self.verdict in {"caught", "hung"}


def _is_servers_sql(file: str) -> bool:
    return file.startswith(SERVERS_SQL)


def load(folder: Path) -> list[Mutant]:
    """Every mutant of a folder, by file name."""
    return [Mutant.read(path) for path in sorted(folder.glob("*.toml"))]


# -- running pytest -----------------------------------------------------------------------------------


class Nursery:
    """A process that has imported what all runs of pytest need, and runs one after the other, each in a fork of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._cluster: Cluster | None = None

    @classmethod
    async def start(cls) -> Self:
        """A new one."""
        names = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_") and k not in names}
        environment |= {"PYTHONHASHSEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / CHILD), stdin=pipe, stdout=pipe, env=environment, start_new_session=True
        )
        return cls(process)

    async def run_pytest(self, tree: Path, arguments: Sequence[str], *, seconds_max: float) -> Run:
        """Run pytest in ``tree`` on the code of ``tree``; ended with all that it started after ``seconds_max``."""
        record, printed = tree.with_suffix(".record"), tree.with_suffix(".printed")  # beside it: its files are shared
        plugins = [option for name in (*PLUGINS, "no:cacheprovider") for option in ("-p", name)]
        lent = any(argument.startswith(ON_A_SERVER) for argument in arguments) and "-n" not in arguments
        environment = {SERVER_VARIABLE: str(self._server())} if lent else {}
        order: dict[str, object] = {"tree": str(tree), "record": str(record), "printed": str(printed)}
        order["environment"] = environment
        order["arguments"] = ["-q", *plugins, *arguments]
        assert self._process.stdin is not None
        started = time.monotonic()
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        run, code = await self._number(), None
        ending = asyncio.ensure_future(self._number())
        try:
            async with asyncio.timeout(seconds_max):
                code = await asyncio.shield(ending)
        except TimeoutError:
            pass
        finally:
            if not ending.done():
                os.killpg(run, signal.SIGKILL)
                await ending
        seconds = time.monotonic() - started
        lines = printed.read_text("utf-8", "replace").splitlines()[-_OUTPUT_LINES:]
        return _read_record(record, code, seconds, "\n".join(lines))

    async def close(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._cluster is not None:
            self._cluster.stop()

    def _server(self) -> Path:
        """Where the server is that its runs use, one after the other; a run on several processes has its own."""
        if self._cluster is None:
            self._cluster = Cluster.start()
        return self._cluster.socket

    async def _number(self) -> int:
        assert self._process.stdout is not None
        return int(await self._process.stdout.readline())


def _read_record(record: Path, code: int | None, seconds: float, output: str) -> Run:
    failed: dict[str, str] = {}
    tests: dict[str, float] = {}
    running: dict[str, None] = {}
    for line in record.read_text("utf-8").splitlines() if record.exists() else ():
        match json.loads(line):
            case {"began": test}:
                running[test] = None
            case {"failed": test, "says": says}:
                failed.setdefault(test, says)
            case {"test": test, "seconds": duration, "ended": ended}:
                tests[test] = tests.get(test, 0.0) + duration
                if ended:
                    running.pop(test, None)
    hanging = next(iter(running), None) if code is None else None
    return Run(code, seconds, failed, hanging, tests, output)


def seconds_of(targets: Iterable[str], tests: Mapping[str, float]) -> float:
    """How long these targets took in a run."""
    wanted = tuple(targets)
    return sum(
        seconds
        for test, seconds in tests.items()
        if any(test == target or test.startswith((f"{target}[", f"{target}::", f"{target}/")) for target in wanted)
    )


# -- the check ----------------------------------------------------------------------------------------


class Check:
    """Tries mutants, ``jobs`` at a time, in copies of one clean tree."""

    def __init__(self, place: Path, belongings: AsyncExitStack, *, jobs: int) -> None:
        self._place = place
        self._belongings = belongings
        self._clean = place / "clean"
        self._jobs = jobs
        self._free = asyncio.Semaphore(jobs)
        self._idle: list[Nursery] = []
        self._targets: Sequence[str] = ()
        self._tests: Mapping[str, float] = {}

    async def clean(self, targets: Sequence[str]) -> bool:
        """Make the clean tree and run ``targets`` on it; whether all of them passed."""
        shutil.copytree(ROOT, self._clean, ignore=_LEFT_OUT)
        arguments = [*targets, "-n", str(self._jobs)]
        run = await self._run_pytest(self._clean, arguments, seconds_max=CLEAN_SECONDS_MAX)
        self._targets, self._tests = targets, run.tests
        if run.code == _NOTHING_FAILED:
            print(f"Without a bug all {len(run.tests)} tests pass, in {run.seconds:.1f} s.", flush=True)
            return True
        print(run.output)
        print("The tests do not pass without a bug, so they can prove nothing.")
        return False

    def seconds(self, mutant: Mutant) -> float:
        """How long the tests that should catch it take without the bug."""
        return seconds_of(mutant.targets, self._tests)

    async def try_out(self, mutant: Mutant) -> Verdict:
        """Put one bug in and run the tests that should catch it, up to the first that does."""
        usual = SLOWER * self.seconds(mutant)
        async with self._turn(PATIENCE_SECONDS + usual):
            return await self._judge(mutant, ["-x", *mutant.targets], seconds_max=START_SECONDS_MAX + usual)

    async def try_all(self, mutant: Mutant) -> Verdict:
        """Put one bug in and run all fast tests; every one that notices it."""
        arguments = ["-n", str(self._jobs), *self._targets]
        return await self._judge(mutant, arguments, seconds_max=ALL_SECONDS_MAX)

    @asynccontextmanager
    async def _turn(self, seconds: float) -> AsyncIterator[None]:
        """One of so many at a time; who takes longer than ``seconds`` goes on, but no longer counts."""
        await self._free.acquire()
        with ExitStack() as counted:
            counted.callback(self._free.release)
            timer = asyncio.get_running_loop().call_later(seconds, counted.close)
            counted.callback(timer.cancel)
            yield

    async def _judge(self, mutant: Mutant, arguments: Sequence[str], *, seconds_max: float) -> Verdict:
        tree = self._place / mutant.name
        try:
            shutil.copytree(self._clean, tree, ignore=_REWRITTEN, copy_function=os.link)
            mutant.apply(tree)
            verdict = verdict_of(mutant, await self._run_pytest(tree, arguments, seconds_max=seconds_max))
        except (OSError, ValueError) as error:
            verdict = Verdict(mutant.name, "unusable", 0.0, says=str(error))
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        show(verdict)
        return verdict

    async def _run_pytest(self, tree: Path, arguments: Sequence[str], *, seconds_max: float) -> Run:
        nursery = self._idle.pop() if self._idle else await self._new_nursery()
        run = await nursery.run_pytest(tree, arguments, seconds_max=seconds_max)
        self._idle.append(nursery)
        return run

    async def _new_nursery(self) -> Nursery:
        nursery = await Nursery.start()
        self._belongings.push_async_callback(nursery.close)
        return nursery


def verdict_of(mutant: Mutant, run: Run) -> Verdict:
    """What a run says about a mutant."""
    if COMPILES in run.failed:
        return Verdict(mutant.name, "unusable", run.seconds, says=run.failed[COMPILES])
    if run.failed:
        says = next(iter(run.failed.values()))
        return Verdict(mutant.name, "caught", run.seconds, tuple(run.failed), says)
    if run.code is None and run.hanging is not None:
        return Verdict(mutant.name, "hung", run.seconds, (run.hanging,), "the test did not end")
    if run.code == _NOTHING_FAILED and run.tests:
        return Verdict(mutant.name, "survived", run.seconds, says=mutant.law)
    return Verdict(mutant.name, "unusable", run.seconds, says=run.output)


def show(verdict: Verdict) -> None:
    """One line a catcher."""
    first, *more = verdict.catchers or (verdict.says,)
    print(f"{verdict.verdict:8} {verdict.seconds:5.1f} s  {verdict.mutant:42} {first}", flush=True)
    for catcher in more:
        print(f"{'':61}{catcher}")


async def check(mutants: Sequence[Mutant], *, jobs: int, everything: bool) -> list[Verdict] | None:
    """Try them all, the longest first; None if the tests do not even pass without a bug."""
    with TemporaryDirectory(prefix="posthouse-mutants-") as place:
        async with AsyncExitStack() as belongings:
            trial = Check(Path(place), belongings, jobs=jobs)
            if everything:
                targets = [folder for folder in FAST if (ROOT / folder).is_dir()]
            else:
                targets = list(dict.fromkeys(target for mutant in mutants for target in mutant.targets))
            if not await trial.clean(targets):
                return None
            if everything:
                return [await trial.try_all(mutant) for mutant in mutants]
            longest_first = sorted(mutants, key=trial.seconds, reverse=True)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(trial.try_out(mutant)) for mutant in longest_first]
            return [task.result() for task in tasks]


def main(arguments: Sequence[str]) -> int:
    """Run the check; 0 if every bug was noticed."""
    parser = argparse.ArgumentParser(prog="mutants", description="Bugs put in on purpose; the tests must notice each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--all", action="store_true", help="run all fast tests on each, and name all that notice it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there as well")
    parser.add_argument("-j", type=int, default=3, dest="jobs", metavar="N", help="so many at a time (default: 3)")
    options = parser.parse_args(arguments)
    mutants = load(ROOT / FOLDER)
    unknown = set(options.names) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    wanted = [mutant for mutant in mutants if not options.names or mutant.name in options.names]
    if options.all or any(target.startswith(ON_A_SERVER) for mutant in wanted for target in mutant.targets):
        try:
            binaries()
        except NoPostgres as error:
            print(error)
            return 1
    started = time.monotonic()
    verdicts = asyncio.run(check(wanted, jobs=max(1, options.jobs), everything=options.all))
    if verdicts is None:
        return 1
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(verdicts)) + b"\n")
    bad = [verdict.mutant for verdict in verdicts if not verdict.is_good]
    hung = sum(verdict.verdict == "hung" for verdict in verdicts)
    print(f"{len(verdicts) - len(bad)} of {len(verdicts)} bugs noticed ({hung} by a test that did not end)", end="")
    print(f" in {time.monotonic() - started:.0f} s." + (f" Not noticed: {', '.join(bad)}." if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
