"""Whatever is raised has a class and a line that can be shown."""

import errno
import socket
import ssl

import pytest
from aiohttp import ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.limits import EXCHANGE_ERROR_CHARS_MAX
from posthouse.transport import outcome
from posthouse.transport.outcome import DeadlinePassed, Disconnected, Failed, HeadTooLarge
from posthouse.transport.protocol import Failure


def verification_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def tls_error(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] something")
    error.reason = reason  # type: ignore[assignment]  # None is what some errors have
    return error


ERRORS: list[Exception] = [
    DeadlinePassed(),
    Disconnected(),
    HeadTooLarge(),
    ServerDisconnectedError(),
    ClientOSError(errno.ECONNRESET, "Connection reset by peer"),
    ClientPayloadError("secret"),
    HttpProcessingError(code=400, message="Expected HTTP/:\n\n  b'secret'\n    ^"),
    BadStatusLine("secret"),
    ConnectionResetError(),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    TimeoutError(),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    socket.gaierror(),
    OSError(),
    OSError("Multiple exceptions: [Errno 111], [Errno 113]"),
    OSError(errno.ENETUNREACH, "Network is unreachable"),
    UnicodeError("secret"),
    RuntimeError("secret"),
    ValueError("secret\nsecret"),
    tls_error("WRONG_VERSION_NUMBER"),
    tls_error("TLSV1_ALERT_PROTOCOL_VERSION"),
    tls_error(None),
    verification_error(),
]


def mapped(error: Exception) -> list[Failed]:
    """What every mapping makes of ``error``."""
    return [
        outcome.lookup_failed("a.example", error),
        outcome.connect_failed(["192.0.2.1:443"], [("10.0.0.1", "private")], error),
        outcome.handshake_failed("a.example", "192.0.2.1:443", error),
        *(
            outcome.exchange_failed(error, timeout_ms=100, answered=answered, status=status)
            for answered, status in ((False, None), (True, None), (True, 200), (True, 500))
        ),
    ]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_every_error_has_a_line_fit_to_be_shown(error: Exception) -> None:
    """And none that repeats what the other side sent."""
    for failed in mapped(error):
        assert isinstance(failed.failure, Failure)
        assert failed.error
        assert failed.error.isprintable()
        assert len(failed.error) <= EXCHANGE_ERROR_CHARS_MAX
        assert "secret" not in failed.error


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_class_belongs_to_the_phase(error: Exception) -> None:
    lookup, connect, handshake, *exchanges = (failed.failure for failed in mapped(error))
    assert lookup is Failure.DNS
    assert connect in {Failure.REFUSED, Failure.CONNECT_TIMEOUT}
    assert handshake is Failure.TLS
    assert set(exchanges) <= {
        Failure.READ_TIMEOUT,
        Failure.PROTOCOL,
        Failure.TOO_LARGE,
        Failure.REFUSED,
        Failure.TLS,
        Failure.STATUS,
    }
    assert exchanges[-1] is Failure.STATUS, "an answer that is not 2xx says more than the way it ended"


@pytest.mark.parametrize(
    ("failed", "failure", "line"),
    [
        (outcome.lookup_failed("a.example", None), Failure.DNS, "The name a.example has no address."),
        (
            outcome.lookup_failed("a.example", socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            Failure.DNS,
            "The name a.example could not be resolved: Name or service not known.",
        ),
        (
            outcome.lookup_timed_out("a.example", 5_000),
            Failure.DNS,
            "The name a.example could not be resolved within 5000 ms.",
        ),
        (
            outcome.blocked("a.example", [("10.0.0.1", "private")]),
            Failure.BLOCKED_ADDRESS,
            "a.example leads to 10.0.0.1 (private), which must not be called; --allow-network can allow a network.",
        ),
        (
            outcome.blocked("10.0.0.1", [("10.0.0.1", "private")]),
            Failure.BLOCKED_ADDRESS,
            "10.0.0.1 (private) must not be called; --allow-network can allow a network.",
        ),
        (
            outcome.connect_failed(["192.0.2.1:80"], [], ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
            Failure.REFUSED,
            "No connection to 192.0.2.1:80: connection refused.",
        ),
        (
            outcome.connect_failed(["192.0.2.1:80"], [], OSError(errno.EHOSTUNREACH, "No route to host")),
            Failure.REFUSED,
            "No connection to 192.0.2.1:80: no route to host.",
        ),
        (
            outcome.connect_failed(["192.0.2.1:80"], [("10.0.0.1", "private")], TimeoutError(errno.ETIMEDOUT, "")),
            Failure.CONNECT_TIMEOUT,
            "No connection to 192.0.2.1:80 (blocked and left out: 10.0.0.1): connection timed out.",
        ),
        (
            outcome.handshake_failed("a.example", "192.0.2.1:443", verification_error()),
            Failure.TLS,
            "The certificate of a.example (192.0.2.1:443) is not valid: certificate has expired.",
        ),
        (
            outcome.handshake_failed("a.example", "192.0.2.1:443", tls_error("WRONG_VERSION_NUMBER")),
            Failure.TLS,
            "192.0.2.1:443 does not speak TLS; the URL may have to start with http://.",
        ),
        (
            outcome.handshake_failed("a.example", "192.0.2.1:443", tls_error("TLSV1_ALERT_PROTOCOL_VERSION")),
            Failure.TLS,
            "The TLS handshake with a.example (192.0.2.1:443) failed: tlsv1 alert protocol version.",
        ),
        (
            outcome.exchange_failed(tls_error("SSLV3_ALERT_BAD_CERT"), timeout_ms=1, answered=False, status=None),
            Failure.TLS,
            "TLS broke off: sslv3 alert bad cert.",
        ),
        (
            outcome.exchange_failed(DeadlinePassed(), timeout_ms=60_000, answered=False, status=None),
            Failure.READ_TIMEOUT,
            "No answer within 60000 ms.",
        ),
        (
            outcome.exchange_failed(HeadTooLarge(), timeout_ms=1, answered=True, status=None),
            Failure.TOO_LARGE,
            "The headers of the answer are larger than 16 KiB.",
        ),
        (
            outcome.exchange_failed(ServerDisconnectedError(), timeout_ms=1, answered=False, status=None),
            Failure.PROTOCOL,
            "The connection broke before any answer: closed by the other side.",
        ),
        (
            outcome.exchange_failed(ClientOSError(errno.ECONNRESET, ""), timeout_ms=1, answered=True, status=None),
            Failure.PROTOCOL,
            "The connection broke in the middle of the answer: connection reset by peer.",
        ),
        (
            outcome.exchange_failed(
                HttpProcessingError(message="Expected HTTP/:\n b'x'"), timeout_ms=1, answered=True, status=None
            ),
            Failure.PROTOCOL,
            "The answer is not valid HTTP: Expected HTTP/.",
        ),
        (
            outcome.exchange_failed(ClientPayloadError(), timeout_ms=1, answered=True, status=503),
            Failure.STATUS,
            "The endpoint answered 503 Service Unavailable. The body did not arrive whole.",
        ),
    ],
    ids=lambda value: value.error if isinstance(value, Failed) else "",
)
def test_lines_that_people_read(failed: Failed, failure: Failure, line: str) -> None:
    assert (failed.failure, failed.error) == (failure, line)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (302, "The endpoint answered 302 Found; redirects are not followed."),
        (410, "The endpoint answered 410 Gone."),
        (777, "The endpoint answered 777."),
    ],
)
def test_line_of_a_status(status: int, line: str) -> None:
    assert outcome.status_line(status) == line


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = outcome.one_line(text)
    assert len(line) <= EXCHANGE_ERROR_CHARS_MAX
    assert line.isprintable()
    assert outcome.one_line(line) == line
