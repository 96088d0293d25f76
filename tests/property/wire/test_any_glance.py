"""What is recognised at a glance is what the parser finds in the same bytes: one request, and nothing behind it."""

from collections.abc import Sequence

import httptools
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from posthouse.core.head import headers_of
from posthouse.core.limits import REQUEST_HEADER_BYTES_MAX, REQUEST_HEADERS_MAX
from posthouse.serving.glance import BODY_BYTES_MAX, Glance

glance = Glance(b"/in/")


class Parsed:
    """What llhttp finds."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.begun = self.ended = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


lines = st.sampled_from(
    [
        b"Host: a",
        b"host:\ta \t",
        b"Host:",
        b"Host : a",
        b"Content-Length: 2",
        b"content-length:2",
        b"Content-Length: 02",
        b"Content-Length: +2",
        b"Content-Length: 2, 2",
        b"Content-Length: 2 ",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:identity",
        b"Transfer-Encoding : chunked",
        b"Expect: 100-continue",
        b"Connection: keep-alive",
        b"Connection: Keep-Alive, Upgrade",
        b"connection: close",
        b"Proxy-Connection: close",
        b"Upgrade: websocket",
        b"X-A: \xe9\t:",
        b"X-A;b: 1",
        b"\xe9: 1",
        b": 1",
        b"X-A",
        b" folded",
        b"X-A: 1\nContent-Length: 3",
        b"X-A: 1\rb",
        b"X-A: \x00",
        b"X-A: \x7f",
        b"",
    ]
)


#: What may be unusual of a request, and in which ways; what is usual stands first.
PARTS: dict[str, list[bytes]] = {
    "method": [b"POST", b"PUT", b"PATCH", b"GET", b"post", b"POST "],
    "target": [b"/in/x", b"/in/x?a=%00&b", b"/in/", b"/in/x#y", b"/in", b"/in/\xe9", b'/in/"'],
    "version": [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"],
    "host": [b"Host: a", b""],
    "length": [b"Content-Length: 2", b""],
    "end": [b"\r\n", b"\n"],
    "body": [b"{}", b"", b"{} ", b"{}POST /in/x HTTP/1.1\r\nHost: a\r\n\r\n"],
    "put": [b"", b"\r\n", b" ", b"\x00", b":", b"0"],
}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A plain request, but for a part or two."""
    odd = draw(st.sets(st.sampled_from(sorted(PARTS)), max_size=2))
    part = {name: draw(st.sampled_from(ways)) if name in odd else ways[0] for name, ways in PARTS.items()}
    plain = [line for line in (part["host"], part["length"]) if line]
    fields = draw(st.permutations([*plain, *draw(st.lists(lines, max_size=1))]))
    first = b" ".join((part["method"], part["target"], part["version"]))
    data: bytes = part["end"].join([first, *fields, b"", part["body"]])
    at = draw(st.integers(0, len(data)))
    return data[:at] + part["put"] + data[at:]


@settings(max_examples=500)
@given(data=requests())
def test_it_is_what_the_parser_finds(data: bytes) -> None:
    glimpse = glance(data)
    event("plain" if glimpse else "not recognised")
    if glimpse is None:
        return
    parsed = Parsed(data)
    assert (parsed.begun, parsed.ended) == (1, 1)
    assert parsed.parser.get_http_version() == "1.1"
    assert parsed.parser.should_keep_alive()
    assert not parsed.parser.should_upgrade()
    headers = [(name.decode(), value.decode("latin-1")) for name, value in parsed.headers]
    # llhttp leaves the blanks behind a value where they are; they are no part of it.
    assert headers_of(glimpse.head) == tuple((name, value.strip(" \t")) for name, value in headers)
    assert glimpse.host == dict(headers_of(glimpse.head))["host"]
    assert (glimpse.method, glimpse.target) == (parsed.parser.get_method().decode(), parsed.url.decode())
    assert glimpse.body == parsed.body


def request(fields: Sequence[bytes], body: bytes = b"{}", target: bytes = b"/in/x") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"POST %b HTTP/1.1" % target, b"Host: a", *fields, length, b"", body])


@pytest.mark.parametrize("field", [b"Connection: keep-alive", b"CONNECTION:Keep-Alive", b"Accept: */*", b"X-\xc3: 1"])
def test_what_most_senders_send_is_recognised(field: bytes) -> None:
    assert (glance(request([field])) is None) is (b"\xc3" in field)


@pytest.mark.parametrize("field", [b"Connection: close", b"Expect: 100-continue", b"Upgrade: h2c", b"Host: b"])
def test_what_asks_for_more_goes_to_the_parser(field: bytes) -> None:
    assert glance(request([field])) is None


def test_what_is_beyond_a_bound_goes_to_the_parser() -> None:
    assert glance(request([b"a:1"] * (REQUEST_HEADERS_MAX - 2))) is not None
    assert glance(request([b"a:1"] * (REQUEST_HEADERS_MAX - 1))) is None
    assert glance(request([], b"x" * BODY_BYTES_MAX)) is not None
    assert glance(request([], b"x" * (BODY_BYTES_MAX + 1))) is None
    spare = REQUEST_HEADER_BYTES_MAX - len(request([b"a:"], b"12", b"/in/x")) + 2
    assert glance(request([b"a:" + b"1" * spare], b"12")) is not None
    assert glance(request([b"a:" + b"1" * (spare + 1)], b"12")) is None
    assert glance(request([], target=b"/in")) is None
