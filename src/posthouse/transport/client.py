"""The transport: sends a request on a kept-alive or a new connection and says what came of it."""

import asyncio
from typing import Final

from aiohttp.http import RawResponseMessage

from posthouse import __version__
from posthouse.core.address import AddressPolicy
from posthouse.core.limits import RESPONSE_KEPT_BYTES_MAX
from posthouse.core.ports import Clock
from posthouse.transport.composer import Composer, Route
from posthouse.transport.dial import Connect, Dial, Dialer, dial_machine, tls_context
from posthouse.transport.link import Link
from posthouse.transport.outcome import (
    DeadlinePassed,
    Failed,
    closed,
    exchange_failed,
    is_success,
    printable,
    status_line,
)
from posthouse.transport.pool import Pool
from posthouse.transport.protocol import Exchange, Failure, Request, Timings
from posthouse.transport.resolver import Resolve, SystemResolver

_RETRY_AFTER_CHARS_MAX: Final = 128
_SEPARATORS: Final = 4  #: bytes between and after a name and its value


class AiohttpTransport:
    """Sends requests by HTTP/1.1.

    Never follows a redirect, asks no proxy, keeps no cookie, decodes nothing, verifies every TLS server.
    Dialling (name, TCP, TLS) ends within the request's connect limit and the whole exchange, body
    included, within its timeout: one deadline that nothing moves. A kept-alive connection that dies
    before any byte of an answer gets one resend on a new connection within the same deadline; a
    connection that is new gets none, because then the endpoint may well have taken the request.

    The status decides about success. An answer that is not 2xx is a ``status`` failure, even if its body does
    not come whole. A 2xx answer whose body breaks off, or is not complete in time, has failed: it may be the
    end of a process that died in the middle. A 2xx answer whose body goes on beyond
    ``RESPONSE_READ_BYTES_MAX`` was taken: the rest is not read, and the connection is closed.

    Has no limit on requests at once: the engine has. Use it in one event loop.

    Args:
        policy: which addresses may be called.
        clock: measures the timings; deadlines go by the event loop's time.
        ca_file: certificates (PEM) of authorities that are trusted besides the system's.
        resolve: looks names up in place of the operating system; its answers are not kept.
        user_agent: of requests whose headers name none.
        connect: opens TCP connections in place of the machine's own network.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        clock: Clock,
        *,
        ca_file: str | None = None,
        resolve: Resolve | None = None,
        user_agent: str = f"Posthouse/{__version__}",
        connect: Connect = dial_machine,
    ) -> None:
        context = tls_context(ca_file)
        self._monotonic = clock.monotonic
        self._system_resolver = SystemResolver(clock)
        self._dialer = Dialer(policy, clock, resolve or self._system_resolver, context, connect)
        self._composer = Composer(user_agent)
        self._pool = Pool(clock)

    async def send(self, request: Request) -> Exchange:
        """Send once. Nothing that the network or the other side does is raised."""
        started = self._monotonic()
        deadline = asyncio.get_running_loop().time() + request.timeout_ms / 1_000
        try:
            route = self._composer.route(request.url)
            data = self._composer.compose(route, request.headers, request.body, request.method)
        except Failed as failed:
            return Exchange(failure=failed.failure, error=failed.error, timings=Timings(self._us_since(started)))
        link = self._pool.take(route.origin)
        if link is not None:
            exchange = await self._converse(link, data, deadline, request, started, reused=True)
            if exchange is not None:
                return exchange
        return await self._send_anew(route, data, deadline, request, started)

    async def close(self) -> None:
        """Close all connections. Idempotent; requests that are under way fail."""
        await self._pool.close()
        self._system_resolver.close()

    async def _send_anew(
        self, route: Route, data: bytes, deadline: float, request: Request, started: float
    ) -> Exchange:
        """Send on a new connection."""
        limit_ms = min(request.connect_timeout_ms, request.timeout_ms)
        limit_at = min(asyncio.get_running_loop().time() + limit_ms / 1_000, deadline)
        dial = Dial()
        try:
            if self._pool.closed:
                raise closed()
            link = await self._dialer.open(dial, route.target, limit_at, limit_ms)
        except Failed as failed:
            return Exchange(
                failure=failed.failure,
                error=failed.error,
                timings=Timings(self._us_since(started), dial.dns_us, dial.connect_us, dial.tls_us),
                peer=dial.peer,
            )
        self._pool.adopt(link)
        exchange = await self._converse(link, data, deadline, request, started, reused=False)
        assert exchange is not None, "only a reused connection is resent"
        return exchange

    async def _converse(
        self, link: Link, data: bytes, deadline: float, request: Request, started: float, *, reused: bool
    ) -> Exchange | None:
        """One exchange on ``link``; None if the link was kept alive and died before any byte of an answer."""
        try:
            head = await link.exchange(data, deadline, request.kept_bytes)
        except Exception as error:  # noqa: BLE001  # whatever an exchange raises is the outcome of an attempt
            link.abort()
            if reused and link.first_byte_at is None and not isinstance(error, DeadlinePassed):
                return None
            return self._broken(link, error, request, started, reused=reused)
        except BaseException:
            link.abort()
            raise
        status = head.code
        success = is_success(status)
        exchange = Exchange(
            failure=None if success else Failure.STATUS,
            timings=self._timings(link, started, reused=reused),
            status=status,
            error=None if success else status_line(status),
            headers=_kept_headers(head),
            body=link.body,
            peer=link.peer,
            reused=reused,
            retry_after=_retry_after(head),
        )
        self._pool.give_back(link)
        return exchange

    def _broken(self, link: Link, error: Exception, request: Request, started: float, *, reused: bool) -> Exchange:
        """What came of an exchange that did not end well; keeps as much of the answer as came."""
        head = link.head
        status = None if head is None else head.code
        failed = exchange_failed(
            error, timeout_ms=request.timeout_ms, answered=link.first_byte_at is not None, status=status
        )
        return Exchange(
            failure=failed.failure,
            timings=self._timings(link, started, reused=reused),
            status=status,
            error=failed.error,
            headers=() if head is None else _kept_headers(head),
            body=link.body,
            peer=link.peer,
            reused=reused,
            retry_after=None if head is None else _retry_after(head),
        )

    def _timings(self, link: Link, started: float, *, reused: bool) -> Timings:
        first_byte_at = link.first_byte_at
        first_byte_us = None if first_byte_at is None else int((first_byte_at - link.sent_at) * 1e6)
        total_us = self._us_since(started)
        if reused:
            return Timings(total_us, None, None, None, first_byte_us)
        return Timings(total_us, link.dns_us, link.connect_us, link.tls_us, first_byte_us)

    def _us_since(self, started: float) -> int:
        return int((self._monotonic() - started) * 1e6)


def _kept_headers(head: RawResponseMessage) -> tuple[tuple[str, str], ...]:
    """The first headers of the answer, ``RESPONSE_KEPT_BYTES_MAX`` at most in all, fit to be shown and stored."""
    kept = []
    room = RESPONSE_KEPT_BYTES_MAX
    for raw_name, raw_value in head.raw_headers:
        room -= len(raw_name) + len(raw_value) + _SEPARATORS
        if room < 0:
            break
        value = raw_value.decode("utf-8", "replace")
        kept.append((raw_name.decode("utf-8", "replace"), value if value.isprintable() else printable(value)))
    return tuple(kept)


def _retry_after(head: RawResponseMessage) -> str | None:
    value = head.headers.get("Retry-After")
    return value if value is None or (value.isascii() and len(value) <= _RETRY_AFTER_CHARS_MAX) else None
