"""Every call on a disk passes here: it is told, counted, and perhaps refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from posthouse.testing.disk.calls import Call, DiskError, FileKind
from posthouse.testing.disk.faults import DiskFaults
from posthouse.testing.disk.folder import Folder


@dataclass(slots=True)
class DiskStatistics:
    """What a disk did, and what crashes did to it."""

    calls: Counter[tuple[Call, FileKind]] = field(default_factory=Counter)
    bytes_written: int = 0
    refused: int = 0  #: calls that failed
    lies: int = 0  #: syncs that did nothing
    crashes: int = 0  #: of the process only
    cuts: int = 0  #: of the power
    lost: int = 0  #: changes that cuts took away
    torn: int = 0  #: writes of which cuts left a part

    def count(self, call: Call) -> int:
        """How many calls of this kind there were, on all files."""
        return sum(number for (kind, _file), number in self.calls.items() if kind is call)


@dataclass(slots=True)
class Recorder:
    """What happens around each call. A folder that a crash left behind is none of its business."""

    chance: Random
    trace: Callable[..., None] | None
    faults: DiskFaults = field(default_factory=DiskFaults)
    statistics: DiskStatistics = field(default_factory=DiskStatistics)

    def begin(self, folder: Folder, call: Call, file: FileKind, offset: int = 0, size: int = 0) -> DiskError | None:
        """Before a call: how it fails, if it does."""
        if not folder.is_live:
            return None
        if self.faults.on_call is not None:
            self.faults.on_call(call, file)
            if not folder.is_live:
                return None
        self.statistics.calls[call, file] += 1
        error = self.faults.error_of(call, file) if self.faults.planned else None
        if self.trace is not None:
            self.trace("disk", call, file, offset, size, error)
        return error if error is None else self.refuse(error)

    def refuse(self, error: DiskError) -> DiskError:
        """Count a refusal."""
        self.statistics.refused += 1
        return error

    def end(self, folder: Folder, call: Call, file: FileKind) -> None:
        """After a call that succeeded."""
        if folder.is_live and self.faults.on_call is not None:
            self.faults.on_call(call, file)
