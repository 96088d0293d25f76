"""What a declared reader makes of a body: the exact bytes of each event, or a sentence why there are none."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.routing import validate_event_type
from posthouse.providers.reading import ITEMS_MAX, Field, Header, Reader, time_ms, type_of
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.schemes import Unit

ONE = Reader(
    type=(Header("X-Event"), Field(("action",))),
    fallback="unknown",
    identity=Field(("id",)),
    occurred_at=Field(("at",)),
    sequence=Field(("n",)),
    stream=Header("X-Stream"),
    ordering_key=Field(("about", 0, "key")),
    delivery=Header("X-Delivery"),
)
MANY = Reader(type=(Field(("type",)),), items=("data", "events"), empty_is_heartbeat=True, delivery=Field(("hook",)))


def request(**headers: str) -> Received:
    return Received.of("POST", "", tuple((name.replace("_", "-"), value) for name, value in headers.items()), b"", 0)


def test_one_event() -> None:
    body = b' {"action": "opened", "id": 7, "at":"2027-01-15T08:00:00Z" , "n": 12, "about": [{"key": "k"}]}'
    reading = ONE(request(X_Event="issue", X_Stream="s", X_Delivery="d"), body)
    (item,) = reading.items
    assert (item.type, item.data, item.identity, item.occurred_at) == ("issue.opened", body, "7", 1_800_000_000_000)
    assert (item.sequence, item.stream, item.ordering_key, reading.delivery) == (12, "s", "k", "d")
    assert not reading.is_heartbeat


def test_what_is_missing_or_of_another_kind_is_left_out() -> None:
    (item,) = ONE(request(), b'{"action": true, "id": null, "at": 5, "n": "x", "about": {}}').items
    assert (item.type, item.identity, item.occurred_at, item.sequence) == ("unknown", None, None, None)
    assert (item.stream, item.ordering_key) == (None, None)


def test_a_list_of_events_is_cut_out_byte_for_byte() -> None:
    first, second = b'{ "type":"a" }', '{"type":"b","ü":1e400}'.encode()
    body = b'{"hook":"h","data":{"events":[' + first + b" , " + second + b"]}}"
    reading = MANY(request(), body)
    assert [(item.type, item.data) for item in reading.items] == [("a", first), ("b", second)]
    assert reading.delivery == "h"
    assert MANY(request(), b'{"data":{"events":[]}}').is_heartbeat


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"data":{"events":{}}}', b'{"data":[]}', b"\xff", b"[" * 100_000, b'{"data":']
)
def test_a_body_without_its_list_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"\.$"):
        MANY(request(), body)


def test_too_many_events_are_not_read() -> None:
    body = json.dumps({"data": {"events": [1] * (ITEMS_MAX + 1)}}).encode()
    with pytest.raises(Unreadable, match="more than 1,000 events"):
        MANY(request(), body)


@given(body=st.binary(max_size=100))
def test_of_any_bytes_comes_a_reading_or_a_sentence(body: bytes) -> None:
    for reader in (ONE, MANY):
        with suppress(Unreadable):
            reader(request(), body)


@given(
    data=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_is_one_event_of_a_valid_type(data: Any) -> None:
    body = json.dumps(data).encode()
    (item,) = ONE(request(X_Event=str(data)[:20]), body).items
    validate_event_type(item.type)
    assert item.data == body


@given(parts=st.lists(st.none() | st.text(), max_size=4))
def test_whatever_a_sender_calls_it_is_an_event_type(parts: list[str | None]) -> None:
    validate_event_type(type_of(*parts, fallback="event"))


def test_times() -> None:
    assert time_ms("1800000000", Unit.SECONDS) == time_ms("1800000000000", Unit.MILLISECONDS) == 1_800_000_000_000
    assert time_ms("2027-01-15T08:00:00Z", Unit.RFC3339) == 1_800_000_000_000
    for text, unit in (("x", Unit.SECONDS), ("9" * 20, Unit.SECONDS), ("yesterday", Unit.RFC3339), ("٣", Unit.SECONDS)):
        assert time_ms(text, unit) is None
