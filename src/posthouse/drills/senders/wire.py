"""A lean HTTP/1.1 client with any headers over many kept-alive connections; redirects are answers like any other."""

import asyncio
import ssl
import time
from collections import defaultdict
from enum import StrEnum
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import httptools
import msgspec

from posthouse.drills.http_client import Answer, HttpConnection

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
        self._idle: defaultdict[_Origin, list[HttpConnection]] = defaultdict(list)

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

    async def _connect(self, origin: _Origin) -> HttpConnection:
        tls = None
        if origin.is_tls:
            tls = self._tls = self._tls or ssl.create_default_context()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: HttpConnection(kept_bytes_max=KEPT_BYTES_MAX), origin.host, origin.port, ssl=tls
        )
        return connection

    def _still_open(self, origin: _Origin) -> HttpConnection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.is_closed and time.monotonic() - connection.used_at <= IDLE_SECONDS_MAX:
                return connection
            connection.abort()
        return None

    def _put_back(self, origin: _Origin, connection: HttpConnection | None) -> None:
        """Keep a connection for the next request, unless something is still to come on it."""
        if connection is None:
            return
        if connection.is_closed or connection.is_busy:
            connection.abort()
        else:
            connection.used_at = time.monotonic()
            self._idle[origin].append(connection)
