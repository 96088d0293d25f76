"""Sockets and servers of the simulated network: what little of them programs that use asyncio look at."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from posthouse.testing.simulation.ends import End
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.medium import Address
from posthouse.testing.simulation.tasks import LIFE
from posthouse.testing.simulation.transport import SimTransport

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class SimSocket:
    """A TCP socket.

    Args:
        serial: sockets hash by it, so that a set of them is the same in every run.
        end: the connection; None while there is none.
        name: its own address while there is no connection.
    """

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, serial: int, end: End | None = None, *, name: Address | None = None) -> None:
        self.end = end
        self._serial = serial
        self._name = name

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return socket.AF_INET6 if ":" in self.getsockname()[0] else socket.AF_INET

    def getsockname(self) -> Address:
        """Its own address."""
        if self.end is not None:
            return self.end.name
        return self._name or ("0.0.0.0", 0)  # noqa: S104 - as a socket that is not bound says

    def getpeername(self) -> Address:
        """The address of the other side. Raises OSError while there is none."""
        if self.end is None or self.end.error is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self.end.peer.name

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Do as SO_LINGER with no time says: a close resets the connection. Other options change nothing."""
        if self.end is not None and (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.end.hard = value == _AT_ONCE

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket has it
        """Nothing here blocks."""

    def fileno(self) -> int:
        """There is no file."""
        return -1

    def close(self) -> None:
        """Close the connection."""
        if self.end is not None:
            self.end.close()

    def __hash__(self) -> int:
        return self._serial

    def __eq__(self, other: object) -> bool:
        return self is other


class SimServer(asyncio.AbstractServer):
    """Listens at one address until it is closed.

    Args:
        loop: the loop.
        sock: shows the address.
        factory: makes the protocol of each connection.
        context: of the process that listens.
        forget: called when it is closed.
    """

    def __init__(
        self,
        loop: SimLoop,
        sock: SimSocket,
        factory: Callable[[], asyncio.BaseProtocol],
        context: Context,
        forget: Callable[["SimServer"], None],
    ) -> None:
        self.address = sock.getsockname()
        self.context = context
        self.life = context.get(LIFE, 0)
        self._loop = loop
        self._socket = sock
        self._factory = factory
        self._forget = forget
        self._open = True

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The socket that listens; none once it is closed."""
        return (self._socket,) if self._open else ()

    def accept(self, serial: int, end: End) -> None:
        """Take a connection; called in the context of the process."""
        SimTransport(self._loop, end, self._factory(), SimSocket(serial, end)).start()

    def close(self) -> None:
        """Listen no more. Connections stay."""
        if self._open:
            self._open = False
            self._forget(self)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it listens."""
        return self._open

    async def start_serving(self) -> None:
        """It does from the start."""

    async def serve_forever(self) -> None:
        """Wait until cancelled."""
        try:
            await self._loop.create_future()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""
