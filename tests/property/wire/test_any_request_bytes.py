"""Bytes on a connection to a node, whole or broken, torn anywhere.

What the application gets is what another parser of HTTP (h11) reads from the same bytes, or less: where
ours is stricter, the connection ends. And whatever comes, there are as many new events as answers that
say so.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.limits import REQUEST_HEADER_BYTES_MAX
from posthouse.serving.server import ApiServer
from posthouse.testing.histories.life import Death, Life
from posthouse.testing.histories.receivers import Receivers, World
from posthouse.testing.histories.still_loop import StillLoop
from posthouse.testing.histories.things import shown_time
from posthouse.testing.histories.wire import Answer, Wire, read_answers
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import SeededEntropy

EVENT = b'{"type":"a","data":{"n":1}}'
STATUSES = {200, 202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431}


class Seen(NamedTuple):
    """A request as somebody read it; without headers that say where its body ends."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


FRAMING = {b"content-length", b"transfer-encoding"}

names = st.sampled_from([b"X-A", b"x-a", b"Accept", b"X_b", b"X-", b"!#"])
texts = st.sampled_from([b"", b"1", b"a b", b"a,b", b'"q"', b"\xe9", b"a\tb", b":", b"  "])
plain_headers = st.lists(
    st.tuples(names, st.sampled_from([b":", b": ", b":  ", b":\t"]), texts, st.sampled_from([b"", b" ", b"\t"])),
    max_size=3,
).map(lambda fields: [b"".join(parts) for parts in fields])
targets = st.sampled_from([b"/", b"/v1/events", b"/a%20b?x=1&y", b"/a/../b", b"//x", b"/?", b"*", b"http://a/b"])
sizes = st.lists(st.integers(1, 12), max_size=3)


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[list[bytes], bytes]:
    """Headers that say how long ``body`` is, and the body in that form."""
    if draw(st.booleans()):
        return [b"Content-Length: %d" % len(body)], body
    chunks, rest = [], body
    for size in [*draw(sizes), len(body)]:
        if rest[:size]:
            extension = draw(st.sampled_from([b"", b"", b";a=b", b";a"]))
            number = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(rest[:size])
            chunks.append(number + extension + b"\r\n" + rest[:size] + b"\r\n")
            rest = rest[size:]
    trailer = draw(st.sampled_from([b"", b"", b"X-T: 1\r\n"]))
    coding = draw(st.sampled_from([b"chunked", b"Chunked"]))
    return [b"Transfer-Encoding: " + coding], b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A whole request, clear and within all bounds."""
    body = draw(st.just(EVENT) | st.binary(max_size=20))
    framing, sent = draw(framed(body)) if draw(st.booleans()) else ([], b"")
    method = b"POST" if framing else draw(st.sampled_from([b"GET", b"DELETE", b"POST"]))
    fields = draw(st.permutations([b"Host: a", *framing, *draw(plain_headers)]))
    lines = [b" ".join((method, draw(targets), b"HTTP/1.1")), *fields]
    return b"\r\n".join([*lines, b"", b""]) + sent


#: What stands in a request that is not clear: one thing in the place of another.
SWAPS = [
    (b"\r\n", b"\n"),
    (b"\r\n", b"\r"),
    (b"\r\n", b"\r\n "),
    (b"\r\n\r\n", b"\r\n"),
    (b": ", b" : "),
    (b"HTTP/1.1", b"HTTP/1.0"),
    (b"HTTP/1.1", b"HTTP/1.2"),
    (b"HTTP/1.1", b"http/1.1"),
    (b"HTTP/1.1", b""),
    (b"Host: a", b"Host: a\r\nHost: b"),
    (b"Host: a", b"Host: a, b"),
    (b"Host: a", b"Host: "),
    (b"Host: a", b"X: a"),
    (b"Content-Length: ", b"Content-Length: +"),
    (b"Content-Length: ", b"Content-Length: 0"),
    (b"Content-Length: ", b"Content-Length: 3\r\nContent-Length: "),
    (b"Content-Length: ", b"Content-Length: 3, "),
    (b"Content-Length: ", b"Transfer-Encoding: chunked\r\nContent-Length: "),
    (b"Content-Length: ", b"Content-Length: 1 "),
    (b"Transfer-Encoding: ", b"Content-Length: 5\r\nTransfer-Encoding: "),
    (b"Transfer-Encoding: ", b"Transfer-Encoding: gzip, "),
    (b"Transfer-Encoding: ", b"Transfer-Encoding: x"),
    (b"Transfer-Encoding: ", b"Transfer-Encoding:\x0b"),
    (b"Transfer-Encoding: ", b"Transfer-Encoding : "),
    (b"Transfer-Encoding", b"X-Transfer-Encoding"),
    (b"0\r\n", b"-0\r\n"),
    (b"0\r\n", b"0x0\r\n"),
    (b"0\r\n", b"000\r\n"),
    (b"0\r\n", b" 0\r\n"),
    (b"0\r\n", b"\r\n"),
    (b"X-T: 1", b"Content-Length: 1"),
    (b"POST ", b"post "),
    (b"POST ", b"POST  "),
    (b"GET ", b"\r\nGET "),
    (b"GET ", b"PRI "),
    (b"GET /", b"CONNECT /"),
    (b"a", b"\0"),
    (b"a", b"\xff"),
    (b"a", b"a" * (REQUEST_HEADER_BYTES_MAX + 1)),
]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Requests of which one is changed in one or two places."""
    raw = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            old, new = draw(st.sampled_from(SWAPS))
            places = raw.count(old)
            if places:
                place = draw(st.integers(1, places))
                parts = raw.split(old)
                raw = old.join(parts[:place]) + new + old.join(parts[place:])
        elif raw:
            place = draw(st.integers(0, len(raw) - 1))
            raw = raw[:place] + draw(st.binary(max_size=3)) + raw[place + draw(st.integers(0, 3)) :]
    return raw


def torn(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(raw) for place in places if raw}), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges)]


tears = st.lists(st.integers(0, 10_000), max_size=8)


#: Before a request our parser passes over empty lines, and takes several spaces behind the method for one, as
#: RFC 9112 (2.2 and 3) allows; h11 does not.
LEAD = re.compile(rb"[\r\n]*([A-Za-z]+ )? *")


def read_by_h11(raw: bytes) -> list[Seen]:
    """The requests that h11 reads before it gives up or wants more."""
    seen: list[Seen] = []
    while True:
        raw = LEAD.sub(rb"\1", raw, count=1)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=10 * REQUEST_HEADER_BYTES_MAX)
        connection.receive_data(raw)
        request = read_one(connection)
        if request is None:
            return seen
        seen.append(request)
        raw, _ = connection.trailing_data


def read_one(connection: h11.Connection) -> Seen | None:
    """The first request on a connection, if it is whole and clear."""
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                headers = tuple((bytes(n), bytes(v)) for n, v in request.headers if bytes(n) not in FRAMING)
                return Seen(request.method, request.target, headers, body)
            else:
                return None
    except h11.ProtocolError:
        return None


@dataclass
class App:
    """Keeps every request that came whole."""

    seen: list[Seen] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = tuple((n, v.strip(b" \t")) for n, v in scope["headers"] if n not in FRAMING)
        self.seen.append(Seen(scope["method"].encode(), target, headers, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def talk(loop: StillLoop, pieces: list[bytes]) -> Wire:
    """Say ``pieces`` on a connection of its own, each when the one before has done all it can."""
    accept = loop.accept
    assert accept is not None

    async def connect() -> Wire:
        return Wire(loop, cast("asyncio.Protocol", accept()))

    wire = loop.run(connect())
    for piece in pieces:
        wire.feed(piece)
        loop.settle()
    return wire


@pytest.fixture(scope="module")
def loop() -> Iterator[StillLoop]:
    made = StillLoop(ManualClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(loop: StillLoop) -> App:
    made = App()
    loop.run(ApiServer(made, ManualClock()).start("", 0))
    return made


#: The start of an absolute target.
AUTHORITY = re.compile(rb"^[a-z]+://[^/]*", re.IGNORECASE)


def same(ours: Seen, theirs: Seen) -> bool:
    """Whether two readers read the same; ours takes the path out of an absolute target."""
    target = AUTHORITY.sub(b"", theirs.target.split(b"#")[0])
    return ours._replace(target=b"") == theirs._replace(target=b"") and ours.target.rstrip(b"?") == target.rstrip(b"?")


@given(many=st.lists(requests(), min_size=1, max_size=5), places=tears)
def test_requests_come_in_as_they_were_sent_however_they_are_torn(
    loop: StillLoop, app: App, many: list[bytes], places: list[int]
) -> None:
    app.seen.clear()
    raw = b"".join(many)
    wire = talk(loop, torn(raw, places))
    expected = read_by_h11(raw)
    assert len(expected) == len(many)
    answers, rest = read_answers(bytes(wire.written))
    assert ([answer.status for answer in answers], rest) == ([200] * len(many), b"")
    for ours, theirs in zip(app.seen, expected, strict=True):
        assert same(ours, theirs)
    assert not wire.closed
    wire.close()
    loop.settle()


@given(raw=broken() | st.binary(max_size=60), places=tears)
def test_no_request_comes_in_that_another_reader_reads_otherwise(
    loop: StillLoop, app: App, raw: bytes, places: list[int]
) -> None:
    app.seen.clear()
    wire = talk(loop, torn(raw, places))
    answers, rest = read_answers(bytes(wire.written))
    assert rest == b""
    assert [answer.status for answer in answers].count(200) == len(app.seen)
    assert all(answer.status in STATUSES for answer in answers)
    expected = read_by_h11(raw)
    assert len(app.seen) <= len(expected)
    for ours, theirs in zip(app.seen, expected, strict=False):
        assert same(ours, theirs)
    if any(answer.status != 200 for answer in answers):
        assert wire.ended or wire.closed, "what came behind a refusal could be taken for a request"
        assert answers[-1].status != 200
    wire.close()
    loop.settle()


# -- a whole node -----------------------------------------------------------------------------


class House:
    """A node to which anything is said."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        death = Death(directory)
        self.life = Life(
            directory,
            clock=self.clock,
            entropy=SeededEntropy(),
            transport=Receivers(World(self.clock), lambda: False),
            death=death,
        )
        self.key = str(self.life.first_key)

    def events_since(self, ms: int) -> int:
        answer = self.life.ask("GET", "/v1/events", key=self.key, query={"since": shown_time(ms), "limit": 500})
        assert isinstance(answer, Answer)
        return len(answer.json()["data"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house") / "data")
    yield made
    made.life.stop()


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    """A request to publish; ``KEY`` stands for an API key."""
    body = draw(st.sampled_from([EVENT, EVENT, b'{"type":"a","data":1,"id":"x"}', b'{"type":""}', b"[", b""]))
    path = draw(st.sampled_from([b"/v1/events", b"/v1/events", b"/v1/events/batch"]))
    if path.endswith(b"batch"):
        body = b'{"events":[' + b",".join([body] * draw(st.integers(1, 2))) + b"]}"
    framing, sent = draw(framed(body))
    fields = [b"Host: a", b"Authorization: Bearer KEY", b"Content-Type: application/json", *framing]
    more = [b"Idempotency-Key: k", b"Expect: 100-continue", b"Content-Encoding: gzip", b"Connection: close"]
    fields += draw(st.lists(st.sampled_from(more), max_size=2))
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", *draw(st.permutations(fields)), b"", b""]) + sent


@st.composite
def maybe_broken(draw: st.DrawFn) -> bytes:
    raw = b"".join(draw(st.lists(publishes(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=2)) + raw[place + draw(st.integers(0, 2)) :]
    return raw


@given(raw=maybe_broken(), places=tears, hangs_up=st.booleans())
def test_there_are_as_many_new_events_as_answers_say(
    house: House, raw: bytes, places: list[int], hangs_up: bool
) -> None:
    house.clock.advance(1)
    wire = house.life.say(torn(raw.replace(b"KEY", house.key.encode()), places), hangs_up=hangs_up)
    answers, rest = read_answers(bytes(wire.written))
    assert rest == b""
    told = [answer.json() for answer in answers if answer.status == 202]
    published = [one for answer in told for one in answer.get("events", [answer])]
    assert house.events_since(house.clock.now_ms()) == sum(not one["duplicate"] for one in published)
    for answer in answers:
        assert answer.status in STATUSES
        kind = "application/json" if answer.status == 202 else "application/problem+json"
        assert answer.headers["content-type"] == kind
