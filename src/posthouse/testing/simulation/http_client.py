"""A small HTTP/1.1 client for the world outside of the node: publishers, operators."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import httptools

_INTERIM: Final = range(100, 200)


class NoAnswer(Exception):
    """A request has no whole answer.

    Args:
        sent: whether any byte of it was given to the network; if so, it may have been done.
        why: for a report.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Doors:
    """The nodes as one client sees them: each of them does, and every request goes to any.

    Args:
        clients: one for each node.
        chance: which node is asked.
    """

    def __init__(self, clients: "Sequence[HttpClient]", chance: Random) -> None:
        self._clients = clients
        self._chance = chance

    def choose(self) -> int:
        """The number of a node."""
        return self._chance.randrange(len(self._clients)) if len(self._clients) > 1 else 0

    def __getitem__(self, node: int) -> "HttpClient":
        return self._clients[node]


class HttpClient:
    """Sends requests to one server, on connections that are kept until they break. Sends nothing twice.

    Args:
        host: the server's address or name.
        port: its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Exchanges] = []

    async def request(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = 30.0,  # noqa: ASYNC109 - what came of the request depends on when it strikes
    ) -> Answer:
        """Send one request.

        Args:
            method: of HTTP; not HEAD.
            path: with the query.
            headers: besides Host and Content-Length.
            body: may be empty.
            timeout: seconds for everything.

        Raises:
            NoAnswer: there is no connection, it broke, or the time is over.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}:{self._port}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        data = "\r\n".join((*lines, "", "")).encode("latin-1") + body
        connection: _Exchanges | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connection()
                answer = await connection.exchange(data)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            if connection is None:
                raise NoAnswer(repr(error), sent=False) from error
            raise NoAnswer(repr(error), sent=connection.written) from error
        finally:
            if connection is not None:
                self._keep(connection)
        return answer

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().abort()

    async def _connection(self) -> "_Exchanges":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open():
                return connection
        _, protocol = await asyncio.get_running_loop().create_connection(_Exchanges, self._host, self._port)
        return protocol

    def _keep(self, connection: "_Exchanges") -> None:
        if connection.is_reusable():
            self._idle.append(connection)
        else:
            connection.abort()


class _Exchanges(asyncio.Protocol):
    """One exchange after the other on one connection."""

    def __init__(self) -> None:
        self.written = False  # anything at all
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._keep_alive = True

    async def exchange(self, data: bytes) -> Answer:
        """Send ``data``, and read what comes back."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._headers, self._body = {}, []
        self._transport.write(data)
        self.written = True
        return await self._answer

    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._transport is not None and not self._transport.is_closing()

    def is_reusable(self) -> bool:
        """Whether the latest exchange is over, and the server keeps the connection."""
        answer = self._answer
        ended = answer is None or (answer.done() and not answer.cancelled() and answer.exception() is None)
        return ended and self._keep_alive and self.is_open()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    # -- what the transport calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._fail(exc or ConnectionResetError("the server closed the connection"))

    def _fail(self, error: BaseException) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # -- what the parser calls ------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        status = self._parser.get_status_code()
        if status in _INTERIM:
            self._headers = {}
            return
        self._keep_alive = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, self._headers, b"".join(self._body)))
