"""A small HTTP server on this machine, for what receivers ask a sender: its API, its keys."""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from posthouse.drills.http_server import ServedConnection
from posthouse.drills.senders.wire import HTTP_PORT, HTTPS_PORT

LOOPBACK: Final = "127.0.0.1"
_BODY_BYTES_MAX: Final = 64 * 1024


class Call(msgspec.Struct, frozen=True):
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


class Said(msgspec.Struct, frozen=True):
    """The answer: a JSON document."""

    document: Any
    status: int = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


NOT_FOUND: Final = Said({"error": {"code": 404, "message": "There is no such thing."}}, HTTPStatus.NOT_FOUND)


class LocalServer:
    """Listens while it is entered.

    Args:
        answer: what each request gets; at once.
        host: the address to listen at.
        port: 0 takes a free one.
        tls: serves HTTPS with this context.
    """

    def __init__(
        self,
        answer: Callable[[Call], Said],
        *,
        host: str = LOOPBACK,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.calls = 0  #: requests that were answered
        self.connections: set[_Connection] = set()
        self.host = host
        self.port = port
        self._answer = answer
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it is, once entered."""
        scheme, usual = ("http", HTTP_PORT) if self._tls is None else ("https", HTTPS_PORT)
        return f"{scheme}://{self.host}" + ("" if self.port == usual else f":{self.port}")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()

    def answered(self, call: Call) -> Said:
        """What this request gets."""
        self.calls += 1
        return self._answer(call)


class _Connection(ServedConnection):
    def __init__(self, server: LocalServer) -> None:
        super().__init__(server.connections, body_bytes_max=_BODY_BYTES_MAX)
        self._server = server

    def take(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        said = self._server.answered(Call(method, parts.path, dict(parse_qsl(parts.query)), headers, body))
        body = json.dumps(said.document).encode()
        self.answer(said.status, [("content-type", "application/json"), *said.headers], body)
