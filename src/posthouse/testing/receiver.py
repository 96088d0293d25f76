"""A webhook receiver for tests: real sockets on loopback, good or hostile by script.

    async with Receiver() as receiver:
        receiver.play(Answer(503), Reset())  # what the next two requests get; later ones get 200
        ...  # send something to receiver.url
        first, second, third = await receiver.received(3)

It keeps the bytes of every request as they came. Nothing in it sleeps unless a behaviour says so.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

_HEAD_BYTES_MAX: Final = 1024 * 1024
_READ_BYTES: Final = 64 * 1024
_CLOSE_SECONDS_MAX: Final = 5.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as it came."""

    method: str
    path: str  #: with the query
    headers: tuple[tuple[str, str], ...]
    body: bytes  #: empty if the answer was early
    at: float  #: event loop time at which it was complete
    connection: int  #: 1 for the first connection that was accepted

    def header(self, name: str) -> str | None:
        """The first value of the header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Connection:
    """The receiver's side of one connection, for a behaviour to act on."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Write; returns when the socket took most of it. Raises ConnectionError if the other side is gone."""
        if self._writer.is_closing():
            raise ConnectionResetError("the other side is gone")
        self._writer.write(data)
        await self._writer.drain()

    async def wait_until_gone(self) -> None:
        """Take and ignore whatever comes until the other side hangs up."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(_READ_BYTES):
                pass

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


class Behaviour(Protocol):
    """What a request gets."""

    async def act(self, connection: Connection) -> bool:
        """Do it. Returns whether the connection goes on to the next request; if not, it is closed."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """A proper answer, with its length."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    after: asyncio.Event | None = None  #: waits for it first
    close: bool = False  #: says ``Connection: close``, and closes

    async def act(self, connection: Connection) -> bool:
        """Send the answer."""
        if self.after is not None:
            await self.after.wait()
        await connection.send(self.to_bytes())
        return not self.close

    def to_bytes(self) -> bytes:
        """The answer as it stands on the wire."""
        lines = [f"HTTP/1.1 {self.status} Scripted", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += ["Connection: close"] if self.close else []
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class EarlyAnswer(Answer, frozen=True):
    """An answer that does not wait for the body of the request, which is never read."""

    close: bool = True


class Raw(msgspec.Struct, frozen=True):
    """These very bytes: garbage, a short body, bad chunks, several answers."""

    data: bytes
    then_close: bool = True  #: if not, the connection stays open and silent

    async def act(self, connection: Connection) -> bool:
        """Send the bytes."""
        await connection.send(self.data)
        if not self.then_close:
            await connection.wait_until_gone()
        return False


class Drip(msgspec.Struct, frozen=True):
    """``at_once``, and then ``data`` byte by byte; then the connection stays open and silent."""

    data: bytes
    every_seconds: float = 1.0
    at_once: bytes = b""

    async def act(self, connection: Connection) -> bool:
        """Send a byte, wait, send the next."""
        await connection.send(self.at_once)
        for byte in self.data:
            await connection.send(bytes((byte,)))
            await asyncio.sleep(self.every_seconds)
        await connection.wait_until_gone()
        return False


class Flood(msgspec.Struct, frozen=True):
    """``at_once``, and then ``data`` over and over, as fast as the other side takes it."""

    data: bytes
    at_once: bytes = b""

    async def act(self, connection: Connection) -> bool:
        """Send until the other side hangs up."""
        await connection.send(self.at_once)
        while True:
            await connection.send(self.data)


class Hang(msgspec.Struct, frozen=True):
    """No answer, ever."""

    async def act(self, connection: Connection) -> bool:
        """Wait until the other side hangs up."""
        await connection.wait_until_gone()
        return False


class Close(msgspec.Struct, frozen=True):
    """The connection is closed without an answer."""

    async def act(self, connection: Connection) -> bool:  # noqa: ARG002  # as a Behaviour has it
        """Close."""
        return False


class Reset(msgspec.Struct, frozen=True):
    """The connection is broken off: with a TCP reset, after ``at_once``."""

    at_once: bytes = b""

    async def act(self, connection: Connection) -> bool:
        """Break off."""
        if self.at_once:
            await connection.send(self.at_once)
        connection.reset()
        return False


class AnswerThen(msgspec.Struct, frozen=True):
    """A proper answer, and more bytes when nobody asked: once ``after`` is set, or right away."""

    answer: Answer
    data: bytes
    after: asyncio.Event | None = None

    async def act(self, connection: Connection) -> bool:
        """Send the answer, wait, send the bytes; the connection stays open and silent."""
        await connection.send(self.answer.to_bytes())
        if self.after is not None:
            await self.after.wait()
        await connection.send(self.data)
        await connection.wait_until_gone()
        return False


class Receiver:
    """Listens on a free port of this machine while it is entered.

    Args:
        behaviour: of every request for which :meth:`play` says nothing; or a function of the request.
        host: the address to listen at.
        tls: serves HTTPS with this context.
        silent: accepts connections and reads nothing from them, so that even a TLS handshake hangs.

    Attributes:
        requests: all that came whole, in order.
        connections: how many were accepted.
        open_connections: how many of them are open.
    """

    def __init__(
        self,
        behaviour: Behaviour | Callable[[Received], Behaviour] | None = None,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        silent: bool = False,
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._open_connections = 0
        self.port = 0  #: once entered
        self._behaviour = behaviour or Answer()
        self._played: deque[Behaviour] = deque()
        self._host = host
        self._tls = tls
        self._silent = silent
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where to send to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}/hook"

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return self._open_connections

    def play(self, *behaviours: Behaviour) -> None:
        """What the next requests get, one each."""
        self._played.extend(behaviours)

    async def received(self, count: int) -> Sequence[Received]:
        """Wait until ``count`` requests have come in all, and return all of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return tuple(self.requests)

    async def accepted(self, count: int) -> None:
        """Wait until ``count`` connections were accepted in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.connections >= count)

    async def hung_up(self) -> None:
        """Wait until no connection is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._open_connections)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self._host, 0, limit=_HEAD_BYTES_MAX, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None, "entered"
        self._server.close()
        tasks = list(self._tasks)
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open_connections += 1
        task = asyncio.create_task(self._serve(Connection(self.connections, reader, writer), reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._notify()
        try:
            if self._silent:
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
                await asyncio.Event().wait()
            while await self._serve_one(connection, reader):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the other side hung up, as clients do
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._open_connections -= 1
            await self._notify()

    async def _serve_one(self, connection: Connection, reader: asyncio.StreamReader) -> bool:
        """Read one request and do what it gets. Returns whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = line.split(" ", 2)
        headers = tuple((name, value.strip()) for name, _, value in (field.partition(":") for field in fields))
        behaviour = self._played.popleft() if self._played else self._behaviour
        early = isinstance(behaviour, EarlyAnswer)
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = b"" if early else await reader.readexactly(length)
        at = asyncio.get_running_loop().time()
        request = Received(method=method, path=path, headers=headers, body=body, at=at, connection=connection.number)
        self.requests.append(request)
        await self._notify()
        if callable(behaviour):
            behaviour = behaviour(request)
        return await behaviour.act(connection)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
