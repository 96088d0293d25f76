"""Looks into the store while the history goes on: what a process would find if it began now."""

from pathlib import Path

from posthouse.testing.disk import Disk
from posthouse.testing.simulation.checkers.conservation import recount
from posthouse.testing.simulation.checkers.received import find_lost
from posthouse.testing.simulation.checkers.source_books import recount_sources
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.records import Records
from posthouse.testing.simulation.rows import Rows


class Inspector:
    """Reads a copy of the store's files, so that the node does not notice.

    Args:
        disk: where the store is.
        place: a directory for the copy.
        records: what publishers were told; gets what is wrong.
    """

    def __init__(self, loop: SimLoop, disk: Disk, place: Path, records: Records) -> None:
        self._loop = loop
        self._disk = disk
        self._place = place
        self._records = records
        self._owners: dict[int, tuple[str, int]] = {}  # slot: its latest owner, and the epoch then
        self._failovers = 0  # that were heard of

    def look(self) -> None:
        """The books balance now, and everything that was acknowledged until now is there."""
        records, now = self._records, self._loop.now
        rows = Rows(self._disk.directory, self._place)
        records.counts["inspections"] += 1
        recount(rows, records, now)
        recount_sources(rows.inbound, set(rows.events), records, now)
        find_lost(rows.inbound, records, now)
        there = {(row.tenant, row.id): row.data for row in rows.events.values()}
        for publication in records.publications:
            for _, answer in publication.answers():
                if there.get((publication.tenant, answer["id"])) != publication.data:
                    records.find("I2 loss", f"{answer['id']} was acknowledged and is not in the store", now)
        self._compare_owners(rows)

    def forget_owners(self) -> None:
        """The power failed: what was seen of a commit that failed need not be there any more."""
        self._owners.clear()

    def _compare_owners(self, rows: Rows) -> None:
        """A slot that changed hands has a greater epoch than before."""
        for failover in self._records.failovers[self._failovers :]:
            for slot in failover.slots:
                self._owners.pop(slot, None)
        self._failovers = len(self._records.failovers)
        for slot, owner, epoch, _until in rows.slots:
            before = self._owners.get(slot)
            if owner is None:
                continue
            if before is not None and (epoch < before[1] or (owner != before[0] and epoch == before[1])):
                message = f"slot {slot} went from {before} to {(owner, epoch)}"
                self._records.find("I5 single owner", message, self._loop.now)
            self._owners[slot] = owner, epoch
