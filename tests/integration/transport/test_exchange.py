"""What a request looks like to a receiver, and what its answer looks like to the engine."""

import gzip
import ssl
from collections.abc import Callable, Coroutine

import pytest

from posthouse.core.limits import MIB, RESPONSE_KEPT_BYTES_MAX
from posthouse.testing.names import Names
from posthouse.testing.receiver import Answer, EarlyAnswer, Raw, Receiver
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Failure, Request

Post = Callable[..., Coroutine[None, None, Exchange]]


async def test_request_is_what_the_caller_gave_and_no_more(transport: AiohttpTransport, receiver: Receiver) -> None:
    body = b'{"data": "\xc3\xa9 \\u0000"}\n'
    headers = {"Content-Type": "application/json", "webhook-id": "evt_1", "X-Own": "a\tb  c"}
    exchange = await transport.send(Request(f"{receiver.url}/%7Ea?q=%20&x=1", headers, body))
    assert exchange.failure is None
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook/%7Ea?q=%20&x=1", body)
    assert request.headers[0] == ("Host", f"127.0.0.1:{receiver.port}")
    assert request.headers[1:4] == tuple(headers.items())
    assert dict(request.headers[4:-1]).keys() == {"User-Agent", "Accept", "Accept-Encoding"}
    assert request.header("user-agent").startswith("Posthouse/")  # type: ignore[union-attr]  # it is there
    assert request.header("accept-encoding") == "identity"
    assert request.headers[-1] == ("Content-Length", str(len(body)))


async def test_answer_is_reported(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(202, (("X-Trace", "abc"), ("Retry-After", "7")), b"taken"))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status, exchange.error) == (None, 202, None)
    assert exchange.body == b"taken"
    assert exchange.headers == (("Content-Length", "5"), ("X-Trace", "abc"), ("Retry-After", "7"))
    assert exchange.retry_after == "7"
    assert exchange.peer == f"127.0.0.1:{receiver.port}"
    assert not exchange.reused
    timings = exchange.timings
    assert timings.dns_us is None, "an address is not looked up"
    assert timings.tls_us is None
    assert timings.connect_us is not None
    assert timings.first_byte_us is not None
    assert 0 < timings.connect_us + timings.first_byte_us <= timings.total_us


async def test_timings_of_a_name_behind_tls_have_every_phase(
    post: Post, names: Names, server_tls: ssl.SSLContext
) -> None:
    names.addresses["good.example"] = ("127.0.0.1",)
    async with Receiver(tls=server_tls) as receiver:
        exchange = await post(f"https://good.example:{receiver.port}/")
    timings = exchange.timings
    phases = (timings.dns_us, timings.connect_us, timings.tls_us, timings.first_byte_us)
    assert None not in phases
    assert sum(us for us in phases if us is not None) <= timings.total_us


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_success_is_any_2xx(post: Post, receiver: Receiver, status: int) -> None:
    receiver.play(Answer(status))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status) == (None, status)


@pytest.mark.parametrize("status", [101, 300, 304, 400, 404, 410, 429, 500, 503, 599, 999])
async def test_failure_is_any_other_status(post: Post, receiver: Receiver, status: int) -> None:
    receiver.play(Answer(status, close=True))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status) == (Failure.STATUS, status)
    assert exchange.error is not None
    assert str(status) in exchange.error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(post: Post, receiver: Receiver, status: int) -> None:
    async with Receiver() as elsewhere:
        receiver.play(Answer(status, (("Location", elsewhere.url),)))
        exchange = await post(receiver.url)
        assert (exchange.failure, exchange.status) == (Failure.STATUS, status)
        assert exchange.error is not None
        assert "redirects are not followed" in exchange.error
        assert elsewhere.connections == 0


async def test_cookies_are_not_kept(post: Post, receiver: Receiver) -> None:
    receiver.play(Answer(200, (("Set-Cookie", "session=1; Path=/"),)))
    await post(receiver.url)
    await post(receiver.url)
    assert receiver.requests[1].header("cookie") is None


async def test_proxies_of_the_environment_are_not_used(
    post: Post, receiver: Receiver, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    assert (await post(receiver.url)).failure is None


async def test_answer_is_not_decoded(post: Post, receiver: Receiver) -> None:
    """A small answer cannot unfold into a large one."""
    packed = gzip.compress(bytes(10 * MIB))
    receiver.play(Answer(200, (("Content-Encoding", "gzip"),), packed))
    exchange = await post(receiver.url)
    assert exchange.failure is None
    assert exchange.body == packed[:RESPONSE_KEPT_BYTES_MAX]


async def test_only_the_start_of_headers_and_body_is_kept(post: Post, receiver: Receiver) -> None:
    headers = tuple((f"X-{number}", "v" * 1_000) for number in range(6))
    receiver.play(Answer(500, headers, b"b" * 10_000))
    exchange = await post(receiver.url)
    assert exchange.body == b"b" * RESPONSE_KEPT_BYTES_MAX
    assert exchange.headers == (("Content-Length", "10000"), *headers[:4])


async def test_headers_are_kept_fit_to_be_shown(post: Post, receiver: Receiver) -> None:
    """Bytes that are no text do not reach the store as something that it cannot encode."""
    receiver.play(Raw(b"HTTP/1.1 200 OK\r\nX-A: a\xff\x01b\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n"))
    exchange = await post(receiver.url)
    assert exchange.headers[0] == ("X-A", "a\N{REPLACEMENT CHARACTER} b")
    assert exchange.retry_after is None
    str(exchange.headers).encode()


CHUNKS = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, 200, b"abcde"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (INTERIM + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "no body", "interim answers", "no reason"],
)
async def test_every_framing_of_an_answer_is_understood(
    post: Post, receiver: Receiver, answer: bytes, status: int, body: bytes
) -> None:
    receiver.play(Raw(answer))
    exchange = await post(receiver.url)
    assert (exchange.failure, exchange.status, exchange.body) == (None, status, body)


async def test_large_body_is_sent_whole(post: Post, receiver: Receiver) -> None:
    body = bytes(range(256)) * (5 * MIB // 256)
    assert (await post(receiver.url, body)).failure is None
    assert receiver.requests[0].body == body


async def test_early_answer_counts_though_the_body_was_not_taken(post: Post, receiver: Receiver) -> None:
    receiver.play(EarlyAnswer(413, (), b"too much"))
    exchange = await post(receiver.url, bytes(16 * MIB))
    assert exchange.failure in {Failure.STATUS, Failure.PROTOCOL}, "a reset may overtake the answer"
    await receiver.hung_up()
    assert not (await post(receiver.url)).reused, "half a request was sent on the other connection"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-B: b"},
        {"X-A": "a\nX-B: b"},
        {"X-A": "a\rb"},
        {"X-A": "a\0b"},
        {"X-A": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"X-A\r\nX-B": "b"},
        {"X A": "b"},
        {"": "b"},
        {"Content-Length": "1"},
        {"transfer-encoding": "chunked"},
        {"Host": "other.example"},
        {"Expect": "100-continue"},
        {"connection": "close"},
    ],
    ids=str,
)
async def test_header_that_would_change_the_framing_is_not_sent(
    transport: AiohttpTransport, receiver: Receiver, headers: dict[str, str]
) -> None:
    exchange = await transport.send(Request(receiver.url, headers, b"{}"))
    assert exchange.failure is Failure.PROTOCOL
    assert exchange.error is not None
    assert exchange.error.startswith("Nothing was sent: ")
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://user:secret@127.0.0.1/", "http://a.example\\@127.0.0.1/", "http://a b/", ""]
)
async def test_url_that_must_not_be_called_is_not(transport: AiohttpTransport, url: str) -> None:
    exchange = await transport.send(Request(url, {}, b"{}"))
    assert exchange.failure is Failure.PROTOCOL
    assert exchange.error is not None
    assert "secret" not in exchange.error
