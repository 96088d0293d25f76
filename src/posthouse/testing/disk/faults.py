"""What a disk does wrong, as a test tells it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from posthouse.testing.disk.calls import Call, DiskError, FileKind

OnCall = Callable[[Call, FileKind], None]


@dataclass(slots=True)
class Fault:
    """The ``nth`` call of its kind fails, and so do those after it until ``times`` have failed."""

    call: Call
    error: DiskError = DiskError.IO
    nth: int = 1  #: counted from when the fault was planned
    file: FileKind | None = None  #: None: any
    times: int | None = 1  #: None: for ever
    seen: int = 0  #: calls of its kind so far
    met: int = 0  #: how many of them failed
    struck: FileKind | None = None  #: the file of the first one that failed

    def strikes(self, call: Call, file: FileKind) -> bool:
        """Whether this call, the next one on the disk, fails."""
        if call is not self.call or (self.file is not None and file is not self.file):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.met >= self.times):
            return False
        self.met += 1
        self.struck = self.struck or file
        return True


@dataclass(slots=True)
class DiskFaults:
    """All that a disk does wrong. May be changed at any time; a new disk does nothing wrong."""

    bytes_max: int | None = None  #: the files together cannot grow beyond this
    lying_sync: bool = False  #: a sync says that it is done and does nothing
    sync_seconds: float = 0.0  #: a sync takes so much longer, in real time, on the thread that asked for it
    #: Called before every call, and again after it if it succeeded: a place to crash, to be slow, to count.
    on_call: OnCall | None = None
    planned: list[Fault] = field(default_factory=list)

    def fail(
        self,
        call: Call,
        nth: int = 1,
        *,
        error: DiskError = DiskError.IO,
        file: FileKind | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Plan a fault; its ``met`` says later whether it happened."""
        fault = Fault(call, error, nth, file, times)
        self.planned.append(fault)
        return fault

    def heal(self) -> None:
        """Do nothing wrong any more. The hook stays."""
        self.planned.clear()
        self.bytes_max = None
        self.lying_sync = False
        self.sync_seconds = 0.0

    def error_of(self, call: Call, file: FileKind) -> DiskError | None:
        """How this call, the next one on the disk, fails, if it does."""
        error = None
        for fault in self.planned:
            if fault.strikes(call, file) and error is None:
                error = fault.error
        return error
