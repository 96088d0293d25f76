"""Opens connections: resolve, check, dial exactly what was checked, check again, shake hands."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Final

import aiohappyeyeballs

from posthouse.core.address import AddressPolicy
from posthouse.core.errors import ConfigurationError
from posthouse.core.limits import ADDRESSES_DIALLED_MAX, CONNECT_TIMEOUT_MS_MAX
from posthouse.core.ports import Clock
from posthouse.core.url import Target
from posthouse.transport import outcome
from posthouse.transport.link import Link
from posthouse.transport.outcome import Failed
from posthouse.transport.resolver import Resolve

#: RFC 8305: the next address is tried as well when one has not answered for so long.
_NEXT_ADDRESS_SECONDS: Final = 0.25
#: The event loop's own limit comes after that of any request; without one it would hold on to what was given up.
_HANDSHAKE_SECONDS: Final = CONNECT_TIMEOUT_MS_MAX / 1_000 + 1


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """How servers are verified: always, with the host name, by the system's authorities and those in ``ca_file``.

    Raises:
        ConfigurationError: ``ca_file`` holds no certificates.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise ConfigurationError(f"The CA file {ca_file} cannot be used: {error}") from error
    return context


#: Opens a TCP connection to the first of some numeric addresses that answers. Raises OSError.
Connect = Callable[[Sequence[aiohappyeyeballs.AddrInfoType]], Awaitable[socket.socket]]


async def dial_machine(infos: Sequence[aiohappyeyeballs.AddrInfoType]) -> socket.socket:
    """The machine's own network, by RFC 8305."""
    return await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)


class _Phase(Enum):
    LOOKUP = auto()
    CONNECT = auto()
    HANDSHAKE = auto()


class Dial:
    """One try to open a connection; tells how far it came.

    Attributes:
        dns_us: duration of the look-up, also of one that failed; None if there was none.
        connect_us: the same of the TCP connection.
        tls_us: the same of the TLS handshake.
        peer: ``address:port``, once connected.
        phase: the one that is under way.
        dialled: each ``address:port`` that is tried.
        refused: the addresses that the policy refused, each with the name of its rule.
    """

    __slots__ = ("connect_us", "dialled", "dns_us", "peer", "phase", "refused", "tls_us")

    def __init__(self) -> None:
        self.dns_us: int | None = None
        self.connect_us: int | None = None
        self.tls_us: int | None = None
        self.peer: str | None = None
        self.phase = _Phase.LOOKUP
        self.dialled: tuple[str, ...] = ()
        self.refused: list[tuple[str, str]] = []


class Dialer:
    """Opens connections to addresses that the policy allows, and to no other.

    All addresses of a name are checked; those that are refused are left out, and if none is left the
    attempt fails. What is dialled is a number that was checked, never a name; what was reached is
    checked once more before anything is written. Addresses in URLs go the same way.

    Args:
        policy: which addresses may be called.
        clock: measures the phases.
        resolve: looks names up.
        context: verifies TLS servers.
        connect: opens TCP connections.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        clock: Clock,
        resolve: Resolve,
        context: ssl.SSLContext,
        connect: Connect = dial_machine,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._resolve = resolve
        self._context = context
        self._connect_to = connect

    async def open(self, dial: Dial, target: Target, limit_at: float, limit_ms: int) -> Link:
        """A new connection to ``target``.

        Args:
            dial: filled in while dialling, also when it fails.
            target: where the URL leads.
            limit_at: loop time at which dialling fails.
            limit_ms: the limit in words.

        Raises:
            Failed: there is no connection, for the reason that it says.
        """
        try:
            async with asyncio.timeout_at(limit_at):
                addresses = await self._look_up(dial, target)
                sock = await self._connect(dial, target, addresses)
                return await self._hand_over(dial, target, sock)
        except TimeoutError:
            raise _timed_out(dial, target, limit_ms) from None

    async def _look_up(self, dial: Dial, target: Target) -> list[str]:
        """The addresses to dial: those that the policy allows."""
        found: Sequence[str]
        if target.is_address:
            found = (target.host,)
        else:
            started = self._clock.monotonic()
            try:
                found = await self._resolve(target.host)
            except Exception as error:
                raise outcome.lookup_failed(target.host, error) from error
            finally:
                dial.dns_us = self._microseconds_since(started)
            if not found:
                raise outcome.lookup_failed(target.host, None)
        allowed = []
        for address in found:
            rule = self._policy.refusal(address)
            if rule is None:
                allowed.append(address)
            else:
                dial.refused.append((address, rule))
        if not allowed:
            raise outcome.blocked(target.host, dial.refused)
        return allowed[:ADDRESSES_DIALLED_MAX]

    async def _connect(self, dial: Dial, target: Target, addresses: Sequence[str]) -> socket.socket:
        """A socket connected to the first of ``addresses`` that answers."""
        dial.phase = _Phase.CONNECT
        dial.dialled = tuple(_endpoint(address, target.port) for address in addresses)
        started = self._clock.monotonic()
        try:
            infos = [info for address in addresses for info in _numeric(address, target.port)]
            sock = await self._connect_to(infos)
        except Exception as error:
            raise outcome.connect_failed(dial.dialled, dial.refused, error) from error
        finally:
            dial.connect_us = self._microseconds_since(started)
        try:
            address, port, *_ = sock.getpeername()
        except OSError as error:
            sock.close()
            raise outcome.connect_failed(dial.dialled, dial.refused, error) from error
        dial.peer = _endpoint(address, port)
        rule = self._policy.refusal(address)
        if rule is not None:
            sock.close()
            raise outcome.blocked(target.host, [(address, rule)])
        return sock

    async def _hand_over(self, dial: Dial, target: Target, sock: socket.socket) -> Link:
        """The link on ``sock``, after the TLS handshake if the URL asks for TLS."""
        loop = asyncio.get_running_loop()
        link = Link(loop, self._clock, (target.scheme, target.host, target.port))
        link.peer = dial.peer or ""
        link.dns_us, link.connect_us = dial.dns_us, dial.connect_us
        if target.scheme == "https":
            link.tls_us = await self._shake_hands(dial, target, link, sock)
        else:
            await loop.create_connection(lambda: link, sock=sock)
        return link

    async def _shake_hands(self, dial: Dial, target: Target, link: Link, sock: socket.socket) -> int:
        """Put ``link`` on ``sock`` behind TLS. Returns the duration in microseconds."""
        dial.phase = _Phase.HANDSHAKE
        started = self._clock.monotonic()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: link,
                sock=sock,
                ssl=self._context,
                server_hostname=target.host,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            )
        except Exception as error:
            raise outcome.handshake_failed(target.host, link.peer, error) from error
        finally:
            dial.tls_us = self._microseconds_since(started)
        return dial.tls_us

    def _microseconds_since(self, started: float) -> int:
        return int((self._clock.monotonic() - started) * 1e6)


def _timed_out(dial: Dial, target: Target, limit_ms: int) -> Failed:
    if dial.phase is _Phase.LOOKUP:
        return outcome.lookup_timed_out(target.host, limit_ms)
    if dial.phase is _Phase.CONNECT:
        return outcome.connect_timed_out(dial.dialled, limit_ms)
    return outcome.handshake_timed_out(dial.peer or target.host, limit_ms)


def _numeric(address: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    """What to give to the socket calls; raises OSError unless ``address`` is a number."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [*socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)]


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
