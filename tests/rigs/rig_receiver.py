"""A receiver that answers every delivery with 200 and tells its owner about it."""

import asyncio
from collections.abc import Callable
from typing import Self, cast

import httptools

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

#: Path, headers (names in lower case), body of one delivery that came in whole.
Delivered = Callable[[str, dict[str, str], bytes], None]


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._receiver.connections.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._receiver.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path, headers, body = self._path.decode("latin-1"), self._headers, self._body
        self._reset()
        self._receiver.delivered(path, headers, body)
        self._transport.write(_ANSWER)

    def _reset(self) -> None:
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body = b""


class Receiver:
    """An HTTP server on a free loopback port. An asynchronous context manager."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.connections: set[asyncio.Transport] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in list(self.connections):
            transport.abort()
        await self._server.wait_closed()

    def url(self, path: str) -> str:
        """The URL of an endpoint here."""
        return f"http://127.0.0.1:{self.port}{path}"


def data_of(body: bytes) -> bytes:
    """The bytes of ``data`` in an outbound body, exactly as they stand there."""
    mark = b',"data":'
    start = body.index(mark) + len(mark)
    assert body.endswith(b"}")
    return body[start:-1]
