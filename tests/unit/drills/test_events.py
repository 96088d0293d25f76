"""The events that drills publish: odd, valid, repeatable, and recognised byte by byte."""

import json
import random
from itertools import islice

import pytest

from posthouse.core.envelope import body, check_json
from posthouse.core.model import Environment, Event
from posthouse.drills.events import digest_of, digest_of_body, outgoing
from posthouse.drills.odd_json import odd_json


def envelope(event_type: str, data: bytes) -> bytes:
    event = Event(
        key=1, id="drill-1", environment=Environment.LIVE, tenant="t", type=event_type, accepted_at=1, data=data
    )
    return body(event)


def test_odd_data_is_valid_and_is_seldom_what_a_library_would_write() -> None:
    chance = random.Random(1)
    made = [odd_json(chance) for _ in range(500)]
    rewritten = 0
    for text in made:
        check_json(text.encode())
        rewritten += json.dumps(json.loads(text), ensure_ascii=False) != text
    assert rewritten > 100
    assert len(set(made)) > 200


def test_the_same_seed_makes_the_same_events() -> None:
    first, again, other = (list(islice(outgoing(["a", "b"], seed=seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [event.type for event in first[:4]] == ["a", "b", "a", "b"]
    assert len({event.id for event in first}) == 50
    assert len(list(outgoing(["a"], seed=1, total=7))) == 7


def test_what_arrives_untouched_is_recognised() -> None:
    for event in outgoing(["drill.a", "drill.b"], seed=1, total=200):
        assert digest_of_body(envelope(event.type, event.data)) == event.digest


@pytest.mark.parametrize(
    ("event_type", "data"),
    [("drill.b", b'{"n": 1.0}'), ("drill.a", b'{"n":1.0}'), ("drill.a", b'{"n": 1}'), ("drill.a", b'{"n": 1.0} ')],
)
def test_another_type_or_another_byte_is_noticed(event_type: str, data: bytes) -> None:
    assert digest_of_body(envelope(event_type, data)) != digest_of(b"drill.a", b'{"n": 1.0}')


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b'{"type":"a","data":1}', envelope("a", b"1")[:-1], b" " + envelope("a", b"1")]
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        digest_of_body(raw)


def test_data_that_looks_like_an_envelope_does_not_mislead() -> None:
    data = b'{"type":"x","timestamp":"y","data":{"z":1}}'
    assert digest_of_body(envelope("a", data)) == digest_of(b"a", data)
