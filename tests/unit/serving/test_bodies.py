"""Request bodies: bounded one by one, and all together."""

from collections.abc import Mapping
from typing import Any

import pytest

from posthouse.core.errors import InvalidInput, Overloaded, TooLarge, UnsupportedMediaType
from posthouse.serving.bodies import Bodies, Disconnected, check_body, check_media_type, fields_of

PART = {"type": "http.request", "body": b"x" * 40, "more_body": True}
LAST = {"type": "http.request", "body": b"x" * 40}


async def last() -> dict[str, Any]:
    return LAST


async def test_parts_are_put_together() -> None:
    async with Bodies().collect(PART, last, bytes_max=80) as body:
        assert body == b"x" * 80


async def test_all_bodies_share_a_budget_that_comes_back() -> None:
    """What does not fit is refused with a code that clients retry."""
    bodies = Bodies(held_bytes_max=100)
    async with bodies.collect(PART, last, bytes_max=1_000):
        with pytest.raises(Overloaded) as refusal:
            await bodies.collect(PART, last, bytes_max=1_000).__aenter__()
        assert refusal.value.retry_after_s
    for _ in range(3):
        with pytest.raises(TooLarge):
            await bodies.collect(PART, last, bytes_max=50).__aenter__()
    async with bodies.collect(PART, last, bytes_max=1_000) as body:
        assert len(body) == 80


async def test_a_client_that_went_away_sends_nothing_more() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    bodies = Bodies(held_bytes_max=100)
    for _ in range(3):
        with pytest.raises(Disconnected):
            await bodies.collect(PART, gone, bytes_max=1_000).__aenter__()
    assert bodies._held_bytes == 0


def test_headers_that_count_stand_once() -> None:
    twice = [(b"x-a", b"1"), (b"x-a", b"2"), (b"authorization", b"a")]
    assert fields_of({"headers": twice})[b"authorization"] == b"a"
    with pytest.raises(InvalidInput, match="Authorization"):
        fields_of({"headers": [*twice, (b"authorization", b"a")]})


@pytest.mark.parametrize(
    ("fields", "is_json"),
    [
        ({b"content-type": b"application/json"}, True),
        ({b"content-type": b"Application/JSON ; charset=utf-8"}, True),
        ({b"content-type": b"application/json; profile=x"}, True),
        ({b"content-type": b"application/json", b"content-encoding": b"identity"}, True),
        ({b"content-type": b"application/json; charset=latin-1"}, False),
        ({b"content-type": b"application/json", b"content-encoding": b"br"}, False),
        ({b"content-type": b"application/problem+json"}, False),
        ({b"content-type": b"\xff" * 1_000}, False),
        ({}, False),
    ],
)
def test_only_plain_json_is_taken(fields: Mapping[bytes, bytes], is_json: bool) -> None:
    if is_json:
        check_media_type(fields)
    else:
        with pytest.raises(UnsupportedMediaType):
            check_media_type(fields)


def test_a_body_at_the_bound_of_depth_is_taken() -> None:
    check_body(b"[" * 64 + b"]" * 64)
    for depth in (65, 5_000, 1_000_000):
        with pytest.raises(InvalidInput):
            check_body(b"[" * depth + b"]" * depth)
