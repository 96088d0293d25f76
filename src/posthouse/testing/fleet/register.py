"""The model of a store's register: who is there, and whose each slot is. One call is one transaction."""

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from posthouse.core.model import SLOTS


class Roll(msgspec.Struct, frozen=True):
    """What a beat is answered with."""

    beats: dict[str, int]  #: of everybody who is registered; without the asker: it was buried
    owners: tuple[str | None, ...]


class Register:
    """Nodes and slots. ``written`` counts transactions by kind, and the rows that they write."""

    def __init__(self) -> None:
        self.beats: dict[str, int] = {}
        self.owners: list[str | None] = [None] * SLOTS
        self.epochs = [0] * SLOTS
        self.transactions: Counter[str] = Counter()
        self.rows = 0

    def join(self, name: str) -> None:
        """Put it on the register."""
        self._wrote("join", 1)
        self.beats[name] = 0

    def beat(self, name: str) -> Roll:
        """Raise its beat, and read everybody's."""
        self._wrote("beat", 1)
        if name in self.beats:
            self.beats[name] += 1
        return Roll(dict(self.beats), tuple(self.owners))

    def acquire(self, name: str, wanted: Collection[int]) -> dict[int, int]:
        """Take what is wanted and nobody's; slot → epoch of all that it has. Nothing for one that is not registered."""
        free = [slot for slot in wanted if self.owners[slot] is None] if name in self.beats else []
        for slot in free:
            self.owners[slot] = name
            self.epochs[slot] += 1
        self._wrote("acquire", len(free))
        return {slot: self.epochs[slot] for slot, owner in enumerate(self.owners) if owner == name}

    def release(self, name: str, slots: Collection[int]) -> None:
        """Give these up."""
        mine = [slot for slot in slots if self.owners[slot] == name]
        for slot in mine:
            self.owners[slot] = None
        self._wrote("release", len(mine))

    def leave(self, name: str) -> None:
        """Give up everything, and go off the register."""
        self.release(name, range(SLOTS))
        self.beats.pop(name, None)

    def bury(self, dead: Mapping[str, int], *, compares: bool) -> None:
        """Take off the register, with what they own, those whose beat is as observed; all, if it ``compares`` none."""
        for name, beat in dead.items():
            if name in self.beats and (self.beats[name] == beat or not compares):
                del self.beats[name]
                self._free(name)
        self._wrote("bury", len(dead))

    def _free(self, name: str) -> None:
        self.owners = [None if owner == name else owner for owner in self.owners]

    def _wrote(self, kind: str, rows: int) -> None:
        self.transactions[kind] += 1
        self.rows += rows
