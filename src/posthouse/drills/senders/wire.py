"""A lean HTTP/1.1 client with any headers over many kept-alive connections; redirects are answers like any other."""

import asyncio
import ssl
import time
from collections import defaultdict
from enum import StrEnum
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import httptools
import msgspec

KEPT_BYTES_MAX: Final = 64 * 1024  #: of an answer's body; the rest is read and forgotten
#: A connection that lay still for longer is not used again: its server may be closing it at this moment.
IDLE_SECONDS_MAX: Final = 2.0
HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80


class Request(msgspec.Struct, frozen=True):
    """What is sent. ``Host`` and ``Content-Length`` are added."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    method: str = "POST"


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""  #: the first ``KEPT_BYTES_MAX`` of it

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Failure(StrEnum):
    """Why nothing came back."""

    REFUSED = "refused"  #: there was no connection, so nothing was sent
    TIMEOUT = "timeout"  #: nothing came in time; what became of the request is unknown
    CUT_OFF = "cut_off"  #: the connection broke; what became of the request is unknown


class Wire(Protocol):
    """What a sender sends through."""

    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        """Send this once.

        Args:
            request: what to send.
            deadline_s: for the answer; and for the connection too, unless that has its own.
            connect_s: for the connection.
        """
        ...


class _Origin(NamedTuple):
    host: str
    port: int
    is_tls: bool


class Connections:
    """A bounded number of connections.

    Args:
        most: so many requests are on their way at once; others wait, and their deadlines have not begun.
        tls: for https; None: the usual authorities.
    """

    def __init__(self, most: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._room = asyncio.Semaphore(most)
        self._tls = tls
        self._idle: defaultdict[_Origin, list[_Connection]] = defaultdict(list)

    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        """See :meth:`Wire.send`."""
        parts = urlsplit(request.url)
        is_tls = parts.scheme == "https"
        origin = _Origin(parts.hostname or "", parts.port or (HTTPS_PORT if is_tls else HTTP_PORT), is_tls)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [f"{request.method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        head += [f"{name}: {value}" for name, value in request.headers]
        head += [f"Content-Length: {len(request.body)}", "", ""]
        raw = "\r\n".join(head).encode("latin-1") + request.body
        async with self._room:
            return await self._send(origin, raw, deadline_s, connect_s)

    def close(self) -> None:
        """Break every connection off that lies still. Idempotent."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _send(self, origin: _Origin, raw: bytes, deadline_s: float, connect_s: float | None) -> Answer | Failure:
        until = asyncio.get_running_loop().time() + deadline_s
        connection = self._still_open(origin)
        try:
            if connection is None:
                async with asyncio.timeout(deadline_s if connect_s is None else connect_s):
                    connection = await self._connect(origin)
                if connect_s is not None:
                    until = asyncio.get_running_loop().time() + deadline_s
            async with asyncio.timeout_at(until):
                answer = await connection.exchange(raw)
        except TimeoutError:
            return Failure.TIMEOUT
        except (OSError, httptools.HttpParserError):
            return Failure.REFUSED if connection is None else Failure.CUT_OFF
        finally:
            self._put_back(origin, connection)
        return answer

    async def _connect(self, origin: _Origin) -> "_Connection":
        tls = None
        if origin.is_tls:
            tls = self._tls = self._tls or ssl.create_default_context()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, origin.host, origin.port, ssl=tls)
        return connection

    def _still_open(self, origin: _Origin) -> "_Connection | None":
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.is_closed and time.monotonic() - connection.used_at <= IDLE_SECONDS_MAX:
                return connection
            connection.abort()
        return None

    def _put_back(self, origin: _Origin, connection: "_Connection | None") -> None:
        """Keep a connection for the next request, unless something is still to come on it."""
        if connection is None:
            return
        if connection.is_closed or connection.is_busy:
            connection.abort()
        else:
            connection.used_at = time.monotonic()
            self._idle[origin].append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_closed = False
        self.is_busy = False  #: a request is without its whole answer
        self.used_at = 0.0
        self._answer: asyncio.Future[Answer] | None = None
        self._begin()

    async def exchange(self, request: bytes) -> Answer:
        if self.is_closed:
            raise ConnectionResetError("the other side hung up")
        self._begin()
        self.is_busy = True
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        self.is_closed = True
        self._transport.abort()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body = b""
        self._ends_with_connection = False

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._ends_with_connection and error is None:
            self.on_message_complete()
        else:
            self._fail(error or ConnectionResetError("the other side hung up"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort()
            self._fail(error)

    # -- httptools ------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        names = {name.lower() for name, _ in self._headers}
        self._ends_with_connection = names.isdisjoint({"content-length", "transfer-encoding"})

    def on_body(self, body: bytes) -> None:
        self._body = (self._body + body)[:KEPT_BYTES_MAX]

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:  # an interim answer; the real one follows
            self._headers, self._body = [], b""
            return
        self.is_busy = False
        self._ends_with_connection = False
        if not self._parser.should_keep_alive():
            self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, tuple(self._headers), self._body))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
