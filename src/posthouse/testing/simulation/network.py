"""A network in memory: names, addresses, TCP connections, and everything that goes wrong with them."""

import asyncio
import errno
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar, cast

import aiohappyeyeballs

from posthouse.testing.simulation.ends import End
from posthouse.testing.simulation.loop import LIFE, SimLoop
from posthouse.testing.simulation.medium import Address, Medium, NetworkFaults
from posthouse.testing.simulation.sockets import SimServer, SimSocket
from posthouse.testing.simulation.trace import Trace
from posthouse.testing.simulation.transport import SimTransport

__all__ = ["Address", "NetworkFaults", "SimNetwork"]

P = TypeVar("P", bound=asyncio.BaseProtocol)

_CLIENT_HOST: Final = "192.0.2.1"  #: where connections come from
_CLIENT_PORT_MIN: Final = 10_000
_SERVER_PORT_MIN: Final = 49_152
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 - nothing real is bound
_NEXT_ADDRESS_SECONDS: Final = 0.25
_SYN_SECONDS: Final = 1.0  #: until a SYN without an answer is sent again; then twice as long each time
_SYN_SECONDS_MAX: Final = 64.0
_RETURN_SECONDS: Final = 10.0  #: after its machine came back, a connection that waits for an answer hears of it


class _Call:
    """A connection that somebody asked for."""

    def __init__(self, sock: SimSocket, server: Address, context: Context, done: asyncio.Future[None]) -> None:
        self.sock = sock
        self.server = server
        self.context = context
        self.done = done

    def connected(self, end: End) -> None:
        """The other side answered."""
        if self.done.done():
            end.close()
        else:
            self.sock.end = end
            self.done.set_result(None)

    def refused(self) -> None:
        """The other side said that nobody listens."""
        if not self.done.done():
            self.done.set_exception(OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))


class SimNetwork:
    """Connects what listens on a loop with what dials on it; takes its place as the loop's network.

    Each callback of a connection runs in the context, and so in the life, of the side that it is for.

    Args:
        loop: the loop.
        chance: its own; nobody else draws from it.
        trace: gets a line for each write and each fault.

    Attributes:
        names: the addresses of each name; others do not exist.
    """

    def __init__(self, loop: SimLoop, chance: random.Random, trace: Trace) -> None:
        loop.network = self
        self.names: dict[str, tuple[str, ...]] = {"localhost": ("127.0.0.1",)}
        self._loop = loop
        self._medium = Medium(loop, chance, trace)
        self._servers: dict[Address, SimServer] = {}
        self._without_power: set[Address] = set()  # addresses of machines that have vanished
        self._connections: dict[End, None] = {}  # the dialling end of each
        self._serial = 0

    @property
    def faults(self) -> NetworkFaults:
        """What is wrong now; may be changed, or replaced as a whole."""
        return self._medium.faults

    @faults.setter
    def faults(self, faults: NetworkFaults) -> None:
        self._medium.faults = faults

    @property
    def happened(self) -> Counter[str]:
        """How often each fault did something: lost, reset, refused, swallowed, chunked, unresolved, cut."""
        return self._medium.happened

    @property
    def connections(self) -> Counter[Address]:
        """How many connections are open to each address: those that one of the sides believes in."""
        return Counter(end.server for end in self._connections)

    # -- what a node is given -------------------------------------------------------------------

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of a name. Raises OSError if there are none."""
        medium = self._medium
        await asyncio.sleep(2 * medium.latency() + medium.faults.slow_names)
        if host in medium.faults.dead_names or host not in self.names:
            medium.happens("unresolved", host)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    async def connect(self, infos: Sequence[aiohappyeyeballs.AddrInfoType]) -> socket.socket:
        """A connection to the first of some addresses that answers, by RFC 8305 as on a real machine.

        Args:
            infos: as ``socket.getaddrinfo`` gives them.

        Returns:
            A :class:`SimSocket`, which stands for a socket only towards asyncio.

        Raises:
            OSError: ECONNREFUSED. An address without an answer has no time limit here; callers have theirs.
        """
        return await aiohappyeyeballs.start_connection(
            infos,
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
            socket_factory=lambda _: cast("socket.socket", SimSocket(self._next_serial())),
        )

    # -- what the loop asks for -----------------------------------------------------------------

    async def open_connection(
        self, factory: Callable[[], P], host: str | None, port: int | None, sock: Any
    ) -> tuple[asyncio.Transport, P]:
        """A protocol on a new connection to ``host`` and ``port``, or on the one of ``sock``. Raises OSError."""
        if sock is None:
            addresses = self.names.get(host or "localhost") or (host,)
            infos = [(_family(address), socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]
            sock = await self.connect(cast("list[aiohappyeyeballs.AddrInfoType]", infos))
        protocol = factory()
        transport = SimTransport(self._loop, sock.end, protocol, sock)
        ready = self._loop.create_future()
        transport.start(ready)
        try:
            await ready
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def connect_socket(self, sock: SimSocket, address: tuple[Any, ...]) -> None:
        """Connect ``sock``. Raises OSError: ECONNREFUSED."""
        done = self._loop.create_future()
        server = (str(address[0]), int(address[1]))
        self._call(_Call(sock, server, copy_context(), done), _SYN_SECONDS)
        await done

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int
    ) -> asyncio.AbstractServer:
        """Listen at an address; port 0 takes a free one. Raises OSError: EADDRINUSE."""
        host = host or _ANY[0]
        host = self.names.get(host, (host,))[0]
        while not port:
            free = _SERVER_PORT_MIN + self._next_serial()
            port = 0 if self._server_at((host, free)) else free
        taken = (host, port) if host not in _ANY else next((a for a in self._servers if a[1] == port), (host, port))
        if self._server_at(taken) is not None:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: {host}:{port}")
        sock = SimSocket(self._next_serial(), name=(host, port))
        server = SimServer(self._loop, sock, factory, copy_context(), self._forget_server)
        self._servers[host, port] = server
        self._without_power.discard((host, port))
        return server

    # -- what the world does --------------------------------------------------------------------

    def cut_life(self, life: int, *, silently: bool) -> None:
        """Take a killed life's connections and listeners from it.

        Args:
            life: whose.
            silently: its machine has lost its power: the other sides hear nothing, and nothing answers at its
                addresses until :meth:`revive`. Otherwise the kernel resets its connections.
        """
        for server in tuple(self._servers.values()):
            if server.life == life:
                del self._servers[server.address]
                if silently:
                    self._without_power.add(server.address)
        for dialler in tuple(self._connections):
            for end in (dialler, dialler.peer):
                if end.life == life:
                    self._medium.happens("cut")
                    end.die(silently=silently)

    def revive(self) -> None:
        """The machines that had lost their power are back, and answer what they do not know with a RST."""
        self._without_power.clear()
        for dialler in tuple(self._connections):
            for end in (dialler, dialler.peer):
                if end.vanished:
                    end.return_to_network(_RETURN_SECONDS)

    # -- coming about of a connection -----------------------------------------------------------

    def _call(self, call: _Call, again_in: float) -> None:
        """Send a SYN, now and again until there is an answer or nobody waits for it."""
        medium, server = self._medium, call.server
        if call.done.done() or self._loop.is_dead(call.context.get(LIFE, 0)):
            return
        if server in medium.faults.black_holes or any(a in self._without_power for a in _spellings(server)):
            medium.happens("swallowed")
        elif not medium.strikes("lost", medium.faults.loss):
            self._later(medium.latency(), self._answer, call)
            return
        self._later(again_in, self._call, call, min(2 * again_in, _SYN_SECONDS_MAX))

    def _answer(self, call: _Call) -> None:
        """The SYN has arrived."""
        medium = self._medium
        if self._loop.is_dead(call.context.get(LIFE, 0)):
            return
        server = self._server_at(call.server)
        if server is None or call.server in medium.faults.refused:
            medium.happens("refused", *call.server)
            self._later(medium.latency(), call.refused)
            return
        serial = self._next_serial()
        client_name = (_CLIENT_HOST, _CLIENT_PORT_MIN + serial)
        dialling = End(medium, call.context, client_name, call.server, self._forget_connection)
        accepting = End(medium, server.context, call.server, call.server, self._forget_connection)
        dialling.peer, accepting.peer = accepting, dialling
        self._connections[dialling] = None
        self._loop.call_soon(server.accept, serial, accepting, context=server.context)
        self._later(medium.latency(), call.connected, dialling)

    def _later(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self._loop.call_later(seconds, what, *args, context=self._medium.outside)

    def _server_at(self, address: Address) -> SimServer | None:
        for spelling in _spellings(address):
            server = self._servers.get(spelling)
            if server is not None and not self._loop.is_dead(server.life):
                return server
        return None

    def _forget_server(self, server: SimServer) -> None:
        if self._servers.get(server.address) is server:
            del self._servers[server.address]

    def _forget_connection(self, end: End) -> None:
        self._connections.pop(end, None)
        self._connections.pop(end.peer, None)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial


def _spellings(address: Address) -> tuple[Address, ...]:
    """An address, and those under which one listens at it and at all others."""
    return (address, *((host, address[1]) for host in _ANY))


def _family(address: str | None) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in (address or "") else socket.AF_INET
