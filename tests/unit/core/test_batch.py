"""Several events in one request."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.batch import batch_body, batch_id, concerns_content, halves, not_taken
from posthouse.core.limits import BATCH_ERROR_CHARS_MAX
from posthouse.core.model import Environment, Event
from posthouse.core.signature import validate_message_id

NOW = 1_760_000_000_123
EVENT = Event(
    key=1, id="e1", environment=Environment.LIVE, tenant="default", type="a.b", accepted_at=NOW, data=b'{"n": 1.0}'
)


def test_the_body_holds_each_event_with_its_bytes() -> None:
    other = msgspec.structs.replace(EVENT, id='2"', type="ü", occurred_at=0)
    assert batch_body([(EVENT, EVENT.data), (other, b"[1,  2]")], now=NOW) == (
        b'{"type":"batch","timestamp":"2025-10-09T08:53:20.123Z","data":['
        b'{"id":"e1","type":"a.b","timestamp":"2025-10-09T08:53:20.123Z","data":{"n": 1.0}},'
        b'{"id":"2\\"","type":"\xc3\xbc","timestamp":"1970-01-01T00:00:00.000Z","data":[1,  2]}]}'
    )


@given(st.lists(st.text("ab:-", min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_the_same_events_are_the_same_batch_and_others_another(ids: list[str], data: st.DataObject) -> None:
    """A receiver drops a batch that it has seen; joined without a separator, two could look alike."""
    name = batch_id(ids)
    validate_message_id(name)
    assert name.startswith("batch_")
    assert len(name) == len("batch_") + 32
    other = data.draw(st.lists(st.text("ab:-", min_size=1, max_size=4), min_size=1, max_size=5))
    assert (batch_id(other) == name) == (other == ids)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (b"", {}),
        (b"ok", {}),
        (b'{"ok":true}', {}),
        (b'{"failed":[]}', {}),
        (b'{"failed":0}', {}),
        (b'{"failed":null}', {}),
        (b'["failed"]', {}),
        (b'{"failed":["e1"]}', {}),
        (b'{"failed":[{"id":7},{"error":"x"}]}', {}),
        (b'{"n":{"failed":[{"id":"e1"}]}}', {}),
        (b' {"failed": [{"id": "e1"}]}', {"e1": ""}),
        (
            b'{"failed":[{"id":"e1","error":"no such\\n\\u001b sku"},{"id":"e2","error":3}]}',
            {"e1": "no such sku", "e2": ""},
        ),
        (b'<p>"failed"</p>', {}),
        (b'{"failed":[{"id":"e1"}', None),
        (b'{"failed":[{"id":"\xff"}]}', None),
        (b'{"failed":' + b"[" * 100_000, None),
    ],
)
def test_an_answer_names_the_events_that_failed(answer: bytes, named: dict[str, str] | None) -> None:
    """One that may name some, and cannot be read, is never taken for a good one."""
    assert not_taken(answer) == named


def test_what_an_endpoint_says_is_bounded() -> None:
    answer = json.dumps({"failed": [{"id": "e1", "error": "x" * 10_000}]}).encode()
    named = not_taken(answer)
    assert named is not None
    assert len(named["e1"]) == BATCH_ERROR_CHARS_MAX


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda part: b'{"failed":' + part))
def test_any_answer_can_be_looked_at(answer: bytes) -> None:
    not_taken(answer)


def test_which_refusals_concern_what_was_sent() -> None:
    content = {status for status in range(100, 600) if concerns_content(status)}
    assert content == set(range(400, 500)) - {401, 403, 404, 408, 410, 425, 429}


@given(st.lists(st.integers(), min_size=2, max_size=250))
def test_halves_are_all_of_it_in_order_and_shorter(items: list[int]) -> None:
    first, second = halves(items)
    assert first + second == items
    assert 0 <= len(first) - len(second) <= 1
