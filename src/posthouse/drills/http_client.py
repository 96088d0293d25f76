"""One connection to a server: raw requests out, whole answers in. What a request holds is its callers' affair."""

import asyncio
from http import HTTPStatus
from typing import cast

import httptools
import msgspec


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""  #: as much of it as the connection keeps

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class HttpConnection(asyncio.Protocol):
    """An HTTP/1.1 connection for one request at a time. Redirects are answers like any other.

    Args:
        kept_bytes_max: of an answer's body; the rest is read and forgotten. None: all of it is kept.
    """

    def __init__(self, *, kept_bytes_max: int | None = None) -> None:
        self.is_closed = False
        self.is_busy = False  #: a request is without its whole answer
        self.used_at = 0.0  #: for whoever keeps it
        self._kept_bytes_max = kept_bytes_max
        self._answer: asyncio.Future[Answer] | None = None
        self._begin()

    async def exchange(self, request: bytes) -> Answer:
        """The answer to a request. Raises ConnectionError or HttpParserError: what became of it is unknown."""
        if self.is_closed:
            raise ConnectionResetError("the other side hung up")
        self._begin()
        self.is_busy = True
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        """Break it off."""
        self.is_closed = True
        self._transport.abort()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body = b""
        self._ends_with_connection = False

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed; for some answers that is their end."""
        self.is_closed = True
        if self._ends_with_connection and exc is None:
            self.on_message_complete()
        else:
            self._fail(exc or ConnectionResetError("the other side hung up"))

    def data_received(self, data: bytes) -> None:
        """A part of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort()
            self._fail(error)

    # -- httptools ------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """All of them."""
        names = {name.lower() for name, _ in self._headers}
        self._ends_with_connection = names.isdisjoint({"content-length", "transfer-encoding"})

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body = (self._body + body)[: self._kept_bytes_max]

    def on_message_complete(self) -> None:
        """The answer is whole."""
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
