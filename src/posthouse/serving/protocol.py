"""HTTP/1.1 on one connection: uvicorn's parser and request cycle, within bounds that uvicorn does not have.

Nothing here runs per byte or arms a timer per request. A connection notes when its phase began by a
clock that ticks once a second, and the server's sweep closes those that are overdue.
"""

from enum import IntEnum
from functools import partial
from typing import Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from posthouse.core import limits
from posthouse.core.errors import (
    HeadersTooLarge,
    MalformedRequest,
    Overloaded,
    PosthouseError,
    RequestTimeout,
    TooLarge,
)
from posthouse.core.head import lines_of
from posthouse.serving.connections import Connections
from posthouse.serving.direct import Direct, Exchange
from posthouse.serving.glance import BODY_BYTES_MAX as DIRECT_BODY_BYTES_MAX
from posthouse.serving.problems import encode_problem

#: ASGI extension: ``answer(status, head, body)`` writes a whole answer in one call.
ANSWER_AT_ONCE: Final = "posthouse.answer"

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_FRAMING: Final = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding"})
_HEADER_OVERHEAD_BYTES: Final = 4  #: colon, space, CR and LF of one header


class Phase(IntEnum):
    """What a connection waits for."""

    IDLE = 0  #: the first byte of a request, or the end of an answer
    HEAD = 1  #: the rest of a request line and headers
    BODY = 2  #: the rest of a body
    LINGER = 3  #: the other side to close: it was refused, and what it still sends is thrown away


_IDLE, _HEAD, _BODY, _LINGER = Phase  # looked up for each request, and enums are slow at that


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, connections: Connections) -> None:
        super().__init__(config, connections, app_state={})
        self.access_log = False
        self._shared = connections
        self._phase: Phase = _IDLE
        self._since = connections.now
        self._refusal: PosthouseError | None = None
        self._chunk_bytes = 0  #: of what is being parsed now
        self._message_bytes = 0  #: of this request, without the chunk that it began in
        self._body_bytes = 0
        self._host: bytes | None = None
        self._framing: bytes | None = None  #: the header that says where the body ends
        self._length = 0  #: of the body, if that header says it
        self._exchange: Exchange | None = None  #: of the request that is being parsed, if it is answered without ASGI
        self._cycle_before = self.cycle  #: of the request before the latest one

    # -- the connection -----------------------------------------------------------------------

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as uvicorn has it
        """Take the connection, or refuse it when there are too many."""
        super().connection_made(transport)
        self._shared.open[self] = None
        count, count_max = len(self._shared.open), self._shared.bounds.connections_max
        if count > 2 * count_max:
            transport.abort()  # not even a refusal is affordable
        elif count > count_max:
            self._refuse(Overloaded("The node has too many connections.", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._shared.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse ``data``, and refuse what is malformed or beyond a bound."""
        if self._phase is _LINGER or (self._phase is _IDLE and self._took_at_a_glance(data)):
            return
        self._chunk_bytes = len(data)
        self._message_bytes += self._chunk_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Only HTTP/1.1 is spoken here. The request that asked for more is answered; then the connection ends.
            self._end_after_answer()
        except httptools.HttpParserError:
            self._refuse(self._refusal or MalformedRequest())
        else:
            if self._phase is not _IDLE:
                self._check_unfinished()

    def _took_at_a_glance(self, data: bytes) -> bool:
        """Whether ``data`` is a whole request that is answered without ASGI; the parser does not see it then."""
        direct = self._shared.direct
        if direct is None or self._is_busy() or self.pipeline or (glimpse := direct.glance(data)) is None:
            return False
        self._since = self._shared.now
        method, target, host, head, body = glimpse
        exchange = Exchange(self, method, target, host, head, keep_alive=True)
        exchange.body = body
        self.cycle = exchange  # type: ignore[assignment]
        direct.take(exchange)
        return True

    def eof_received(self) -> bool | None:  # type: ignore[override]  # True keeps the transport open
        """Answer a client that closed its half after a whole request; close at once otherwise."""
        if self._phase is _IDLE and self._is_busy():
            self._end_after_answer()
            return True
        return None

    def sweep(self, now: float) -> None:
        """End the connection if its phase took too long; called about once a second."""
        bounds = self._shared.bounds
        waited = now - self._since
        if self._phase is _IDLE:
            if self._is_busy() and not self.flow.write_paused:
                self._since = now
            elif waited > (bounds.body_seconds_max if self.flow.write_paused else bounds.keep_alive_seconds_max):
                # Whoever does not read its answer would never let a mere close come to its end.
                if self.transport.get_write_buffer_size():
                    self.transport.abort()
                else:
                    self.transport.close()
        elif self._phase is _LINGER:
            if self._is_busy() and not self.cycle.disconnected:
                self._since = now  # an earlier request is still to be answered
            elif waited > bounds.linger_seconds_max:
                self.transport.abort()
        elif waited > (bounds.head_seconds_max if self._phase is _HEAD else bounds.body_seconds_max):
            self._refuse(RequestTimeout())

    # -- what the parser reports --------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        super().on_message_begin()
        self._phase = _HEAD
        self._since = self._shared.now
        self._message_bytes = 0
        self._body_bytes = 0
        self._host = None
        self._framing = None
        self._exchange = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind the body: those are dropped."""
        if self._phase is _BODY:
            return
        name = name.lower()
        if name in _FRAMING:
            self._check_framing(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: check it as a whole, then start the request."""
        if len(self.headers) > limits.REQUEST_HEADERS_MAX:
            raise self._refused(HeadersTooLarge(f"A request has at most {limits.REQUEST_HEADERS_MAX} headers."))
        # Both numbers count more than the head; only if that could matter is the head itself counted.
        if self._message_bytes + self._chunk_bytes > limits.REQUEST_HEADER_BYTES_MAX:
            self._check_head_size()
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise self._refused(MalformedRequest(f"HTTP/{version} is not spoken here."))
        if version == "1.1" and self._host is None:
            raise self._refused(MalformedRequest("There is no Host header."))
        if version == "1.0" and self._framing == b"transfer-encoding":
            raise self._refused(MalformedRequest("HTTP/1.0 has no Transfer-Encoding."))
        if len(self.pipeline) >= limits.REQUESTS_PIPELINED_MAX:
            raise self._refused(Overloaded("Too many requests on this connection wait for their answer."))
        self._cycle_before = self.cycle
        if self._shared.direct is not None and self._may_be_direct(self._shared.direct):
            keep_alive = version != "1.0" and self.parser.should_keep_alive()
            texts = (self.parser.get_method(), self.url, self._host or b"", lines_of(self.headers))
            method, target, host, head = (text.decode("latin-1") for text in texts)
            self._exchange = Exchange(self, method, target, host, head, keep_alive=keep_alive)
            self.cycle = self._exchange  # type: ignore[assignment]
        else:
            super().on_headers_complete()
            self.scope["extensions"] = {ANSWER_AT_ONCE: {"answer": partial(_answer, self.cycle, self._shared)}}
        self._phase = _BODY
        self._since = self._shared.now

    def _may_be_direct(self, direct: Direct) -> bool:
        """Whether the request is one that is answered without ASGI."""
        return (
            self.url.startswith(direct.prefix)
            and self._framing == b"content-length"
            and self._length <= DIRECT_BODY_BYTES_MAX
            and not (self._is_busy() or self.pipeline or self.expect_100_continue or self.parser.should_upgrade())
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        if self._exchange is not None:
            self._exchange.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._phase = _IDLE
        self._since = self._shared.now
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
        elif not exchange.disconnected:
            assert self._shared.direct is not None
            self._shared.direct.take(exchange)

    def on_response_complete(self) -> None:
        """The answer is complete: go on with the next request, if it is there already."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @property
    def date_line(self) -> bytes:
        """The Date header as it stands on the wire."""
        return self._shared.date_line

    # -- bounds -------------------------------------------------------------------------------

    def _check_framing(self, name: bytes, value: bytes) -> None:
        """Refuse what two parsers could read in two ways: that is how requests are smuggled."""
        if name == b"host":
            if self._host is not None:
                raise self._refused(MalformedRequest("There are two Host headers."))
            self._host = value
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise self._refused(MalformedRequest("Only 'Expect: 100-continue' is known."))
            self.expect_100_continue = True
        elif self._framing is not None:
            raise self._refused(MalformedRequest("The length of the body is said twice."))
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise self._refused(MalformedRequest("The only transfer encoding is chunked."))
        else:
            self._framing = name
            if name == b"content-length":
                self._length = int(value)

    def _check_head_size(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in self.headers)
        if size > limits.REQUEST_HEADER_BYTES_MAX:
            raise self._refused(_head_too_large())

    def _check_unfinished(self) -> None:
        """Bound what a request may still grow to, now that all that came of it is parsed."""
        if self._phase is _HEAD:
            if self._message_bytes > limits.REQUEST_HEADER_BYTES_MAX:
                self._refuse(_head_too_large())
        elif self._message_bytes > limits.REQUEST_DISCARDED_BYTES_MAX:
            self._refuse(TooLarge())
        elif self._framing == b"transfer-encoding":
            overhead = self._message_bytes - self._body_bytes
            if overhead > limits.REQUEST_CHUNK_OVERHEAD_BYTES_MAX + self._body_bytes:
                self._refuse(MalformedRequest("The chunks are too small, or the trailers too long."))

    def _refused(self, error: PosthouseError) -> PosthouseError:
        """Note why a parser callback gives up; the parser turns whatever is raised there into an error of its own."""
        self._refusal = error
        return error

    def _is_busy(self) -> bool:
        """Whether the latest request is not answered yet."""
        cycle: RequestResponseCycle | Exchange | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _end_after_answer(self) -> None:
        if self._is_busy():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, error: PosthouseError) -> None:
        """Answer with ``error`` where that is still possible, and end the connection."""
        phase, self._phase = self._phase, _LINGER
        self._since = self._shared.now
        if phase is _BODY and self.pipeline:  # the request waits for its turn, and will not get it
            self.pipeline.popleft()
            self.cycle = self._cycle_before
            phase = _HEAD
        if phase is _BODY and self._is_busy():
            if self.cycle.response_started:
                self.transport.close()
                return
            # Nobody will read what the application still says about this request.
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        elif self._is_busy():
            # An earlier request is being answered; a refusal in between would be taken for its answer.
            self.cycle.keep_alive = False
            return
        elif phase is _BODY:  # answered already
            self._linger(b"")
            return
        body, headers = encode_problem(error, "")
        head = lines_of((*self.server_state.default_headers, *headers, (b"connection", b"close")))
        self._linger(b"".join((STATUS_LINE[error.status], head, b"\r\n", body)))

    def _linger(self, content: bytes) -> None:
        """Send ``content`` and close our half. To close fully at once could cost the other side the answer."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.transport.write(content)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


async def _answer(cycle: RequestResponseCycle, connections: Connections, status: int, head: bytes, body: bytes) -> None:
    """Write a whole answer at once; what uvicorn's cycle does in two messages and header by header.

    Args:
        cycle: of the request, which was read whole and not answered in any part.
        connections: whose date it is.
        status: HTTP status.
        head: header lines, each with its CR and LF; Date and Connection are added.
        body: as long as ``head`` says.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    assert not cycle.response_started
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    last = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    cycle.transport.write(b"".join((STATUS_LINE[status], connections.date_line, head, last, body)))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"Request line and headers take at most {limits.REQUEST_HEADER_BYTES_MAX} bytes.")
