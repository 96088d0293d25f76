"""The receivers of a drill: one HTTP server, one path and one memory for each endpoint.

All of it runs on the drill's background loop; others read plain numbers, or ask on that loop.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, cast

import httptools
import msgspec

from posthouse.core.errors import SignatureInvalid
from posthouse.core.signature import verify
from posthouse.drills.events import digest_of_body

_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_UNKNOWN: Final = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_BACKLOG: Final = 1_024


class Seen(msgspec.Struct, gc=False):
    """What a receiver knows of one event."""

    digest: bytes  #: of the first request; empty if that had no envelope
    requests: int = 0  #: that came whole
    held: int = 0  #: of those, how many have no answer yet and are still open
    answered: int = 0  #: of those, how many got 200
    answered_at: float = 0.0  #: when the latest one did
    changed_at: float = 0.0  #: when any of this last changed


class Inbox:
    """The receiver of one endpoint."""

    def __init__(self, path: str, url: str, types: Sequence[str]) -> None:
        self.path = path
        self.url = url  #: where to deliver to
        self.types = frozenset(types)
        self.endpoint = ""  #: its id, once it is created
        self.secret = ""
        self.hangs = False  #: requests that come while it does get no answer until :meth:`recover`
        self.seen: dict[str, Seen] = {}
        self.delivered = 0  #: distinct events that got 200
        self.altered = 0  #: repeats with another content than the first time
        self.forged = 0  #: requests whose signature is not valid, or that are no envelope
        #: Event → the times of its 200s that another one followed.
        self.repeated: dict[str, list[float]] = {}
        self._held: dict[_Connection, Seen] = {}

    def wants(self, event_type: str) -> bool:
        """Whether an event of this type is owed to it."""
        return event_type in self.types or "*" in self.types

    def recover(self) -> None:
        """Hang no longer, and answer whatever is held."""
        self.hangs = False
        for connection, seen in list(self._held.items()):
            self.lost(connection)
            self._answer(connection, seen)

    def take(self, connection: "_Connection", headers: dict[str, str], body: bytes) -> None:
        """Remember a request and answer it, or hold it."""
        event = headers.get("webhook-id", "")
        digest = self._checked(headers, body)
        seen = self.seen.get(event)
        if seen is None:
            seen = self.seen[event] = Seen(digest)
        elif seen.digest != digest:
            self.altered += 1
        seen.requests += 1
        seen.changed_at = time.monotonic()
        if self.hangs:
            seen.held += 1
            self._held[connection] = seen
            return
        if seen.answered:
            self.repeated.setdefault(event, []).append(seen.answered_at)
        self._answer(connection, seen)

    def lost(self, connection: "_Connection") -> None:
        """The other side has hung up, or it is about to get its answer."""
        seen = self._held.pop(connection, None)
        if seen is not None:
            seen.held -= 1
            seen.changed_at = time.monotonic()

    def _answer(self, connection: "_Connection", seen: Seen) -> None:
        self.delivered += not seen.answered
        seen.answered += 1
        seen.answered_at = seen.changed_at = time.monotonic()
        connection.write(_ANSWER)

    def _checked(self, headers: dict[str, str], body: bytes) -> bytes:
        try:
            verify([self.secret], headers, body, now_s=int(time.time()))
            return digest_of_body(body)
        except (SignatureInvalid, ValueError):
            self.forged += 1
            return b""


class Receivers:
    """The server and its inboxes.

    Args:
        host: address to listen on, which the node can reach.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.port = 0  #: once it is open
        self.inboxes: dict[str, Inbox] = {}
        self.strays = 0  #: requests to a path that nobody opened
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, 0, backlog=_BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more and break all connections off. Idempotent."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()

    def inbox(self, name: str, types: Sequence[str]) -> Inbox:
        """A new receiver for events of these types (``*`` for all)."""
        path = f"/{name}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        inbox = self.inboxes[path] = Inbox(path, f"http://{host}:{self.port}{path}", types)
        return inbox

    @property
    def delivered(self) -> int:
        """Distinct deliveries that got 200, all inboxes together."""
        return sum(inbox.delivered for inbox in list(self.inboxes.values()))


class _Connection(asyncio.Protocol):
    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers
        self._inbox: Inbox | None = None
        self._reset()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()

    def _reset(self) -> None:
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._receivers.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - as a Protocol has it
        self._receivers.connections.discard(self)
        if self._inbox is not None:
            self._inbox.lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    # -- httptools ------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        headers, body = self._headers, self._body
        self._inbox = self._receivers.inboxes.get(self._path.decode("latin-1"))
        self._reset()
        if self._inbox is None:
            self._receivers.strays += 1
            self.write(_UNKNOWN)
        else:
            self._inbox.take(self, headers, body)
