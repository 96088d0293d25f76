"""The numbered steps of an engine's schema: scripts in ``migrations/NNNN_words.sql``, forward only."""

import hashlib
from importlib.resources import files
from typing import Final, NamedTuple

READABLE_FROM: Final = "-- readable-from: "  #: a line of a step's script


class Migration(NamedTuple):
    """One numbered step."""

    number: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script, in hexadecimal: a step that was ever released must not change."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def read_migrations(package: str) -> list[Migration]:
    """The steps of a package by number, which start at 1 without a gap."""
    found = []
    for file in sorted(files(package).joinpath("migrations").iterdir(), key=lambda f: f.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text("utf-8")))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ValueError("the migrations are not numbered 1, 2, 3, …")
    return found


def readable_from(migration: Migration) -> int:
    """The oldest version of the schema whose code may go on after this step; as the step says, or only its own.

    Such a step adds what the older code need not know: tables, and columns that may be left out where rows are made.
    """
    for line in migration.script.splitlines():
        if line.startswith(READABLE_FROM):
            return int(line.removeprefix(READABLE_FROM))
    return migration.number
