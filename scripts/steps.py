"""Running the project's own tools, each within a bound of time: one after the other, or one beside others."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
BIN: Final = Path(sys.executable).parent

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - looked at before it is used
MEMORY_BYTES_MIN: Final = 2 << 30  #: free there, or the disk is used: containers often have next to nothing
_LAST_WORDS_SECONDS: Final = 5.0  # for what a step printed just before its end


class Step:
    """A tool of .venv that runs. A step that is ``held`` prints nothing until somebody waits for its end.

    One that is ``idle`` runs only while nothing else wants to, where the system can do that: for work without clocks.

    Temporary files are made in memory if ``in_memory`` says so and there is room. That is for tests of what is done
    with files; what is to be proved about disks is proved by tests that stand for the disk or have a real one.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        seconds_max: int,
        in_memory: bool = False,
        held: bool = False,
        idle: bool = False,
    ) -> None:
        if not held:
            _announce(name)
        self._name = name
        self._seconds_max = seconds_max
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._held: bytearray | None = bytearray() if held else None
        self._copying: threading.Thread | None = None
        self._belongings = ExitStack()
        environment = clean_environment() | {"COLUMNS": "120"}
        if in_memory and _has_room(MEMORY):
            folder = TemporaryDirectory(prefix="posthouse-tests-", dir=MEMORY, ignore_cleanup_errors=True)
            environment["TMPDIR"] = self._belongings.enter_context(folder)
            Path(folder.name).chmod(0o711)  # a PostgreSQL that root starts runs as another user, with its files here
        self._process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE if held else None,
            stderr=subprocess.STDOUT if held else None,
            start_new_session=True,  # a group of its own, so that it can be ended as a whole
        )
        if idle and hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))  # its children inherit it
        if held:
            self._copying = threading.Thread(target=self._copy, daemon=True)
            self._copying.start()

    def __enter__(self) -> Self:
        """Itself; it runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it with all that it started, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._belongings.close()

    def finish(self) -> bool:
        """Show what it prints, wait for its end and say how it went; True if it ended with 0."""
        self._show()
        seconds_left = max(0.0, self._began + self._seconds_max - time.monotonic())
        try:
            good = self._process.wait(seconds_left) == 0
            said = "ok" if good else "failed"
        except subprocess.TimeoutExpired:
            good, said = False, f"not done after {self._seconds_max} s, so it was ended"
        seconds = time.monotonic() - self._began
        if self._copying is not None:
            self._copying.join(_LAST_WORDS_SECONDS)
        print(f"== {self._name}: {said} in {seconds:.1f} s", flush=True)
        return good

    def _copy(self) -> None:
        assert self._process.stdout is not None
        while chunk := os.read(self._process.stdout.fileno(), 1 << 16):
            with self._lock:
                if self._held is None:
                    _write(chunk)
                else:
                    self._held += chunk

    def _show(self) -> None:
        with self._lock:
            if self._held is not None:
                _announce(self._name)
                _write(bytes(self._held))
                self._held = None


def run(name: str, command: Sequence[str], *, seconds_max: int, in_memory: bool = False) -> bool:
    """Run a tool of .venv and say how it went; True if it ended with 0.

    A step that is not done in ``seconds_max`` is ended with everything that it started: a test that hangs
    while it cleans up would hang for ever.
    """
    with Step(name, command, seconds_max=seconds_max, in_memory=in_memory) as step:
        return step.finish()


def clean_environment() -> dict[str, str]:
    """The environment without settings of a node, and without what would have Python compile everything anew each time.

    Hundreds of processes are started on the same code. Where its compiled form may not be kept, most of them do
    little else than compile.
    """
    kept_out = {"PYTHONDONTWRITEBYTECODE"}
    return {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_") and k not in kept_out}


def folders(names: Sequence[str]) -> list[str]:
    """Those folders of tests that exist."""
    return [f"tests/{name}" for name in names if (ROOT / "tests" / name).is_dir()]


def _has_room(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= MEMORY_BYTES_MIN


def _announce(name: str) -> None:
    print(f"== {name}", flush=True)


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.flush()
