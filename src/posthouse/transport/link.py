"""One connection to an endpoint, and one exchange at a time on it.

This is the only module that stands on aiohttp, and on its connection protocol only (response parser,
framing, body stream). aiohttp's session and connector are left out on purpose: they resolve, follow
redirects, read the environment, keep cookies, round timeouts up and resend by rules of their own, and
cost as much time again as all the rest of an exchange.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from posthouse.core.limits import RESPONSE_HEADER_BYTES_MAX, RESPONSE_KEPT_BYTES_MAX, RESPONSE_READ_BYTES_MAX
from posthouse.core.ports import Clock
from posthouse.transport.outcome import DeadlinePassed, Disconnected, HeadTooLarge

_INTERIM: Final = range(100, 200)
_SWITCHING_PROTOCOLS: Final = 101
_HEADERS_MAX: Final = RESPONSE_HEADER_BYTES_MAX // 4  #: fewer than this fit into the bound on bytes
_READ_BUFFER: Final = RESPONSE_HEADER_BYTES_MAX + RESPONSE_READ_BYTES_MAX  #: no answer ever fills it

Origin = tuple[str, str, int]  #: scheme, host, port


class Link(ResponseHandler):
    """An open connection.

    Bounds hold on the bytes as they come: the head of the answer, together with all interim (1xx)
    answers before it, within ``RESPONSE_HEADER_BYTES_MAX``; then ``RESPONSE_READ_BYTES_MAX`` more for the
    body and its framing. A byte that comes while nothing was asked closes the connection, so that no
    answer can be taken for that of a later request.

    Args:
        loop: the running loop.
        clock: measures the phases.
        origin: what the link may be used for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, origin: Origin) -> None:
        super().__init__(loop)
        self.origin = origin
        self.peer = ""  #: ``address:port``
        self.dns_us: int | None = None
        self.connect_us: int | None = None
        self.tls_us: int | None = None
        self.opened_at = clock.monotonic()
        self.on_lost: Callable[[Link], None] | None = None  #: called once, when the connection is gone
        # The current or latest exchange:
        self.sent_at = 0.0  #: when the request was given to the connection
        self.first_byte_at: float | None = None
        self.head: RawResponseMessage | None = None  #: of the final answer
        self.body = b""  #: its first bytes, as many as are kept, as far as they came
        self.truncated = False  #: the body goes on beyond the bound; the rest was not read
        self._monotonic = clock.monotonic
        self._busy = False
        self._stream: StreamReader | None = None
        self._room = 0  #: bytes that may still come
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    async def exchange(
        self, data: bytes, deadline: float, kept_bytes: int = RESPONSE_KEPT_BYTES_MAX
    ) -> RawResponseMessage:
        """Write a request, read the answer, and leave its body in ``body``.

        Args:
            data: the whole request, head and body.
            deadline: loop time at which the exchange fails, whatever comes until then.
            kept_bytes: of the body, at most.

        Raises:
            Disconnected: the connection was gone before; nothing was written.
            DeadlinePassed: the answer was not complete in time.
            HeadTooLarge: the head of the answer is beyond the bound.
            Exception: whatever the connection or the parser has to say.
        """
        self.rest()
        transport = self.transport
        if transport is None or transport.is_closing():
            raise Disconnected
        self._room = RESPONSE_HEADER_BYTES_MAX
        self._busy = True
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=RESPONSE_HEADER_BYTES_MAX,
            max_field_size=RESPONSE_HEADER_BYTES_MAX,
            max_headers=_HEADERS_MAX,
        )
        self._watch(deadline)
        self.sent_at = self._monotonic()
        transport.write(data)
        try:
            head, stream = await self.read()
            if stream.is_eof():
                self.body = stream.read_nowait()[:kept_bytes]
            else:
                await self._collect(stream, kept_bytes)
        finally:
            self._busy = False
        return head

    def rest(self) -> None:
        """Forget the latest exchange, so that an idle connection holds no answer in memory."""
        self.first_byte_at = self.head = self._stream = None
        self.body = b""

    def is_reusable(self) -> bool:
        """Whether another request may be sent: the answer was read whole, and the request was taken whole."""
        transport = self.transport
        return not (
            self.should_close
            or self.truncated
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size()
        )

    def abort(self) -> None:
        """Drop the connection now, with whatever is unsent."""
        self._stop_watching()
        super().abort()

    # What the transport and the parser call.

    def data_received(self, data: bytes) -> None:
        """Take what came, as far as the bounds allow."""
        if self.first_byte_at is None or not self._busy:
            if not self._busy:
                self.abort()
                return
            self.first_byte_at = self._monotonic()
        while len(data) > self._room:
            room, self._room = self._room, 0
            if room:
                super().data_received(data[:room])
                data = data[room:]
            if self.transport is None or self.transport.is_closing():
                return
            if self._room == 0:
                self._overflow()
                return
        self._room -= len(data)
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a parsed head; interim answers are dropped."""
        head, stream = data
        if head.code in _INTERIM and head.code != _SWITCHING_PROTOCOLS:
            return
        if self.head is None:
            self.head = head
            self._stream = stream
            self._room += RESPONSE_READ_BYTES_MAX
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End the exchange with ``exc``, also for whoever waits for the body."""
        if exc_cause is not None and exc_cause is not exc:
            exc.__cause__ = exc_cause
        stream = self._stream
        if stream is not None and not stream.is_eof() and stream.exception() is None:
            stream.set_exception(exc)
        super().set_exception(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # as inherited
        """Go on reading, if reading was paused; a body stream asks for it each time that it is read from."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._stop_watching()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost(self)

    async def _collect(self, stream: StreamReader, kept_bytes: int) -> None:
        """Read the body to its end; keep its start."""
        while not stream.at_eof():
            part = await stream.readany()
            if len(self.body) < kept_bytes:
                self.body = (self.body + part)[:kept_bytes]

    def _overflow(self) -> None:
        """More came than may be read."""
        if self.truncated or self.exception() is not None:
            return
        if self.head is None or self._stream is None:
            self.set_exception(HeadTooLarge())
            return
        self.truncated = True
        self._stream.feed_eof()
        self._pause_transport_reading()

    def _watch(self, deadline: float) -> None:
        """Fail the exchange at ``deadline``.

        The alarm of an earlier exchange is left running and looks at the deadline when it goes off: on a
        busy connection a timer is made once a timeout, not once a request.
        """
        self._deadline = deadline
        if self._alarm is not None:
            if self._alarm_at <= deadline:
                return
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_at(deadline, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        if not self._busy:
            return
        if self._loop.time() < self._deadline:
            self._watch(self._deadline)
        else:
            self.set_exception(DeadlinePassed())

    def _stop_watching(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
