"""What a store has promised so far, held against what its disk has after a crash."""

from contextlib import closing

import apsw
from store_operations import Operation
from store_rows import Rows

from posthouse.core.model import Environment
from posthouse.store.protocol import Books, Store
from posthouse.store.sqlite.store import DATABASE
from posthouse.testing.disk import Disk


class Promise:
    """Acknowledged operations must be there. Others may be, each as a whole, in the order in which they ran."""

    def __init__(self) -> None:
        self.rows = Rows()  #: what is in the store, as long as it lives
        self.there = 0  #: at the last look: operations without an answer that are there
        self.gone = 0  #: … and that are not
        self.lost = 0  #: … and acknowledged events that are not
        self._sure = self.rows  # what was acknowledged, or is durable in any case
        self._maybe: list[Operation] = []  # what came after that, perhaps
        self._least = 0  # so many of these were acknowledged

    def kept(self, batch: list[Operation]) -> None:
        """All of these were acknowledged: they and everything before are durable."""
        for operation in batch:
            operation.write(self.rows)
        self._sure, self._maybe, self._least = self.rows, [], 0

    def broken_off(self, batch: list[Operation], acknowledged: int) -> None:
        """The first ones of these were acknowledged; of the others nobody knows."""
        if acknowledged:
            self._least = len(self._maybe) + acknowledged
        self._maybe += batch

    def faults(self, found: Rows, *, durable: bool) -> list[str]:
        """Where what was found is not what was promised; from here on it counts as what is there.

        ``durable``: what was found cannot be lost by another power cut, since one has just been.
        """
        self.lost = sum(key not in found["events"] for key in self._sure["events"])
        rows, there = self._sure.copy(), 0
        faults: list[str] = []
        while not (rows.same(found) and there >= self._least):
            if there == len(self._maybe):
                faults = self._sure.differences(found) or ["operations that were acknowledged are not there"]
                rows = found
                break
            self._maybe[there].write(rows)
            there += 1
        self.there, self.gone = there - self._least, len(self._maybe) - there
        self.rows, self._maybe = rows, self._maybe[:there]
        if durable:
            self._sure, self._maybe, self._least = rows, [], 0
        return faults


def look(disk: Disk) -> tuple[Rows, list[str]]:
    """The rows on a disk, with the store open; and whether SQLite finds the file sound."""
    path = str(disk.directory / DATABASE)
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs=disk.vfs)) as reader:
        sound = reader.pragma("integrity_check")
        return Rows.read(reader), [] if sound == "ok" else [f"the database is not sound: {sound}"]


async def imbalance(store: Store) -> int:
    """By how much the books differ."""
    return sum(map(_imbalance, await store.ledger.audit(Environment.LIVE)))


def _imbalance(books: Books) -> int:
    paid = books.delivered + books.waiting + books.retrying + books.exhausted + sum(books.discarded.values())
    return abs(books.owed - paid)
