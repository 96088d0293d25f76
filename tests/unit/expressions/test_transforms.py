"""Transformations: what they make, and what they refuse."""

import json
from typing import Any

import pytest

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.transform import Transform, validate_transform


def apply(transform: object, data: Any) -> Any:
    seen = EventView(
        type="order.paid",
        id="evt_1",
        tenant="acme",
        timestamp=1_800_000_000_000,
        ordering_key="k",
        data=json.dumps(data).encode(),
    )
    return json.loads(Transform(json.dumps(transform)).apply(seen))


def test_objects_nest_and_values_keep_their_types() -> None:
    made = apply(
        {
            "order": "data.id",
            "by": {"name": "data.user.name", 'éß "quoted"\n': "data.user"},
            "skus": "data.items.map(i, i.sku)",
            "big": "data.total > 100.0",
            "price": "data.total",
            "none": "data.none",
            "when": "timestamp(timestamp)",
            "next": "timestamp(timestamp) + duration('90s')",
            "took": "duration('1500ms')",
            "back": "duration('-90s')",
            "raw": "b'abc'",
            "key": "ordering_key",
        },
        {"id": 7, "user": {"name": "Eve"}, "items": [{"sku": "a"}, {"sku": "b"}], "total": 12.5, "none": None},
    )
    assert made == {
        "order": 7,
        "by": {"name": "Eve", 'éß "quoted"\n': {"name": "Eve"}},
        "skus": ["a", "b"],
        "big": False,
        "price": 12.5,
        "none": None,
        "when": "2027-01-15T08:00:00.000Z",
        "next": "2027-01-15T08:01:30.000Z",
        "took": "1.5s",
        "back": "-90s",
        "raw": "YWJj",
        "key": "k",
    }


def test_the_same_event_becomes_the_same_bytes() -> None:
    transform = json.dumps({name: f"data.{name}" for name in "zyxwvutsrq"})
    data = json.dumps({name: {"b": 1, "a": 2} for name in "zyxwvutsrq"}).encode()

    def made() -> bytes:
        seen = EventView(type="a", id="e", tenant="t", timestamp=0, ordering_key=None, data=data)
        return Transform(transform).apply(seen)

    assert len({made() for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ("[]", "a JSON object"),
        ("{}", "with one at least"),
        ("{", "not valid JSON"),
        ('{"a":1}', "a: a JSON object"),
        ('{"a":{"b":{}}}', "a.b: a JSON object"),
        ('{"a":"1}, {"}', "a: '}' (character 2) is not expected there"),
        ('{"a":"1), (2"}', "a: ')' (character 2) is not expected there"),
        ('{"a":{"b":"foo(1)"}}', "a.b: There is no function 'foo'"),
        ('{"a":' * 10 + '"1"' + "}" * 10, "nest at most"),
        (json.dumps({f"f{n}": "1" for n in range(65)}), "at most 64 expressions"),
        (json.dumps({"a": "1" * 9_000}), "at most 8,192 characters"),
        (json.dumps({f"f{n}": "+".join(["1"] * 100) for n in range(20)}), "parts; at most"),
    ],
)
def test_what_is_no_transformation_is_refused(transform: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_transform(transform)
    assert said in refused.value.message
    assert refused.value.errors[0]["path"] == "transform"


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ({"a": "1", "b": {"c": "data.nothing"}}, "b.c: There is no field 'nothing'"),
        ({"a": "1.0 / 0.0"}, "infinite or no number"),
        ({"a": "{1: 2}"}, "keys of a result are strings"),
        ({"a": "'\\u0000'"}, "U+0000"),
        ({f"f{n}": "data.long" for n in range(20)}, "larger than"),
        ({"a": "data.list.map(x, data.list)"}, "a: It could take"),
    ],
)
def test_what_cannot_be_made_says_where_and_why(transform: object, said: str) -> None:
    with pytest.raises(ExpressionError) as failed:
        apply(transform, {"long": "x" * (limits.EVENT_BODY_BYTES_MAX // 16), "list": list(range(500))})
    assert said in failed.value.reason


def test_one_budget_holds_for_all_fields_together() -> None:
    data = {"list": list(range(220))}
    assert apply({"a": "data.list.map(x, x)"}, data) == {"a": data["list"]}
    with pytest.raises(ExpressionError, match="It could take"):
        apply({f"f{n}": "data.list.map(x, x)" for n in range(4)}, data)
