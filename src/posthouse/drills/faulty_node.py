"""A node like any other, on a machine with one fault: what a drill runs that has to break a node from inside.

Run as ``python -m posthouse.drills.faulty_node FAULT`` with the options of ``posthouse serve``. The
node's code knows nothing of it: the fault stands behind a port.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from posthouse.app import run
from posthouse.assembly import Machine
from posthouse.config import load_config
from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Failpoint
from posthouse.transport.protocol import Exchange, Request, Transport

SWITCH_FILE: Final = "fault"  #: in the data directory
CRASH_TYPE: Final = "drill.crash"  #: the transport crashes on events of this type
_CRASH_BODY: Final = f'{{"type":"{CRASH_TYPE}"'.encode()


class InducedFault(Exception):
    """Raised by a fault that a drill asked for."""


class Switch(StrEnum):
    """What the switch file says. Without a file all is well."""

    SKIP = "skip"  #: nobody is told of what was just accepted, and queues cannot be read
    UNREADABLE = "unreadable"  #: queues cannot be read
    FULL = "full"  #: nothing can be written
    BUSY = "busy"  #: whatever it does takes for ever


class Skipping:
    """While the switch says so, nothing moves what is accepted: it is durable and acknowledged, and that is all."""

    def __init__(self, data: Path) -> None:
        self._file = data / SWITCH_FILE

    def __call__(self, failpoint: Failpoint) -> None:
        """Raise InducedFault at two of the boundaries."""
        if failpoint is Failpoint.ACCEPT_ANSWERED and self._switch() == Switch.SKIP:
            raise InducedFault("the engine hears nothing of what was just accepted")
        if failpoint is Failpoint.ADOPT_READING and self._switch():
            raise InducedFault("queues cannot be read")

    def _switch(self) -> str:
        return _read(self._file)


class Full:
    """While the switch says so, the disk takes nothing: each transaction fails before its first row; the node lives.

    A disk that is only found to be full at a COMMIT ends the process instead; that is a restart like any other.
    """

    def __init__(self, data: Path) -> None:
        self._file = data / SWITCH_FILE

    def __call__(self, failpoint: Failpoint) -> None:
        """Raise StoreUnavailable where a transaction begins, as the store does when SQLite finds no room."""
        if failpoint is Failpoint.COMMIT_BEGUN and _read(self._file) == Switch.FULL:
            raise StoreUnavailable("The disk is full: a drill says so.")


class Busy:
    """While the switch says so, the process computes without end, and its event loop gets no turn."""

    def __init__(self, data: Path) -> None:
        self._file = data / SWITCH_FILE

    def __call__(self, failpoint: Failpoint) -> None:
        """Spin before the leases are renewed."""
        while failpoint is Failpoint.LEASE_ASKED and _read(self._file) == Switch.BUSY:
            pass


def _read(file: Path) -> str:
    """What the switch says."""
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""


class Crashing:
    """A transport whose code crashes on events of one type."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request) -> Exchange:
        """Send, or raise InducedFault."""
        if request.body.startswith(_CRASH_BODY):
            raise InducedFault("the transport crashes on this event")
        return await self._transport.send(request)

    async def close(self) -> None:
        """Close the real one."""
        await self._transport.close()


def _skip(data: Path) -> Machine:
    return Machine(reach=Skipping(data))


def _full(data: Path) -> Machine:
    return Machine(reach=Full(data))


def _busy(data: Path) -> Machine:
    return Machine(reach=Busy(data))


def _crash(_data: Path) -> Machine:
    return Machine(around_transport=Crashing)


#: Name of a fault → the machine that has it.
FAULTS: Final[Mapping[str, Callable[[Path], Machine]]] = {
    "skip": _skip,
    "full": _full,
    "busy": _busy,
    "crash": _crash,
}


def main(arguments: Sequence[str]) -> int:
    """Run the node until a signal ends it; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--database")
    parser.add_argument("--port", type=int)
    parser.add_argument("--allow-network", dest="allow_networks", action="append")
    parser.add_argument("--drain-seconds", type=float)
    parser.add_argument("--log-format")
    flags = vars(parser.parse_args(arguments))
    fault = FAULTS[flags.pop("fault")]
    return run(load_config(flags, environ={}, config_file=None), fault(flags["data"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
