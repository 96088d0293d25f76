"""What the engine asks of a transport, and the names of everything that can go wrong."""

from enum import StrEnum
from typing import Protocol

import msgspec

from posthouse.core.limits import RESPONSE_KEPT_BYTES_MAX


class Failure(StrEnum):
    """Why an attempt failed. The class decides nothing; it tells people where to look."""

    DNS = "dns"  #: the name has no address, or the resolver failed
    REFUSED = "refused"  #: the connection was refused, reset or unreachable before a request was sent
    CONNECT_TIMEOUT = "connect_timeout"  #: no connection (TCP and TLS) within the connect limit
    TLS = "tls"  #: the handshake failed or the certificate is not valid for the name
    READ_TIMEOUT = "read_timeout"  #: connected, but the whole exchange did not end in time
    PROTOCOL = "protocol"  #: the answer is not HTTP, or the connection broke in the middle
    TOO_LARGE = "too_large"  #: the headers are beyond the bound; of a body beyond it the rest is not read
    BLOCKED_ADDRESS = "blocked_address"  #: the address must not be called
    STATUS = "status"  #: an answer came, and its status is no success: not 2xx, or not what the endpoint counts as one


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request to send."""

    url: str
    headers: dict[str, str]
    body: bytes
    connect_timeout_ms: int = 5_000
    timeout_ms: int = 60_000  #: the whole exchange, body included
    kept_bytes: int = RESPONSE_KEPT_BYTES_MAX  #: of the answer's body, up to ``RESPONSE_READ_BYTES_MAX``
    method: str = "POST"


class Timings(msgspec.Struct, frozen=True, gc=False):
    """Microseconds per phase, also of one that failed; None for a phase that did not take place."""

    total_us: int
    dns_us: int | None = None
    connect_us: int | None = None
    tls_us: int | None = None
    first_byte_us: int | None = None  #: from the request being written to the first byte of an answer


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of one request.

    ``failure`` is None exactly when a 2xx answer came whole, or as far as its body is read at all. An answer that is
    not 2xx is a ``status`` failure even if its body broke off. ``error`` is None exactly when ``failure`` is.
    """

    failure: Failure | None
    timings: Timings
    status: int | None = None
    error: str | None = None  #: one line, no secrets
    headers: tuple[tuple[str, str], ...] = ()  #: of the answer, at most 4 KiB in all
    body: bytes = b""  #: the first ``kept_bytes`` of the request
    peer: str | None = None  #: ``address:port`` that was dialled
    reused: bool = False  #: sent on a kept-alive connection
    retry_after: str | None = None  #: the Retry-After header, if any


class Transport(Protocol):
    """Sends requests. Never raises for anything that the other side or the network does."""

    async def send(self, request: Request) -> Exchange:
        """Send once (one free resend on a kept-alive connection that died before any byte came)."""
        ...

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        ...
