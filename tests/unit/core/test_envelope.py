import json

import msgspec
import pytest

from posthouse.core import envelope
from posthouse.core.errors import InvalidInput, MalformedJson, PosthouseError
from posthouse.core.limits import JSON_DEPTH_MAX
from posthouse.core.model import Environment, Event

EVENT = Event(
    key=1,
    id="evt_1",
    environment=Environment.LIVE,
    tenant="default",
    type="order.created",
    accepted_at=1_760_000_000_123,
    data=b'{"n": 1.0e2,  "n": 2}',
)


def test_the_body_is_type_timestamp_and_the_publishers_bytes() -> None:
    expected = b'{"type":"order.created","timestamp":"2025-10-09T08:53:20.123Z","data":{"n": 1.0e2,  "n": 2}}'
    assert envelope.body(EVENT) == expected


def test_the_timestamp_is_when_it_occurred_if_the_publisher_said_so() -> None:
    event = msgspec.structs.replace(EVENT, occurred_at=0)
    assert json.loads(envelope.body(event))["timestamp"] == "1970-01-01T00:00:00.000Z"


def test_other_data_takes_the_place_of_the_publishers() -> None:
    assert json.loads(envelope.body(EVENT, b"[1]"))["data"] == [1]


def test_a_thin_payload_refers_to_the_event_by_its_id() -> None:
    event = msgspec.structs.replace(EVENT, id='e"1')
    assert json.loads(envelope.body(event, envelope.reference(event)))["data"] == {"id": 'e"1'}


def test_the_type_is_escaped_whatever_it_is() -> None:
    event = msgspec.structs.replace(EVENT, type='a"\\\n\x01ü')
    assert json.loads(envelope.body(event))["type"] == event.type


def code_of(raw: bytes) -> str | None:
    """The code of the refusal of ``raw``, or None."""
    msgspec.json.Decoder(msgspec.Raw).decode(raw)  # What check_json is told holds: the syntax is right.
    try:
        envelope.check_json(raw)
    except InvalidInput as error:
        return str(error.errors[0]["code"])
    except PosthouseError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"0",
        b'""',
        b'{"a":"\xc3\xa4"}',
        '{"a":"😀"}'.encode(),
        rb'{"a":"\ud83d\ude00"}',
        rb'{"a":"\\u0000"}',
        rb'{"a":"\\\\u0000"}',
        rb'{"a":"\u0001"}',
        rb'{"a":"u0000"}',
    ],
)
def test_json_that_everyone_can_read_passes(raw: bytes) -> None:
    assert code_of(raw) is None


@pytest.mark.parametrize(
    "raw", [b'"\xff"', b'{"a":"\xc3"}', b'{"\xe4":1}', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf5\x80\x80\x80"']
)
def test_what_is_not_utf8_is_refused(raw: bytes) -> None:
    assert code_of(raw) == MalformedJson.code


@pytest.mark.parametrize(
    "raw",
    [
        rb'"\u0000"',
        rb'{"a\u0000":1}',
        rb'{"a":"\\\u0000"}',
        rb'{"a":"\\\\\u0000"}',
        rb'{"a":"\\u0000","b":"\u0000"}',
        rb'{"a":"\"\u0000"}',
        rb'{"a":"\u0000\\u0000"}',
    ],
)
def test_the_null_character_is_refused(raw: bytes) -> None:
    assert code_of(raw) == "null_character"


def nested(depth: int, inner: bytes = b"0") -> bytes:
    pairs = [(b"[", b"]"), (b'{"a":', b"}")]
    opening = b"".join(pairs[level % 2][0] for level in range(depth))
    closing = b"".join(pairs[level % 2][1] for level in reversed(range(depth)))
    return opening + inner + closing


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (nested(JSON_DEPTH_MAX), False),
        (nested(JSON_DEPTH_MAX + 1), True),
        (b"[" + b",".join([nested(JSON_DEPTH_MAX - 1)] * 5) + b"]", False),
        (b"[" + b",".join([b"[]"] * 1_000) + b"]", False),
        (b"[" + b",".join([nested(3), nested(JSON_DEPTH_MAX)]) + b"]", True),
        (b'"' + b"[" * 1_000 + b'"', False),
        (b'["' + b"[{" * 1_000 + b'"]', False),
        (nested(JSON_DEPTH_MAX, b'"]]]]"'), False),
        (nested(JSON_DEPTH_MAX + 1, rb'"]]\"]]\\"'), True),
        (nested(JSON_DEPTH_MAX, rb'"\"[[[[\\\"[["'), False),
        (nested(JSON_DEPTH_MAX, rb'["\\"]'), True),
        (nested(500), True),
    ],
)
def test_nesting_has_a_bound_and_brackets_in_strings_do_not_count(raw: bytes, refused: bool) -> None:
    assert code_of(raw) == ("nested_too_deep" if refused else None)


def test_data_of_the_greatest_depth_is_readable_in_its_envelope() -> None:
    event = msgspec.structs.replace(EVENT, data=nested(JSON_DEPTH_MAX))
    assert json.loads(envelope.body(event))["type"] == EVENT.type
