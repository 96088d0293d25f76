"""Bad input of every kind is a problem with a code and a hint, never a 500, and leaves no row.

The whole API answers, over the real store: bytes that are no JSON, JSON of the wrong shape, values
beyond their bounds, and valid bodies with a few bytes changed.
"""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.core.model import SLOTS, Environment
from posthouse.store.protocol import EventQuery
from posthouse.testing.quiet_house import QuietHouse

JSON = {"Content-Type": "application/json"}
EVENT = {
    "type": "order.paid",
    "data": {"n": 1, "s": "é"},
    "tenant": "acme",
    "id": "e-1",
    "occurred_at": "2026-11-22T08:30:00Z",
    "ordering_key": "o-1",
}
ENDPOINT = {
    "url": "https://example.com/hooks",
    "events": ["order.*"],
    "active": True,
    "tenant": "acme",
    "description": "d",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    "headers": {"X-A": "1"},
    "retry": "three-weeks",
    "connect_timeout_ms": 1_000,
    "timeout_ms": 2_000,
    "rate": "10/s",
    "in_flight_max": 4,
    "order": "fifo",
    "payload": "full",
    "format": "raw",
    "batch": {"max_events": 10},
    "success": "200-299,409",
    "transform": {"n": "data.n"},
    "disable_after_days": 7,
}
REQUIRED = {"/v1/events": {"type", "data"}, "/v1/endpoints": {"url"}}
VALID: dict[str, dict[str, Any]] = {
    "/v1/events": EVENT,
    "/v1/events/batch": {"events": [EVENT, {"type": "a", "data": None}]},
    "/v1/endpoints": ENDPOINT,
}

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
paths = pytest.mark.parametrize("path", list(VALID))

texts = st.text(max_size=20) | st.sampled_from(["\0", "\u202e", "\ud83d\ude00", "a" * 3_000, " ", "", "..", "a.b", "*"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
#: Values that no field of an event or endpoint takes.
never = (
    st.lists(st.integers(), min_size=1, max_size=2)
    | st.integers(max_value=-1)
    | st.integers(min_value=10**6)
    | st.floats(allow_nan=False).filter(lambda number: not number.is_integer())
    | st.sampled_from(["\0", "\ud800", "\x1b", "a" * 3_000, {"a": 1}, {"": []}, [["*"]], [""]])
)


async def rows(house: QuietHouse) -> tuple[object, ...]:
    """Everything that a publish or a creation could leave."""
    newest = [
        await house.store.ledger.events(EventQuery(environment=environment, limit=1)) for environment in Environment
    ]
    return (newest, await house.store.catalogue.load(), await house.store.work.survey(range(SLOTS), limit=1_000))


async def assert_refused(
    client: httpx2.AsyncClient, house: QuietHouse, path: str, body: bytes, headers: dict[str, str] = JSON
) -> dict[str, Any]:
    before = await rows(house)
    answer = await client.post(path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    return await assert_problem(house, answer, before)


async def assert_problem(house: QuietHouse, answer: httpx2.Response, before: tuple[object, ...]) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["code"]
    assert problem["hint"]
    for error in problem.get("errors", ()):
        assert {"path", "code", "message"} <= error.keys()
    assert await rows(house) == before
    return problem


async def assert_taken_or_refused(client: httpx2.AsyncClient, house: QuietHouse, path: str, body: bytes) -> None:
    """For bodies of which nobody knows beforehand whether they are good."""
    before = await rows(house)
    answer = await client.post(path, content=body, headers=JSON)
    if not answer.is_success:
        assert answer.status_code < 500, answer.text
        await assert_problem(house, answer, before)


def encode(value: Any) -> bytes:
    """JSON with lone surrogates and the like written as escapes, as careless clients do."""
    return json.dumps(value).encode()


@paths
@many
@given(body=st.binary(max_size=200))
async def test_random_bytes(client: httpx2.AsyncClient, house: QuietHouse, path: str, body: bytes) -> None:
    await assert_refused(client, house, path, body)


@paths
@many
@given(value=anything)
async def test_json_of_any_shape(client: httpx2.AsyncClient, house: QuietHouse, path: str, value: Any) -> None:
    await assert_refused(client, house, path, encode(value))


@pytest.mark.parametrize("path", ["/v1/events", "/v1/endpoints"])
@many
@given(data=st.data())
async def test_one_wrong_field(client: httpx2.AsyncClient, house: QuietHouse, path: str, data: st.DataObject) -> None:
    """A field is missing, unknown, or holds what it never takes."""
    body = dict(VALID[path])
    match data.draw(st.sampled_from(["missing", "unknown", "wrong"])):
        case "missing":
            del body[data.draw(st.sampled_from(sorted(REQUIRED[path])))]
        case "unknown":
            body[data.draw(texts.filter(lambda name: name not in body))] = data.draw(anything)
        case _:
            body[data.draw(st.sampled_from(sorted(set(body) - {"data"})))] = data.draw(never)
    await assert_refused(client, house, path, encode(body))


@many
@given(data=st.data())
async def test_every_bad_item_of_a_batch_is_named(
    client: httpx2.AsyncClient, house: QuietHouse, data: st.DataObject
) -> None:
    items: list[dict[str, object]] = [{"type": "a", "data": number} for number in range(data.draw(st.integers(1, 6)))]
    bad = data.draw(st.sets(st.sampled_from(range(len(items))), min_size=1))
    for position in bad:
        # An empty list or a space is no value of any of these fields.
        items[position][data.draw(st.sampled_from(["type", "tenant", "id", "occurred_at"]))] = data.draw(
            st.sampled_from(["", " ", "a b", "\x7f"])
        )
    problem = await assert_refused(client, house, "/v1/events/batch", encode({"events": items}))
    assert problem["code"] == "invalid_input"
    assert {error["path"].partition("]")[0] for error in problem["errors"]} == {f"events[{n}" for n in bad}


@pytest.mark.parametrize("depth", [65, 300, 20_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
@paths
async def test_what_is_nested_too_deep(
    client: httpx2.AsyncClient, house: QuietHouse, path: str, brackets: str, depth: int
) -> None:
    deep = brackets[:-1] * depth + "1" + brackets[-1] * depth
    whole = json.dumps({**VALID[path], "data": "deep", "description": "deep"}).replace('"deep"', deep)
    await assert_refused(client, house, path, whole.encode())


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_batch_of_too_few_or_too_many(client: httpx2.AsyncClient, house: QuietHouse, count: int) -> None:
    await assert_refused(client, house, "/v1/events/batch", encode({"events": [{"type": "a", "data": 1}] * count}))


@paths
@many
@given(data=st.data())
async def test_a_valid_body_with_a_few_bytes_changed(
    client: httpx2.AsyncClient, house: QuietHouse, path: str, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(VALID[path], ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "drop"])):
            case "set":
                body[position] = data.draw(st.integers(0, 255))
            case "cut":
                del body[max(1, position) :]
            case "insert":
                body[position:position] = data.draw(st.binary(min_size=1, max_size=4))
            case _:
                del body[position : position + 2]
                body += b" "
    await assert_taken_or_refused(client, house, path, bytes(body))


@paths
@many
@given(kind=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
async def test_any_other_content_type(client: httpx2.AsyncClient, house: QuietHouse, path: str, kind: str) -> None:
    if kind.lower().partition(";")[0] != "application/json":
        problem = await assert_refused(client, house, path, encode(VALID[path]), {"Content-Type": kind})
        assert problem["code"] == "unsupported_media_type"
