"""One connection of a small server: whole requests in. What is answered, and when, is up to who listens."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import httptools


class ServedConnection(asyncio.Protocol, ABC):
    """An HTTP/1.1 connection that reads requests, for a subclass that answers them.

    Args:
        all_of_them: it is in there while it is open.
        body_bytes_max: a request with a longer body is broken off.
    """

    def __init__(self, all_of_them: set[Any], *, body_bytes_max: int | None = None) -> None:
        self._all = all_of_them
        self._body_bytes_max = body_bytes_max
        self._reset()

    @abstractmethod
    def take(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Answer a request, now or later.

        Args:
            method: of HTTP.
            target: path and query, as they came.
            headers: names in lower case; of one that stands twice the last value.
            body: whole.
        """

    def answer(self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Write a whole answer, and close if the request wanted that."""
        lines = [f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"content-length: {len(body)}", "", ""]
        self._transport.write("\r\n".join(lines).encode("latin-1") + body)
        if not self._parser.should_keep_alive():
            self._transport.close()

    def abort(self) -> None:
        """Break it off."""
        self._transport.abort()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as a Protocol has it
        """It is closed."""
        self._all.discard(self)

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    # -- httptools ------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += body
        if self._body_bytes_max is not None and len(self._body) > self._body_bytes_max:
            self.abort()

    def on_message_complete(self) -> None:
        """The request is whole."""
        method, target = self._parser.get_method().decode("latin-1"), self._target.decode("latin-1")
        headers, body = self._headers, self._body
        self._reset()
        self.take(method, target, headers, body)
