"""What went wrong, as a failure class and one line for people: total, whatever was raised.

Nothing that the other side sent is repeated in a line, and no URL: both can hold secrets. Hosts,
addresses and ports are named, because that is where people have to look.
"""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import ClientPayloadError
from aiohttp.http_exceptions import HttpProcessingError

from posthouse.core.limits import EXCHANGE_ERROR_CHARS_MAX, KIB, RESPONSE_HEADER_BYTES_MAX
from posthouse.transport.protocol import Failure

_REDIRECTS: Final = range(300, 400)
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


class Failed(Exception):
    """An attempt came to nothing.

    Args:
        failure: its class.
        error: one line for people, bounded here.
    """

    def __init__(self, failure: Failure, error: str) -> None:
        super().__init__(failure, error)
        self.failure = failure
        self.error = one_line(error)


class DeadlinePassed(Exception):
    """The time for the whole exchange is over."""


class HeadTooLarge(Exception):
    """The status line and headers of the answer, with all interim answers before them, are beyond the bound."""


class Disconnected(Exception):
    """The connection was gone before the request was written to it."""


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, at most ``EXCHANGE_ERROR_CHARS_MAX`` long."""
    line = " ".join(printable(text[: 2 * EXCHANGE_ERROR_CHARS_MAX]).split())
    return line if len(line) <= EXCHANGE_ERROR_CHARS_MAX else line[: EXCHANGE_ERROR_CHARS_MAX - 1] + "…"


def printable(text: str) -> str:
    """``text`` with a space in place of each character that cannot be shown."""
    return "".join(char if char.isprintable() else " " for char in text)


def unsendable(why: str) -> Failed:
    """The request itself is not one that may be written to a connection. Nothing was sent."""
    return Failed(Failure.PROTOCOL, f"Nothing was sent: {why}")


def closed() -> Failed:
    """The transport was closed before the exchange came to an end."""
    return Failed(Failure.PROTOCOL, "The node stopped before an answer came.")


def lookup_failed(host: str, error: BaseException | None) -> Failed:
    """The name has no address (``error`` None), or looking it up raised ``error``."""
    if error is None:
        return Failed(Failure.DNS, f"The name {host} has no address.")
    if isinstance(error, socket.gaierror):
        return Failed(Failure.DNS, f"The name {host} could not be resolved: {error.strerror or 'unknown error'}.")
    if isinstance(error, UnicodeError):
        return Failed(Failure.DNS, f"The name {host} is not a valid host name.")
    return Failed(Failure.DNS, f"The name {host} could not be resolved: {_reason(error)}.")


def lookup_timed_out(host: str, limit_ms: int) -> Failed:
    """The resolver did not answer within the connect limit."""
    return Failed(Failure.DNS, f"The name {host} could not be resolved within {limit_ms} ms.")


def blocked(host: str, refused: Sequence[tuple[str, str]]) -> Failed:
    """None of the addresses may be called; ``refused`` holds each with the name of the rule."""
    listed = ", ".join(f"{address} ({rule})" for address, rule in refused)
    who = listed if refused[0][0] == host else f"{host} leads to {listed}, which"
    return Failed(Failure.BLOCKED_ADDRESS, f"{who} must not be called; --allow-network can allow a network.")


def connect_failed(dialled: Sequence[str], refused: Sequence[tuple[str, str]], error: BaseException) -> Failed:
    """No TCP connection to any of the ``dialled`` addresses; ``refused`` ones were left out."""
    where = " or ".join(dialled)
    left_out = f" (blocked and left out: {', '.join(address for address, _ in refused)})" if refused else ""
    timed_out = isinstance(error, OSError) and error.errno == errno.ETIMEDOUT
    failure = Failure.CONNECT_TIMEOUT if timed_out else Failure.REFUSED
    return Failed(failure, f"No connection to {where}{left_out}: {_reason(error)}.")


def connect_timed_out(dialled: Sequence[str], limit_ms: int) -> Failed:
    """No TCP connection within the connect limit."""
    return Failed(Failure.CONNECT_TIMEOUT, f"No connection to {' or '.join(dialled)} within {limit_ms} ms.")


def handshake_timed_out(peer: str, limit_ms: int) -> Failed:
    """Connected, but the TLS handshake did not end within the connect limit."""
    return Failed(Failure.CONNECT_TIMEOUT, f"Connected to {peer}, but no TLS handshake within {limit_ms} ms.")


def handshake_failed(host: str, peer: str, error: BaseException) -> Failed:
    """The TLS handshake failed, or the certificate is not valid for the name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return Failed(Failure.TLS, f"The certificate of {host} ({peer}) is not valid: {reason}.")
    if isinstance(error, ssl.SSLError):
        if getattr(error, "reason", None) in _NO_TLS:
            return Failed(Failure.TLS, f"{peer} does not speak TLS; the URL may have to start with http://.")
        return Failed(Failure.TLS, f"The TLS handshake with {host} ({peer}) failed: {_tls_reason(error)}.")
    return Failed(Failure.TLS, f"The connection to {peer} broke during the TLS handshake.")


def exchange_failed(error: BaseException, *, timeout_ms: int, answered: bool, status: int | None) -> Failed:
    """The exchange on an open connection did not end well.

    Args:
        error: what was raised.
        timeout_ms: the limit of the whole exchange.
        answered: whether any byte of an answer came.
        status: HTTP status, if the headers came whole.
    """
    if status is not None and not is_success(status):
        return Failed(Failure.STATUS, f"{status_line(status)} The body did not arrive whole.")
    if isinstance(error, DeadlinePassed):
        return Failed(Failure.READ_TIMEOUT, _timed_out(timeout_ms, answered=answered, status=status))
    if isinstance(error, HeadTooLarge):
        kib = RESPONSE_HEADER_BYTES_MAX // KIB
        return Failed(Failure.TOO_LARGE, f"The headers of the answer are larger than {kib} KiB.")
    if isinstance(error, Disconnected):
        return Failed(Failure.REFUSED, "The connection was closed before the request was sent.")
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLError):
            return Failed(Failure.TLS, f"TLS broke off: {_tls_reason(cause)}.")
    return Failed(Failure.PROTOCOL, _broken_off(error, answered=answered, status=status))


def is_success(status: int) -> bool:
    """Whether the endpoint took the request."""
    return 200 <= status < 300  # noqa: PLR2004  # the class of successful answers


def status_line(status: int) -> str:
    """What an answer that is not 2xx says."""
    answered = f"The endpoint answered {status} {_PHRASES.get(status, '')}".rstrip()
    if status in _REDIRECTS:
        return f"{answered}; redirects are not followed."
    return f"{answered}."


def _timed_out(timeout_ms: int, *, answered: bool, status: int | None) -> str:
    if status is not None:
        return f"The answer, status {status}, was not complete within {timeout_ms} ms."
    if answered:
        return f"The headers of the answer were not complete within {timeout_ms} ms."
    return f"No answer within {timeout_ms} ms."


def _broken_off(error: BaseException, *, answered: bool, status: int | None) -> str:
    if isinstance(error, HttpProcessingError):
        return f"The answer is not valid HTTP: {_syntax(error)}."
    if isinstance(error, ClientPayloadError):
        return f"The answer, status {status}, broke off before the end of its body."
    if status is not None:
        return f"The answer, status {status}, broke off: {_reason(error)}."
    when = "in the middle of the answer" if answered else "before any answer"
    return f"The connection broke {when}: {_reason(error)}."


def _syntax(error: HttpProcessingError) -> str:
    """The parser's own words; what follows its first line repeats what the other side sent."""
    lines = [line.strip() for line in error.message.splitlines()]
    first = next((line for line in lines if line), "")
    return first.rstrip(":.") if first.endswith((":", ".")) and "'" not in first else "it cannot be parsed"


def _tls_reason(error: ssl.SSLError) -> str:
    return (getattr(error, "reason", None) or "no reason was given").replace("_", " ").lower()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.args and isinstance(error.args[0], str):
        return error.args[0].rstrip(".")
    if isinstance(error, ConnectionError) or "Disconnected" in type(error).__name__:
        return "closed by the other side"
    return type(error).__name__
