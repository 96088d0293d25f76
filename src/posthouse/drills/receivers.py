"""The receivers of a drill: one HTTP server, one path and one memory for each endpoint.

All of it runs on the drill's background loop; others read plain numbers, or ask on that loop.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from posthouse.core.errors import SignatureInvalid
from posthouse.core.signature import verify
from posthouse.drills.events import digest_of_body
from posthouse.drills.http_server import ServedConnection

_OK: Final = 200
_NOT_FOUND: Final = 404
_BACKLOG: Final = 1_024


class Reply(NamedTuple):
    """What a receiver does with a request."""

    status: int | None = _OK  #: None: it hangs up without an answer
    delay_s: float = 0.0


class Step(NamedTuple):
    """Something that happened at a receiver."""

    at: float  #: monotonic
    event: str
    status: int | None  #: of the answer; None: the request came


_PROMPT: Final = Reply()


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
        self.reply: Callable[[str], Reply] = lambda _event: _PROMPT  #: what it does with a request of this event
        self.trace: list[Step] | None = None  #: all that happens, in its order; None: nobody wants to know
        self.seen: dict[str, Seen] = {}
        self.delivered = 0  #: distinct events that got 200
        self.altered = 0  #: repeats with another content than the first time
        self.forged = 0  #: requests whose signature is not valid, or that are no envelope
        #: Event → the times of its 200s that another one followed.
        self.repeated: dict[str, list[float]] = {}
        self._held: dict[_Connection, tuple[str, Seen]] = {}
        self._late: dict[_Connection, asyncio.TimerHandle] = {}

    @property
    def came_at(self) -> list[float]:
        """When each request came, monotonic, if there is a trace."""
        return [step.at for step in self.trace or () if step.status is None]

    def wants(self, event_type: str) -> bool:
        """Whether an event of this type is owed to it."""
        return event_type in self.types or "*" in self.types

    def recover(self) -> None:
        """Hang no longer, and answer whatever is held for no other reason."""
        self.hangs = False
        for connection in [held for held in self._held if held not in self._late]:
            self._answer(connection, *self._release(connection), _OK)

    def first_answered_at(self, event: str) -> float | None:
        """When this event got its first 200, monotonic; None: it has none."""
        seen = self.seen.get(event)
        if seen is None or not seen.answered:
            return None
        return self.repeated[event][0] if event in self.repeated else seen.answered_at

    def take(self, connection: "_Connection", headers: Mapping[str, str], body: bytes) -> None:
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
        if self.trace is not None:
            self.trace.append(Step(seen.changed_at, event, None))
        if self.hangs:
            self._hold(connection, event, seen)
            return
        reply = self.reply(event)
        if reply.status is None:
            connection.abort()
        elif reply.delay_s:
            self._hold(connection, event, seen)
            loop = asyncio.get_running_loop()
            self._late[connection] = loop.call_later(reply.delay_s, self._answer_late, connection, reply.status)
        else:
            self._answer(connection, event, seen, reply.status)

    def lost(self, connection: "_Connection") -> None:
        """The other side has hung up."""
        if connection in self._held:
            self._release(connection)

    def _hold(self, connection: "_Connection", event: str, seen: Seen) -> None:
        seen.held += 1
        self._held[connection] = event, seen

    def _release(self, connection: "_Connection") -> tuple[str, Seen]:
        """The event whose request was held there, and what is known of it."""
        event, seen = self._held.pop(connection)
        timer = self._late.pop(connection, None)
        if timer is not None:
            timer.cancel()
        seen.held -= 1
        seen.changed_at = time.monotonic()
        return event, seen

    def _answer_late(self, connection: "_Connection", status: int) -> None:
        self._answer(connection, *self._release(connection), status)

    def _answer(self, connection: "_Connection", event: str, seen: Seen, status: int) -> None:
        now = time.monotonic()
        if status == _OK:
            if seen.answered:
                self.repeated.setdefault(event, []).append(seen.answered_at)
            self.delivered += not seen.answered
            seen.answered += 1
            seen.answered_at = now
        seen.changed_at = now
        if self.trace is not None:
            self.trace.append(Step(now, event, status))
        connection.answer(status)

    def _checked(self, headers: Mapping[str, str], body: bytes) -> bytes:
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
        self.hole_port = 0  #: of the receivers that :meth:`swallow` concerns
        self.swallows = False
        self.strays = 0  #: requests to a path that nobody opened
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Listen on two free ports. Raises OSError."""
        self.port = await self._listen(is_hole=False)
        self.hole_port = await self._listen(is_hole=True)

    async def _listen(self, *, is_hole: bool) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, is_hole=is_hole), self._host, 0, backlog=_BACKLOG)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more and break all connections off. Idempotent."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.abort()

    def swallow(self) -> None:
        """Make black holes of the receivers behind the hole: they take connections and requests, and say nothing."""
        self.swallows = True
        for connection in self.connections:
            connection.fall_silent()

    def give_back(self) -> None:
        """End that; connections that were swallowed break off."""
        self.swallows = False
        for connection in list(self.connections):
            if connection.is_hole:
                connection.abort()

    def inbox(self, name: str, types: Sequence[str], *, behind_hole: bool = False) -> Inbox:
        """A new receiver for events of these types (``*`` for all), one that can become a black hole if wanted."""
        path = f"/{name}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        port = self.hole_port if behind_hole else self.port
        inbox = self.inboxes[path] = Inbox(path, f"http://{host}:{port}{path}", types)
        return inbox

    @property
    def delivered(self) -> int:
        """Distinct deliveries that got 200, all inboxes together."""
        return sum(inbox.delivered for inbox in list(self.inboxes.values()))


class _Connection(ServedConnection):
    def __init__(self, receivers: Receivers, *, is_hole: bool) -> None:
        super().__init__(receivers.connections)
        self._receivers = receivers
        self.is_hole = is_hole
        self._inbox: Inbox | None = None

    def fall_silent(self) -> None:
        """Read nothing more, if it is one that is swallowed."""
        if self.is_hole and self._transport.is_reading():
            self._transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._receivers.swallows:
            self.fall_silent()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._inbox is not None:
            self._inbox.lost(self)

    def take(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:  # noqa: ARG002 - POST all
        self._inbox = self._receivers.inboxes.get(target)
        if self._inbox is None:
            self._receivers.strays += 1
            self.answer(_NOT_FOUND)
        else:
            self._inbox.take(self, headers, body)
