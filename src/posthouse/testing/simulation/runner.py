"""Many seeds on several processes, and what they gave together."""

import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TextIO

import msgspec

from posthouse.testing.simulation.scenario import Result, simulate

MODULE: Final = "posthouse.testing.simulation"
SEED_SECONDS_MAX: Final = 300.0  #: of real time; a seed that takes longer has failed
SEEDS_PER_PROCESS: Final = 40  #: the web framework remembers every application ever made, and with it its node

_ENVIRONMENT: Final = {"PYTHONHASHSEED": "0"}
_BROKEN: Final = "the simulation itself"


def command(seed: int) -> str:
    """What replays one seed."""
    return f"python -m {MODULE} --seed {seed}"


def fix_hashes(arguments: list[str]) -> None:
    """Start this program anew unless hashes are the same in every process."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", MODULE, *arguments], {**os.environ, **_ENVIRONMENT})  # noqa: S606


def attempt(seed: int, *, tail: int = 0) -> Result:
    """Simulate a seed; whatever the simulation itself runs into is a finding."""
    try:
        return simulate(seed, tail=tail)
    except Exception as error:  # noqa: BLE001 - a checker that falls over proves nothing, and must not hide the others
        text = "".join(traceback.format_exception(error))
        return Result(seed, "", [f"{_BROKEN}: {text}"], "", {}, 0.0)


def work(asked: TextIO, told: TextIO) -> None:
    """Be a worker: a seed a line comes in, a result a line goes out."""
    for line in asked:
        told.write(msgspec.json.encode(attempt(int(line))).decode() + "\n")
        told.flush()


class _Worker:
    """A process that simulates one seed after the other."""

    def __init__(self) -> None:
        self._process = self._start()
        self._seeds = 0

    def run(self, seed: int) -> Result:
        """The result of a seed, whatever becomes of the process."""
        if self._seeds == SEEDS_PER_PROCESS:
            self.close()
            self._process = self._start()
            self._seeds = 0
        self._seeds += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(SEED_SECONDS_MAX, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(f"{seed}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if line:
            return msgspec.json.decode(line, type=Result)
        code = self.close()
        self._process = self._start()
        return Result(seed, "", [f"{_BROKEN}: the process ended with {code}"], "", {}, 0.0)

    def close(self) -> int:
        """End the process; its exit code."""
        with self._process as process:
            process.kill()
        return process.returncode

    @staticmethod
    def _start() -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", MODULE, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
        )


def run_all(seeds: Iterable[int], *, jobs: int, each: Callable[[Result], bool]) -> None:
    """Simulate ``seeds`` on so many new processes; ``each`` gets every result, and says whether to go on."""
    waiting: Iterator[int] = iter(seeds)
    lock = threading.Lock()

    goes_on = True

    def serve() -> None:
        nonlocal goes_on
        worker = _Worker()
        try:
            while True:
                with lock:
                    seed = next(waiting, None) if goes_on else None
                if seed is None:
                    return
                result = worker.run(seed)
                with lock:
                    goes_on &= each(result)
        finally:
            worker.close()

    threads = [threading.Thread(target=serve) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Report:
    """Collects results and tells about them."""

    def __init__(self, out: TextIO, *, failures_max: int) -> None:
        self._failures_max = failures_max
        self.failed: list[int] = []
        self.counts: Counter[str] = Counter()
        self.digests: dict[int, str] = {}
        self._seeds = 0
        self._virtual_seconds = 0.0
        self._out = out
        self._began = time.monotonic()

    def add(self, result: Result) -> bool:
        """Take in a result, and tell of it at once if it failed. Whether to go on."""
        self._seeds += 1
        self._virtual_seconds += result.virtual_seconds
        for name, number in result.counts.items():
            most = name.endswith("at once")
            self.counts[name] = max(self.counts[name], number) if most else self.counts[name] + number
        self.counts[f"profile {result.profile}"] += 1
        self.digests[result.seed] = result.digest
        if result.findings:
            self.failed.append(result.seed)
            first = result.findings[0].splitlines()
            self._say(f"seed {result.seed} ({result.profile}) broke {len(result.findings)}: {first[0]}")
            if result.findings[0].startswith(_BROKEN):
                self._say(result.findings[0])
            self._say(f"    {command(result.seed)}")
        return len(self.failed) < self._failures_max

    def compare(self, result: Result) -> bool:
        """Take in the second run of a seed: it must have been the same history. Whether to go on."""
        if result.digest != self.digests.get(result.seed):
            self.failed.append(result.seed)
            self._say(f"seed {result.seed} is another history in another process: {result.digest}")
            self._say(f"    {command(result.seed)}")
        return len(self.failed) < self._failures_max

    def tell(self, *, everything: bool) -> None:
        """The summary."""
        counts = self.counts
        said = {
            "seeds": self._seeds,
            "failed": len(self.failed),
            "virtual time": f"{self._virtual_seconds / 60:.0f} min",
            "real time": f"{time.monotonic() - self._began:.0f} s",
            "requests to the API": sum(n for name, n in counts.items() if name.startswith("api ")),
            "events acknowledged": counts["events acknowledged"],
            "deliveries owed": counts["deliveries owed"],
            "requests received": sum(n for name, n in counts.items() if name.startswith("mood ")),
            "lives": sum(n for name, n in counts.items() if name.startswith("life ")),
            "kills": counts["life kill"],
            "power cuts": counts["life power"],
            "store failures": counts["life failed"],
            "failpoints died at": sum(name.startswith("crash at ") for name in counts),
            "times frozen": counts["freeze"],
            "rivals": counts["rival"],
            "outcomes fenced": counts["fenced"],
            "duplicates, each with its cause": counts["duplicates"],
        }
        for name, value in said.items():
            self._say(f"{name:>32}  {value}")
        if everything:
            for name, number in sorted(counts.items()):
                self._say(f"{number:>12}  {name}")

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)
