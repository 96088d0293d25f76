"""A supervisor with processes that do what a test says, one line at a time.

It prints what happens: ``ready``, and ``NUMBER PROCESS BEFORE`` of each process that begins. A process acts on the
lines of the FIFO ``N`` in the folder that is given, N being its number: ``ready``, ``exit CODE``, ``raise``. One that
gets SIGTERM says ``NUMBER told`` and ends with 0; one whose supervisor is gone says ``NUMBER alone``.
"""

import os
import select
import signal
import sys
from pathlib import Path

from posthouse.supervisor import Berth, Supervisor
from posthouse.telemetry import configure_logging


def say(text: str) -> None:
    """Print a line in one piece."""
    os.write(1, f"{text}\n".encode())


def work(folder: Path, berth: Berth) -> int:
    """Obey the FIFO."""

    def told(_number: int, _frame: object) -> None:
        say(f"{berth.number} told")
        os._exit(0)

    signal.signal(signal.SIGTERM, told)
    commands = os.open(folder / str(berth.number), os.O_RDWR)  # writable, too: so it never comes to its end
    say(f"{berth.number} {os.getpid()} {berth.process_before}")
    while True:
        readable, _, _ = select.select([commands, berth.alive], [], [])
        if berth.alive in readable:
            say(f"{berth.number} alone")
            return 0
        for command in os.read(commands, 256).decode().splitlines():
            match command.split():
                case ["ready"]:
                    berth.ready()
                case ["exit", code]:
                    return int(code)
                case ["raise"]:
                    raise RuntimeError("as it was told")


def main() -> int:
    """Run the supervisor."""
    configure_logging("warning", "json")
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    return Supervisor(count, lambda berth: work(folder, berth), ready=lambda: say("ready")).run()


if __name__ == "__main__":
    sys.exit(main())
