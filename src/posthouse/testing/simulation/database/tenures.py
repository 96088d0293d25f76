"""Who owned which slot, and until when: read from the rows behind every change of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import apsw

from posthouse.core.model import slot_of
from posthouse.store.protocol import Settled, Settlement
from posthouse.testing.simulation.database.ways import Operation
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.records import Move, Records

_SLOTS = "SELECT slot, owner, epoch FROM slots"
_GIVING_UP = frozenset({"release", "leave"})

_Owners = dict[int, tuple[str | None, int]]


class Tenures:
    """Writes down each slot that changes hands, and finds what was settled by one who was not the owner."""

    def __init__(self, loop: SimLoop, records: Records) -> None:
        self._loop = loop
        self._records = records
        self._owners: _Owners = {}
        self._leaving: list[str] = []  # nodes that are giving something up at this moment

    @contextmanager
    def watch(self, operation: Operation, life: int) -> Iterator[None]:
        """Around an operation of a node: note who it is, and whether it gives something up."""
        if operation.facet == "ownership" and operation.method == "join":
            self._records.names[operation.args[0].name] = life
        name = operation.args[0] if operation.facet == "ownership" and operation.method in _GIVING_UP else None
        if name is not None:
            self._leaving.append(name)
        try:
            yield
        finally:
            if name is not None:
                self._leaving.remove(name)

    def look(self, connection: apsw.Connection) -> None:
        """Compare the rows with what they were."""
        found: _Owners = {slot: (owner, epoch) for slot, owner, epoch in connection.execute(_SLOTS)}
        for slot, (owner, epoch) in found.items():
            before = self._owners.get(slot, (None, 0))
            if before != (owner, epoch):
                given_up = before[0] in self._leaving
                self._records.moves.append(Move(self._loop.now, slot, before[0], owner, epoch, given_up=given_up))
        self._owners = found

    @property
    def epochs(self) -> dict[int, int]:
        """Under which epoch each slot is owned now."""
        return {slot: epoch for slot, (owner, epoch) in self._owners.items() if owner is not None}

    def check(self, settlements: Iterable[Settlement], settled: Settled, before: dict[int, int]) -> None:
        """What was written was written by the owner, as the slots were before it or are now."""
        after = self.epochs
        for position, settlement in enumerate(settlements):
            slot = slot_of(settlement.obligation.endpoint_key)
            if position not in settled.fenced and settlement.epoch not in {before.get(slot), after.get(slot)}:
                message = f"slot {slot} was settled under epoch {settlement.epoch}, and it is at {after.get(slot)}"
                self._records.find("I5 single owner", message, self._loop.now)
