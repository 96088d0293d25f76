"""A lean HTTP client for load: one kept-alive connection to a node, one request at a time.

The SDK's client is made for applications; at hundreds of requests a second it would take the core
that the node under test needs.
"""

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import httptools

from posthouse.drills.http_client import Answer, HttpConnection

ANSWER_SECONDS_MAX: Final = 15.0
CONNECT_SECONDS_MAX: Final = 5.0


class NotConnected(Exception):
    """Nobody listens there now; nothing was sent."""


class CutOff(Exception):
    """The request was sent and has no answer: what became of it is unknown."""


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
        self._connection: HttpConnection | None = None

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

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                _, connection = await loop.create_connection(HttpConnection, self._host, self._port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise NotConnected(str(error) or type(error).__name__) from error
        return connection
