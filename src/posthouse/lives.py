"""Which nodes have run on a data directory.

Other nodes see after ten seconds that one has died. Whoever knows that its process has ended, because the lock of the
directory was free, or because it was its parent, need not wait.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLDER: Final = "lives"  #: in the data directory; a file for each node that runs, named after it, with its process id


class Lives:
    """The names that nodes of one data directory have, or had, on the register of nodes."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def begin(self, name: str) -> None:
        """This process is a node of that name from now on."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        (self._folder / name).write_text(f"{os.getpid()}\n", "ascii")

    def end(self, names: Iterable[str]) -> None:
        """Everybody knows that these have ended. Idempotent."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def names(self, *, process: int | None = None) -> list[str]:
        """All of them; or those of one process, which has ended."""
        if not self._folder.is_dir():
            return []
        files = sorted(self._folder.iterdir())
        return [file.name for file in files if process is None or _process_in(file) == process]


def _process_in(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (FileNotFoundError, ValueError):  # it ends just now, or the machine went down before this was written
        return None
