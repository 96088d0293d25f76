"""The supervisor keeps its processes alive, tells them to end, and does not leave one behind."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from posthouse.core.errors import ConfigurationError
from posthouse.supervisor import reserve

CREW: Final = Path(__file__).with_name("crew.py")
PATIENCE_S: Final = 30.0
SAID: Final = "^(ready|[0-9]+ .*)$"  # the rest are log lines and tracebacks
DIED: Final = "process_died.*number.: %d"


class Crew:
    """A supervisor with its processes, in a process group of their own."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        for number in range(1, count + 1):
            os.mkfifo(folder / str(number))
        command = [sys.executable, str(CREW), str(folder), str(count)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self._lines: list[str] = []
        self._rest = b""

    def line(self, wanted: str = SAID) -> str:
        """The next line that looks as ``wanted``; by default, that one of them says. "" when all have ended."""
        while not (self._lines and re.search(wanted, self._lines[0])):
            if self._lines:
                del self._lines[0]
                continue
            readable, _, _ = select.select([self._output], [], [], PATIENCE_S)
            assert readable, "nobody says anything"
            piece = os.read(self._output.fileno(), 4_096)
            if not piece:
                return ""
            *whole, self._rest = (self._rest + piece).split(b"\n")
            self._lines += [line.decode() for line in whole]
        return self._lines.pop(0)

    def born(self) -> tuple[int, int, int | None]:
        """Number, process and predecessor of the next one that begins."""
        number, process, before = self.line().split()
        return int(number), int(process), None if before == "None" else int(before)

    def tell(self, number: int, command: str) -> None:
        """Let a process do something."""
        descriptor = os.open(self._folder / str(number), os.O_WRONLY)
        os.write(descriptor, f"{command}\n".encode())
        os.close(descriptor)

    def end(self) -> tuple[int, set[str]]:
        """Its exit code, and what was said until then."""
        said = set()
        while line := self.line():
            said.add(line)
        return self.process.wait(PATIENCE_S), said

    def close(self) -> None:
        """End what still runs: the processes notice that their supervisor is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path, 2)
    try:
        yield crew
    finally:
        crew.close()


def all_ready(crew: Crew) -> dict[int, int]:
    """Their processes by number, once all are ready."""
    processes = dict([crew.born()[:2], crew.born()[:2]])
    for number in processes:
        crew.tell(number, "ready")
    assert crew.line() == "ready"
    return processes


def test_it_is_ready_when_all_are_and_a_signal_ends_all(crew: Crew) -> None:
    assert set(all_ready(crew)) == {1, 2}
    crew.process.send_signal(signal.SIGINT)
    assert crew.end() == (0, {"1 told", "2 told"})


def test_whoever_dies_is_replaced_and_knows_whom_it_replaces(crew: Crew) -> None:
    processes = all_ready(crew)
    os.kill(processes[2], signal.SIGKILL)
    number, process, before = crew.born()
    assert (number, before) == (2, processes[2])
    assert process not in processes.values()
    crew.process.send_signal(signal.SIGTERM)
    assert crew.end() == (0, {"1 told", "2 told"})


def test_who_dies_again_is_replaced_after_a_pause_and_a_signal_cuts_that_short(crew: Crew) -> None:
    all_ready(crew)
    crew.tell(1, "exit 3")
    assert crew.born()[0] == 1
    crew.tell(1, "raise")  # it dies at once again, so the next one is to come after a pause
    assert "as it was told" in crew.line("^RuntimeError")
    assert "1.0" in crew.line(DIED % 1)
    crew.process.send_signal(signal.SIGTERM)
    assert crew.end() == (0, {"2 told"})


def test_one_that_cannot_even_begin_ends_all(crew: Crew) -> None:
    assert {crew.born()[0], crew.born()[0]} == {1, 2}
    crew.tell(1, "ready")
    crew.tell(2, "exit 7")
    assert crew.end() == (7, {"1 told"})


def test_nobody_outlives_the_supervisor(crew: Crew) -> None:
    all_ready(crew)
    crew.process.kill()
    assert crew.end() == (-signal.SIGKILL, {"1 alone", "2 alone"})


def test_an_exit_code_that_says_no_is_handed_on(crew: Crew) -> None:
    processes = all_ready(crew)
    os.kill(processes[1], signal.SIGSTOP)  # so that it cannot obey
    crew.process.send_signal(signal.SIGTERM)
    assert crew.line() == "2 told"
    os.kill(processes[1], signal.SIGKILL)
    assert crew.end() == (128 + signal.SIGKILL, set())


def test_a_port_is_kept_for_those_who_share_it_and_refused_if_it_is_in_use() -> None:
    kept, port = reserve("127.0.0.1", 0)
    with kept:
        first, again = reserve("127.0.0.1", port)
        assert again == port, "nobody listens yet, so it can be shared"
        first.listen()
        with first, pytest.raises(ConfigurationError, match="cannot listen"):
            reserve("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot listen"):
        reserve("192.0.2.1", 0)
