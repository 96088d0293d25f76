"""A lean HTTP client for load: one kept-alive connection to a node, one request at a time.

The SDK's client is made for applications; at hundreds of requests a second it would take the core
that the node under test needs.
"""

import asyncio
import ssl
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

ANSWER_SECONDS_MAX: Final = 15.0
CONNECT_SECONDS_MAX: Final = 5.0


class NotConnected(Exception):
    """Nobody listens there now; nothing was sent."""


class CutOff(Exception):
    """The request was sent and has no answer: what became of it is unknown."""


class Answer(NamedTuple):
    """What the node answered."""

    status: int
    body: bytes


class Line:
    """Speaks to one node with one API key. For one task at a time.

    Args:
        url: where the node is.
        api_key: sent with each request.
    """

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, "the SDK's client has checked the URL"
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (80 if self._tls is None else 443)
        self._base = parts.path.rstrip("/")
        self._head = f"host: {parts.netloc}\r\nauthorization: Bearer {api_key}\r\naccept: application/json\r\n"
        self._connection: _Connection | None = None

    async def ask(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Send one request and return its answer. Raises NotConnected or CutOff."""
        connection = self._connection
        if connection is None or connection.is_closed:
            connection = self._connection = await self._connect()
        line = f"{method} {self._base}{target} HTTP/1.1\r\n{self._head}"
        if body:
            line += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await connection.exchange(line.encode("latin-1") + b"\r\n" + body)
        except (TimeoutError, ConnectionError, httptools.HttpParserError) as error:
            self.close()
            raise CutOff(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Break the connection off. Idempotent; the next request opens a new one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise NotConnected(str(error) or type(error).__name__) from error
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_closed = False
        self._body = b""
        self._answer: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes) -> Answer:
        if self.is_closed:
            raise ConnectionResetError("the node hung up")
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        self.is_closed = True
        self._transport.abort()

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._fail(error or ConnectionResetError("the node hung up"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort()
            self._fail(error)

    # -- httptools ------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - an interim answer; the real one follows
            self._body = b""
            return
        if not self._parser.should_keep_alive():
            self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, self._body))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
