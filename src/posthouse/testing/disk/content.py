"""What a file holds: what is durable, what was written since, and what a power cut makes of the two.

The model is that of a page cache over a disk whose sectors are atomic. Between two syncs any sector
that was written may reach the disk at any time and in any order, each time as it is then. So after
a power cut a sector is as it was after some of the writes to it, whichever; a write over several
sectors may be torn; an append may leave a tail of zeros, or of what stood on the disk before. A byte
that was synced changes only if its sector was written since.
"""

import itertools
from collections.abc import Sequence
from enum import Enum, auto
from random import Random
from typing import Final

SECTOR: Final = 512  #: bytes that a disk writes wholly or not at all

_TORN_SHARE: Final = 0.2  # of the writes, when they reach the disk in any order

#: A write (offset, data), or a truncation (size, None).
Change = tuple[int, bytes | None]


class _Fate(Enum):
    KEPT = auto()
    LOST = auto()
    TORN = auto()  # each sector by itself


class Content:
    """The bytes of one file."""

    def __init__(self, durable: bytes = b"") -> None:
        self._durable = bytearray(durable)
        self._pending: list[Change] = []
        self._dropped: set[int] = set()  # positions of pending writes that a failed sync gave up
        self.size = len(durable)  #: as a process sees it
        self.lost = 0  #: changes that power cuts took away wholly
        self.torn = 0  #: writes of which power cuts left a part

    def write(self, offset: int, data: bytes) -> None:
        """Written, not synced."""
        self._pending.append((offset, data))
        self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        """Cut off, or filled up with zeros; not synced."""
        self._pending.append((size, None))
        self.size = size

    def sync(self) -> None:
        """Everything is durable, except what a failed sync gave up."""
        if self._dropped:
            self._durable = self._settled(self._fates_of_sync(), None)
            self._dropped.clear()
        else:
            for position, data in self._pending:
                _change(self._durable, position, data, None)
        self._pending.clear()

    def fail_sync(self, chance: Random) -> None:
        """A sync failed. What the system then takes for clean, no later sync writes any more."""
        self._dropped.update(i for i in range(len(self._pending)) if _coin(chance))

    def cut_power(self, chance: Random) -> bytes:
        """What the disk holds now; nothing is pending any more."""
        fates = self._fates_of_cut(chance)
        garbage = chance if _coin(chance) else None
        content = self._settled(fates, garbage, chance)
        if self._pending and len(content) < self.size and _coin(chance):
            # The new size of the file reached the disk before what was appended.
            _change(content, self.size, None, garbage)
        self._durable = content
        self._pending.clear()
        self._dropped.clear()
        self.size = len(content)
        return bytes(content)

    def _fates_of_sync(self) -> list[_Fate]:
        return [_Fate.LOST if i in self._dropped else _Fate.KEPT for i in range(len(self._pending))]

    def _fates_of_cut(self, chance: Random) -> list[_Fate]:
        """What becomes of each change: all lost, all kept, lost from some point on, or any of them lost."""
        count = len(self._pending)
        match chance.randrange(6):
            case 0:
                fates = [_Fate.LOST] * count
            case 1:
                fates = [_Fate.KEPT] * count
            case 2 | 3:
                kept = chance.randrange(count + 1)
                fates = [_Fate.KEPT] * kept + [_Fate.TORN, *[_Fate.LOST] * (count - kept)][: count - kept]
            case _:
                share = chance.random()
                whole = [_Fate.KEPT if chance.random() < share else _Fate.LOST for _ in range(count)]
                fates = [_Fate.TORN if chance.random() < _TORN_SHARE else fate for fate in whole]
        for i in self._dropped:
            fates[i] = _Fate.LOST
        return fates

    def _settled(self, fates: Sequence[_Fate], garbage: Random | None, chance: Random | None = None) -> bytearray:
        """The durable bytes with the changes that reached the disk; ``garbage`` fills gaps, or zeros do."""
        newest: dict[int, int] = {}  # sector → the last write to it that reached the disk, and with it those before
        for i, ((offset, data), fate) in enumerate(zip(self._pending, fates, strict=True)):
            if data is None or fate is _Fate.LOST:
                continue
            for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
                if fate is _Fate.KEPT or (chance is not None and _coin(chance)):
                    newest[sector] = i
        content = bytearray(self._durable)
        for i, ((position, data), fate) in enumerate(zip(self._pending, fates, strict=True)):
            if data is None:
                if fate is _Fate.LOST:
                    self.lost += 1
                else:
                    _change(content, position, None, None)
                continue
            pieces = _pieces(position, data)
            kept = [(offset, piece) for offset, piece in pieces if newest.get(offset // SECTOR, -1) >= i]
            for offset, piece in kept:
                _change(content, offset, piece, garbage)
            self.lost += not kept
            self.torn += 0 < len(kept) < len(pieces)
        return content


def _coin(chance: Random) -> bool:
    return chance.getrandbits(1) == 1


def _pieces(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write, cut where sectors end."""
    first = SECTOR - offset % SECTOR
    cuts = [0, *range(first, len(data), SECTOR), len(data)]
    return [(offset + start, data[start:end]) for start, end in itertools.pairwise(cuts)]


def _change(content: bytearray, position: int, data: bytes | None, garbage: Random | None) -> None:
    """Write at a position, or make ``position`` the size; a gap is filled."""
    gap = position - len(content)
    if gap > 0:
        content += bytes(gap) if garbage is None else garbage.randbytes(gap)
    if data is None:
        del content[position:]
    else:
        content[position : position + len(data)] = data
