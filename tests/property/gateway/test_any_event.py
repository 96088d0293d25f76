"""Whatever is published, byte for byte: what a strict reader of JSON takes is taken, and as that reader reads it.

The other reader is the standard library's, with what it is lenient about taken away, and a check of the
fields that was written from the description of the API.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.envelope import body as envelope_body
from posthouse.core.errors import InvalidInput, MalformedJson, PosthouseError, TooLarge
from posthouse.core.limits import EVENT_BODY_BYTES_MAX, JSON_DEPTH_MAX
from posthouse.core.model import Environment
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.publish import Publisher
from posthouse.gateway.routes import EventRouter
from posthouse.store.protocol import Accepted, AcceptRequest, CatalogueSnapshot, NewEvent
from posthouse.testing.manual_clock import ManualClock

FIELDS = {"type", "data", "tenant", "id", "occurred_at", "ordering_key"}
FORMS = {
    "type": re.compile(r"[A-Za-z0-9_.:/-]{1,128}"),
    "tenant": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/+=~-]{0,127}"),
    "id": re.compile(r"(?!evt_[0-7][0-9a-hjkmnp-tv-z]{12}$)[A-Za-z0-9_:/@+=~-]{1,128}"),
    "occurred_at": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"),
    "ordering_key": re.compile(r".{1,128}", re.DOTALL),
}

blanks = st.sampled_from([b"", b"", b"", b" ", b"\t", b"\r\n", b"\x0b", b"\xc2\xa0", b"\xef\xbb\xbf", b"\0"])
numbers = st.sampled_from([b"0", b"-0", b"1e400", b"-1.5E+3", b"12345678901234567890123"]) | st.sampled_from(
    [b"01", b"+1", b".5", b"1.", b"1e", b"-", b"0x1", b"1_0", b"NaN", b"Infinity", b"-Infinity"]
)
words = st.sampled_from([b"null", b"true", b"false", b"True", b"nul", b"undefined", b""])
characters = st.sampled_from(
    [b"a", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\\n", b"\\u00e9", b"\\ud83d\\ude00", b"\\\\", b'\\"', b"\\/", b"[", b"{"]
) | st.sampled_from(
    [b"\\u0000", b"\\ud800", b"\\udc00", b"\\x", b"\\u12", b"\x00", b"\x01", b"\n", b"\xff", b"\xc0\x80", b"'"]
)
strings = st.lists(characters, max_size=5).map(lambda parts: b'"' + b"".join(parts) + b'"') | st.sampled_from(
    [b'"a', b"'a'", b'a"', b'""']
)


def enclosed(opening: bytes, closing: bytes, items: list[bytes], comma: bytes) -> bytes:
    return opening + comma.join(items) + closing


def nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    commas = st.sampled_from([b",", b",", b", ", b",,", b";", b" "])
    pairs = st.tuples(strings, st.sampled_from([b":", b" : ", b"=", b""]), inner).map(b"".join)
    ends = st.sampled_from([b"", b"", b"", b","])
    return st.builds(
        lambda items, comma, end: enclosed(b"[", end + b"]", items, comma), st.lists(inner, max_size=3), commas, ends
    ) | st.builds(
        lambda items, comma, end: enclosed(b"{", end + b"}", items, comma), st.lists(pairs, max_size=3), commas, ends
    )


values = st.recursive(numbers | words | strings, nested, max_leaves=6)
deep = st.integers(JSON_DEPTH_MAX - 3, JSON_DEPTH_MAX + 3).map(lambda depth: b"[" * depth + b"]" * depth)
texts = {
    "type": st.sampled_from(["order.paid", "a", "*", "a b", "é", "", "x" * 128, "x" * 129, "a\n"]),
    "tenant": st.sampled_from(["acme", "a@b", "", " a", "-a", "a\n", "t" * 128, "t" * 129]),
    "id": st.sampled_from(["e-1", "a.b", "", "a\n", "evt_0000000000000", "evt_zzzzzzzzzzzzz", "i" * 128, "i" * 129]),
    "occurred_at": st.sampled_from(["2026-11-22T08:30:00Z", "2026-11-22T08:30:00.1234567+01:00", "2026-11-22"])
    | st.sampled_from(
        [
            "1969-12-31T23:59:59Z",
            "2026-02-30T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T08:30:60Z",
            "9999-12-31T23:59:59-01:00",
        ]
    ),
    "ordering_key": st.sampled_from(["o 1", "é", "", "\x7f", "o" * 128, "o" * 129, "a\u2028b"]),
}
fields = st.one_of(
    *(st.tuples(st.just(name), text.map(lambda text: json.dumps(text).encode())) for name, text in texts.items()),
    st.tuples(st.sampled_from([*sorted(FIELDS - {"data"}), "more", "Type", ""]), values),
)
members = st.tuples(st.just('"%s"'), fields).map(lambda drawn: (drawn[0] % drawn[1][0]).encode() + b":" + drawn[1][1])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of about the right shape, with about one thing wrong in it."""
    data = draw(values | deep | st.sampled_from([b"1", b'{"n": [1, "\xc3\xa9"]}']))
    parts = [b'"type":"a"', b'"data":' + data, *draw(st.lists(members, max_size=3))]
    parts = draw(st.permutations(parts)) if draw(st.booleans()) else parts
    body = bytearray(b",".join(parts).join([b"{", b"}"]))
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 2))] = draw(blanks | st.binary(max_size=2))
    return bytes(body)


class Taker:
    """Stands where the intake is; takes everything."""

    def __init__(self) -> None:
        self.taken: list[NewEvent] = []

    async def submit(self, request: AcceptRequest) -> tuple[Accepted, ...]:
        self.taken += request.events
        return tuple(Accepted(e.event.key, e.event.id, len(e.owed), duplicate=False) for e in request.events)


class Empty:
    """A catalogue with nothing in it."""

    async def load(self) -> CatalogueSnapshot:
        return CatalogueSnapshot(1, (), (), ())


def published(body: bytes, *, batch: bool = False) -> list[NewEvent] | PosthouseError:
    """The events that are taken from ``body``, or why none is."""
    taker = Taker()
    clock = ManualClock()
    keys = iter(range(1, 2_000))
    catalogue = Catalogue(Empty())  # type: ignore[arg-type]  # as far as it is used
    publisher = Publisher(catalogue, EventRouter(catalogue), taker, clock, lambda: next(keys))  # type: ignore[arg-type]  # as far as they are used
    publish: Callable[..., Any] = publisher.publish_batch if batch else publisher.publish
    work = publish(Environment.LIVE, body, None)
    try:
        work.send(None)
    except StopIteration:
        return taker.taken
    except PosthouseError as error:
        assert not taker.taken
        return error
    raise AssertionError("nothing here waits for anything")


class Twice(Exception):
    """An object has a member twice, and readers differ about which one counts."""


def read(body: bytes) -> Any:
    """``body`` as a strict reader reads it. Raises ValueError, and Twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise Twice
        return found

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    value = json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=once)
    json.dumps(value, ensure_ascii=False).encode()  # raises for half a surrogate pair
    return value


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def is_event(value: Any) -> bool:
    """Whether this is an event as the API describes it; its time is only looked at."""
    if not isinstance(value, dict) or not {"type", "data"} <= value.keys() <= FIELDS:
        return False
    given_fields = {name: field for name, field in value.items() if name != "data" and field is not None}
    return (
        "type" in given_fields
        and all(isinstance(field, str) and FORMS[name].fullmatch(field) for name, field in given_fields.items())
        and str(given_fields.get("ordering_key", "o")).isprintable()
    )


@given(bodies() | st.binary(max_size=40))
def test_an_event_is_taken_just_if_it_is_one_and_as_it_is(body: bytes) -> None:
    taken = published(body)
    try:
        value = read(body)
    except Twice:
        return
    except ValueError:
        assert isinstance(taken, MalformedJson | InvalidInput)
        return
    if isinstance(taken, PosthouseError):
        assert isinstance(taken, InvalidInput)
        assert (
            not is_event(value)
            or b"\\u0000" in body
            or depth_of(value) > JSON_DEPTH_MAX
            or (value.get("occurred_at") is not None and taken.errors[0]["path"] == "occurred_at")
        )
        return
    assert is_event(value)
    assert depth_of(value) <= JSON_DEPTH_MAX
    assert "\\u0000" not in json.dumps(value).replace("\\\\", "")
    (event,) = (new.event for new in taken)
    assert event.data in body
    assert json.loads(event.data) == value["data"]
    assert (event.type, event.tenant) == (value["type"], value.get("tenant") or "default")
    assert (event.ordering_key, event.id) == (value.get("ordering_key"), value.get("id") or event.id)
    assert json.loads(envelope_body(event))["data"] == value["data"]


@given(st.lists(bodies(), max_size=4), st.sampled_from([b"[%s]", b"[%s]", b"[%s]", b"[%s,]", b"{%s}", b"%s", b"[%s"]))
def test_a_batch_is_taken_just_if_each_of_it_would_be(items: list[bytes], form: bytes) -> None:
    """In their order; and each that would not be is named. Nesting is counted in the body as a whole."""
    body = b'{"events":' + form % b",".join(items) + b"}"
    taken = published(body, batch=True)
    alone = [published(item) for item in items]
    if isinstance(taken, PosthouseError):
        assert isinstance(taken, MalformedJson | InvalidInput)
        bad = {number for number, one in enumerate(alone) if isinstance(one, PosthouseError)}
        bad |= {number for number, item in enumerate(items) if item.count(b"[") > JSON_DEPTH_MAX - 3}
        named = {error["item"] for error in taken.errors if "item" in error}
        assert bad or not items or form != b"[%s]"
        if named:
            assert named <= bad
            assert not any(isinstance(alone[number], InvalidInput) for number in bad - named) or b"\\u0000" in body
        return
    assert [new.event.data for new in taken] == [new.event.data for one in alone for new in one]  # type: ignore[union-attr]  # none was refused


@pytest.mark.parametrize("excess", [0, 1])
def test_the_bound_is_exact(excess: int) -> None:
    start = b'{"type":"a","data":"'
    body = start + b"x" * (EVENT_BODY_BYTES_MAX + excess - len(start) - 2) + b'"}'
    taken = published(body)
    assert isinstance(taken, TooLarge) if excess else isinstance(taken, list)
