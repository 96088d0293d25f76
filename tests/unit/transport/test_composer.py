"""A request is framed by the composer alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.transport import composer as module
from posthouse.transport.composer import RESERVED, Composer
from posthouse.transport.outcome import Failed
from posthouse.transport.protocol import Failure

URL = "https://a.example/hook"
NAME = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"(),/:;<=>?@[\\]{}')
VALUE = "\t" + "".join(chr(code) for code in range(0x20, 0x7F))

names = st.text(NAME, min_size=1, max_size=30).filter(lambda name: name.lower() not in RESERVED)
values = st.text(VALUE, max_size=60)


@pytest.fixture
def composer() -> Composer:
    return Composer("Agent/1")


def compose(composer: Composer, headers: dict[str, str], body: bytes = b"{}", url: str = URL) -> bytes:
    return composer.compose(composer.route(url), headers, body)


def test_request_on_the_wire(composer: Composer) -> None:
    assert compose(composer, {"Content-Type": "application/json", "webhook-id": "evt_1"}) == (
        b"POST /hook HTTP/1.1\r\n"
        b"Host: a.example\r\n"
        b"Content-Type: application/json\r\n"
        b"webhook-id: evt_1\r\n"
        b"User-Agent: Agent/1\r\n"
        b"Accept: */*\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Length: 2\r\n"
        b"\r\n"
        b"{}"
    )


@pytest.mark.parametrize(
    ("url", "start", "origin"),
    [
        ("https://a.example", "POST / HTTP/1.1\r\nHost: a.example\r\n", ("https", "a.example", 443)),
        ("https://a.example:443/", "POST / HTTP/1.1\r\nHost: a.example\r\n", ("https", "a.example", 443)),
        ("http://A.Example:8080/P?q", "POST /P?q HTTP/1.1\r\nHost: a.example:8080\r\n", ("http", "a.example", 8080)),
        ("http://[2001:DB8::1]/", "POST / HTTP/1.1\r\nHost: [2001:db8::1]\r\n", ("http", "2001:db8::1", 80)),
        ("http://[::1]:81/", "POST / HTTP/1.1\r\nHost: [::1]:81\r\n", ("http", "::1", 81)),
        ("https://a.example?q=%25", "POST /?q=%25 HTTP/1.1\r\nHost: a.example\r\n", ("https", "a.example", 443)),
    ],
)
def test_route(composer: Composer, url: str, start: str, origin: tuple[str, str, int]) -> None:
    route = composer.route(url)
    assert (f"POST{route.start}", route.origin) == (start, origin)
    assert composer.route(url) is route


@given(headers=st.dictionaries(names, values, max_size=8), body=st.binary(max_size=100))
def test_every_header_arrives_as_itself_and_alone(headers: dict[str, str], body: bytes) -> None:
    """Read back by the rules of RFC 9112, a request has the headers that it was given, and its own."""
    composer = Composer("Agent/1")
    head, _, rest = compose(composer, headers, body).partition(b"\r\n\r\n")
    assert rest == body
    line, *fields = head.decode("ascii").split("\r\n")
    assert line == "POST /hook HTTP/1.1"
    read = [tuple(field.split(": ", 1)) for field in fields]
    last = {name.lower(): (name, value) for name, value in headers.items()}
    counted = [(name, value) for name, value in headers.items() if last[name.lower()] == (name, value)]
    assert read[0] == ("Host", "a.example")
    assert read[1 : 1 + len(counted)] == counted
    own = {"User-Agent": "Agent/1", "Accept": "*/*", "Accept-Encoding": "identity"}
    missing = [(name, value) for name, value in own.items() if name.lower() not in last]
    assert read[1 + len(counted) :] == [*missing, ("Content-Length", str(len(body)))]


@given(headers=st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), min_size=1, max_size=3))
def test_what_is_no_header_is_refused(headers: dict[str, str]) -> None:
    """Whatever the text: the request is refused, or has exactly one line for each header that counts."""
    composer = Composer("Agent/1")
    try:
        request = compose(composer, headers)
    except Failed:
        return
    assert request.isascii()
    head = request.partition(b"\r\n\r\n")[0]
    own = {"user-agent", "accept", "accept-encoding"} | {name.lower() for name in headers}
    assert head.count(b"\r") == head.count(b"\n") == 2 + len(own)
    assert b"\0" not in head


@pytest.mark.parametrize("name", [*sorted(RESERVED), *sorted(name.upper() for name in RESERVED)])
def test_framing_headers_are_refused(composer: Composer, name: str) -> None:
    with pytest.raises(Failed, match="is not for the caller to set"):
        compose(composer, {"X-Ok": "1", name: "x"})


def test_refusal_names_the_header_and_not_its_value(composer: Composer) -> None:
    with pytest.raises(Failed) as caught:
        compose(composer, {"Authorization": "secret\r\nX: y"})
    assert "Authorization" in caught.value.error
    assert "secret" not in caught.value.error


def test_of_names_that_differ_in_case_the_last_counts(composer: Composer) -> None:
    request = compose(composer, {"User-Agent": "one", "user-agent": "two", "USER-AGENT": "three"})
    assert request.lower().count(b"user-agent") == 1
    assert b"USER-AGENT: three\r\n" in request


def test_url_is_refused_without_being_repeated(composer: Composer) -> None:
    for _ in range(2):
        with pytest.raises(Failed) as caught:
            composer.route("https://user:secret@a.example/")
        assert caught.value.failure is Failure.PROTOCOL
        assert "secret" not in caught.value.error


def test_memory_of_urls_and_names_is_bounded(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED_MAX", 4)
    for number in range(20):
        compose(composer, {f"X-{number}": "v"}, url=f"https://a.example/{number}")
        assert len(composer._routes) <= 4
        assert len(composer._templates) <= 4
