"""Requests that are answered without ASGI: one call with the whole request, one call with the whole answer.

A task, a scope and three coroutines for each request cost more than all that is to be done for one that is only kept.
So requests below one prefix, with a short body whose length is told, are handed over directly; all others take the
way through ASGI, to an application that does the same.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from posthouse.serving.glance import Glance

if TYPE_CHECKING:
    from posthouse.serving.protocol import BoundedProtocol


class _Nobody:
    """Stands where uvicorn keeps what wakes an application: there is none."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY: Final = _Nobody()


class Exchange:
    """One request and its answer. It stands where uvicorn keeps its cycle, and looks like one to it.

    Attributes:
        method: HTTP method.
        target: path and query, as they came.
        host: as its header says; empty if there is none.
        head: its headers (``core.head``).
        body: whole when it is handed over.
        keep_alive: whether the connection goes on after the answer.
        disconnected: nobody waits for the answer any more.
        response_started: an answer was written.
        response_complete: an answer was written whole.
    """

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "head",
        "host",
        "keep_alive",
        "method",
        "response_complete",
        "response_started",
        "target",
        "waiting_for_100_continue",
    )

    message_event = _NOBODY

    def __init__(
        self, protocol: "BoundedProtocol", method: str, target: str, host: str, head: str, *, keep_alive: bool
    ) -> None:
        self._protocol = protocol
        self.method = method
        self.target = target
        self.host = host
        self.head = head
        self.body = b""
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.waiting_for_100_continue = False

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._protocol.scheme or "http"

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Write the whole answer; nothing if nobody waits for it. ``head``: lines, each with its CR and LF."""
        if self.disconnected or self.response_started:
            return
        protocol = self._protocol
        self.response_started = self.response_complete = True
        last = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        protocol.transport.write(b"".join((STATUS_LINE[status], protocol.date_line, head, last, body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class Direct:
    """Who answers directly, and what.

    Args:
        prefix: of the path.
        take: never raises, and answers each exchange at some time.
    """

    def __init__(self, prefix: bytes, take: Callable[[Exchange], None]) -> None:
        self.prefix = prefix
        self.take = take
        self.glance = Glance(prefix)
