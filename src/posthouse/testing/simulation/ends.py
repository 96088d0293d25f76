"""The two ends of a TCP connection, as the kernels of their machines see them."""

import errno
import os
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final, Protocol
from zlib import crc32

from posthouse.testing.simulation.medium import Address, Medium
from posthouse.testing.simulation.tasks import LIFE

_WINDOW_BYTES: Final = 256 * 1024  #: sent and not yet read, in one direction: both kernels' buffers together
_TRIES_MAX: Final = 15  #: as Linux has it, before a connection is given up
_RETRY_SECONDS_MAX: Final = 120.0
_FIN: Final = b""  #: the last segment of a direction


class Reader(Protocol):
    """Who takes what arrives."""

    def take_arrived(self) -> None:
        """Something is in the inbox."""
        ...

    def go_on_writing(self) -> None:
        """There is room to send more."""
        ...

    def break_off(self, error: OSError) -> None:
        """The connection is broken."""
        ...


class End:
    """One end of a connection.

    Its methods are called by the process that owns it; ``_arrive`` and those below it by the network, in
    that process's context, so that they wait while the process is frozen and never come once it was killed.

    Args:
        medium: what lies between.
        context: of the process.
        name: its address.
        server: the address that was dialled; faults go by it.
        forget: called when both ends are closed.

    Attributes:
        inbox: segments that arrived and were not read; an empty one says that no more will come.
        reader: the transport; None while there is none yet.
        closed: the process closed it, or it broke.
        error: why it broke.
        vanished: the machine lost its power; the other side was told nothing.
        hard: closing it sends a RST, never a FIN.
    """

    def __init__(
        self, medium: Medium, context: Context, name: Address, server: Address, forget: Callable[["End"], None]
    ) -> None:
        self.medium = medium
        self.context = context
        self.life = context.get(LIFE, 0)
        self.name = name
        self.server = server
        self.peer = self  # until it has one
        self.inbox: deque[bytes] = deque()
        self.reader: Reader | None = None
        self.closed = False
        self.error: OSError | None = None
        self.vanished = False
        self.hard = False
        self._forget = forget
        self._in_flight = 0  # bytes, of its own
        self._wants_room = False
        self._finished = False
        self._severed = False  # a segment was lost for good: none may arrive after it
        self._unanswered = False  # something was sent to a machine that has vanished
        self._last_arrival = 0.0
        self._held: deque[bytes] = deque()  # in a black hole

    # -- what the process does ------------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """Send as much as there is room for; how many bytes that was. Asks to be told when there is more room."""
        medium = self.medium
        if self.closed or medium.loop.is_dead(self.life):
            return len(data)
        room = _WINDOW_BYTES - self._in_flight
        if room < len(data):
            self._wants_room = True
            data = data[:room]
        if data:
            self._in_flight += len(data)
            medium.trace.lines.append(f"{self.name[1]} sends {crc32(data)}")
            if medium.faults.chunk is None:
                self._dispatch(data)
            else:
                for piece in medium.cut(data):
                    self._dispatch(piece)
        return len(data)

    def finish(self) -> None:
        """Send no more, as shutdown does."""
        if not self._finished and not self.closed and not self.medium.loop.is_dead(self.life):
            self._finished = True
            self._dispatch(_FIN)

    def take(self) -> bytes:
        """The next segment of the inbox."""
        segment = self.inbox.popleft()
        peer = self.peer
        peer._in_flight -= len(segment)  # noqa: SLF001 - both ends are of this class
        if peer._wants_room:  # noqa: SLF001
            peer._wants_room = False  # noqa: SLF001
            self._tell(peer, peer._have_room)  # noqa: SLF001
        return segment

    def close(self) -> None:
        """Close the socket: with a FIN, or with a RST if that was asked for or something was not read."""
        if self.closed or self.medium.loop.is_dead(self.life):
            return
        if self.hard or any(self.inbox):
            self._held.clear()  # nothing of it is sent again
            self._send_reset()
        else:
            self.finish()
        self._end(None)

    # -- what happens to the process ------------------------------------------------------------

    def die(self, *, silently: bool) -> None:
        """The process is gone: its kernel says so to the other side, unless it went with its power."""
        if silently:
            self._held.clear()  # nobody sends it again
        if not self.closed:
            self.vanished = silently
            if silently:
                acknowledged = sum(map(len, self.inbox))
                self.peer._unanswered = self.peer._in_flight > acknowledged  # noqa: SLF001 - both ends are of this class
            else:
                self._send_reset()
            self._end(None)

    def return_to_network(self, within: float) -> None:
        """The machine is back, and knows nothing of the connection: what the other side sends again gets a RST."""
        self.vanished = False
        peer = self.peer
        if peer._unanswered and not peer.closed:  # noqa: SLF001 - both ends are of this class
            self._tell(peer, peer.break_off, after=within * self.medium.random())

    def break_off(self, number: int = errno.ECONNRESET) -> None:
        """A RST came, or the kernel gave up."""
        if not self.closed:
            error = OSError(number, os.strerror(number))
            self.inbox.clear()
            self._end(error)
            if self.reader is not None:
                self.reader.break_off(error)

    # -- under way ------------------------------------------------------------------------------

    def _dispatch(self, segment: bytes) -> None:
        """Put one segment on its way."""
        medium, peer = self.medium, self.peer
        faults, loop = medium.faults, medium.loop
        if self._severed:
            return
        if self._held or self.server in faults.black_holes:
            self._hold(segment)
            return
        if peer.closed and loop.is_dead(peer.life):
            self._send_to_the_dead()
            return
        delay = medium.latency()
        if medium.strikes("reset", faults.reset):
            self._severed = True
            self._tell(self, self.break_off)
            self._tell(peer, peer.break_off)
            return
        if medium.strikes("lost", faults.loss):
            delay += faults.retransmit_s
        self._last_arrival = at = max(self._last_arrival, loop.now + delay)
        loop.call_at(at, peer._arrive, segment, context=peer.context)  # noqa: SLF001 - both ends are of this class

    def _arrive(self, segment: bytes) -> None:
        if not self.closed:
            self.inbox.append(segment)
            if self.reader is not None:
                self.reader.take_arrived()
        elif segment:
            self._send_reset()

    def _have_room(self) -> None:
        if self.reader is not None and not self.closed:
            self.reader.go_on_writing()

    def _send_reset(self) -> None:
        """Tell the other side that there is nobody here. It may overtake what was sent before."""
        if self.server in self.medium.faults.black_holes:
            self.medium.happens("swallowed")
        elif not self.peer.closed:
            self._tell(self.peer, self.peer.break_off)

    def _send_to_the_dead(self) -> None:
        if self.peer.vanished:
            self._unanswered = True
            self.medium.happens("swallowed")
        else:
            self._tell(self, self.break_off, after=self.medium.latency())

    def _hold(self, segment: bytes) -> None:
        """Keep a segment that cannot pass, and try again later, as TCP does."""
        self.medium.happens("swallowed")
        self._held.append(segment)
        if len(self._held) == 1:
            self._retry_in(self.medium.faults.retransmit_s, 1)

    def _retry_in(self, seconds: float, tries: int) -> None:
        self.medium.loop.call_later(seconds, self._retry, seconds, tries, context=self.medium.outside)

    def _retry(self, seconds: float, tries: int) -> None:
        if not self._held:
            return
        if self.server in self.medium.faults.black_holes:
            if tries < _TRIES_MAX:
                self._retry_in(min(2 * seconds, _RETRY_SECONDS_MAX), tries + 1)
            else:
                self._held.clear()
                self._severed = True
                self._tell(self, self._give_up)
            return
        held, self._held = self._held, deque()
        for segment in held:
            self._dispatch(segment)

    def _give_up(self) -> None:
        self.break_off(errno.ETIMEDOUT)

    def _tell(self, end: "End", what: Callable[[], None], *, after: float = 0.0) -> None:
        loop = self.medium.loop
        loop.call_at(loop.now + after + self.medium.latency(), what, context=end.context)

    def _end(self, error: OSError | None) -> None:
        self.closed = True
        self.error = error
        if error is not None:
            self._held.clear()
        if self.peer.closed:
            self._forget(self)
