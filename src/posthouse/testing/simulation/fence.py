"""Where a simulated loop ends: connections go to the simulated network, everything else that leaves it is refused."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

_Ts = TypeVarTuple("_Ts")
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class NotSimulated(RuntimeError):
    """The code asked for something that leaves the simulation: a thread, a file descriptor, a signal, TLS."""


class Network(Protocol):
    """What the loop needs of a network."""

    async def open_connection(
        self, factory: Callable[[], _P], host: str | None, port: int | None, sock: Any
    ) -> tuple[asyncio.Transport, _P]:
        """A connection to ``host`` and ``port``, or the one of ``sock``."""
        ...

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int
    ) -> asyncio.AbstractServer:
        """Listen at an address."""
        ...

    async def connect_socket(self, sock: Any, address: tuple[Any, ...]) -> None:
        """Connect a socket that is not connected yet."""
        ...


class FencedLoop(asyncio.BaseEventLoop):
    """Refuses by name what would make a run depend on anything but its seed.

    Attributes:
        network: where connections go; the network sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network: Network | None = None
        self._thread = threading.get_ident()

    async def create_connection(
        self,
        protocol_factory: Callable[[], _P],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: object = None,
        **_: object,
    ) -> tuple[asyncio.Transport, _P]:
        """A connection through the simulated network. Raises OSError as a real one does."""
        if ssl:
            raise NotSimulated("create_connection: TLS draws from the machine's chance")
        return await self._reach_network().open_connection(protocol_factory, host, port, sock)

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int = 0,
        *,
        ssl: object = None,
        **_: object,
    ) -> asyncio.AbstractServer:
        """Listen in the simulated network. Raises OSError if the address is taken."""
        if ssl:
            raise NotSimulated("create_server: TLS draws from the machine's chance")
        return await self._reach_network().listen(protocol_factory, host, port)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a simulated socket. Raises OSError as a real one does."""
        await self._reach_network().connect_socket(sock, address)

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Like ``call_soon``, from the loop's own thread only."""
        if threading.get_ident() != self._thread:
            raise NotSimulated("call_soon_threadsafe from another thread")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], object], *args: *_Ts) -> NoReturn:
        """Refused: pass an offload that runs the call in place."""
        raise NotSimulated(f"run_in_executor: {func}{args} would run in a thread of {executor}")

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> NoReturn:
        """Refused: pass a resolver."""
        raise NotSimulated(f"getaddrinfo: {host}:{port} would be looked up by the machine")

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"getnameinfo: {sockaddr} ({flags}) would be looked up by the machine")

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], Any], *args: *_Ts) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"add_reader: {callback}{args} would wait for file {fd}")

    def add_writer(self, fd: Any, callback: Callable[[*_Ts], Any], *args: *_Ts) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"add_writer: {callback}{args} would wait for file {fd}")

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"add_signal_handler: {callback}{args} would wait for signal {sig}")

    def _reach_network(self) -> Network:
        if self.network is None:
            raise NotSimulated("there is no network in this simulation")
        return self.network
