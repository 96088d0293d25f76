import pytest

from posthouse.core.errors import InvalidInput
from posthouse.core.routing import MEMO_TYPES_MAX, Router, validate_event_type, validate_pattern

#: pattern, event type, whether it matches.
MATCHES = [
    ("*", "order.created", True),
    ("*", "x", True),
    ("order.created", "order.created", True),
    ("order.created", "order.created.eu", False),
    ("order.created", "order", False),
    ("order.created", "Order.created", False),
    ("order.*", "order.created", True),
    ("order.*", "order.created.eu", True),
    ("order.*", "order.", True),
    ("order.*", "order", False),
    ("order.*", "orders.created", False),
    ("order.*", "my.order.created", False),
    ("order.created.*", "order.created.eu", True),
    ("order.created.*", "order.created", False),
    ("subject:*", "subject:42", True),
    ("subject:*", "subject.42", False),
    ("com/example/*", "com/example/order", True),
    ("com/example/*", "com/other/order", False),
    ("a-*", "a-b", True),
    ("a_*", "a_b", True),
    ("a_*", "ab", False),
    (".*", ".x", True),
    (".*", "x", False),
    ("a.:*", "a.:b", True),
    ("a.:*", "a.b", False),
]


@pytest.mark.parametrize(("pattern", "event_type", "matches"), MATCHES)
def test_a_pattern_takes_a_type_or_not(pattern: str, event_type: str, matches: bool) -> None:
    validate_pattern(pattern)
    validate_event_type(event_type)
    assert Router({7: [pattern]}).match(event_type) == ((7,) if matches else ())


def test_keys_come_ascending_and_once_each() -> None:
    router = Router({30: ["a.*", "a.b", "*"], 4: ["a.b"], 17: ["a.*", "a.b.*"], 5: ["c"]})
    assert router.match("a.b") == (4, 17, 30)
    assert router.match("a.b.c") == (17, 30)
    assert router.match("c") == (5, 30)


def test_no_endpoints_no_routes() -> None:
    assert Router({}).match("a.b") == ()
    assert Router({1: []}).match("a.b") == ()


def test_what_a_router_remembers_is_bounded() -> None:
    """Publishers choose the types; a flood of new ones must not fill the memory, nor change a route."""
    router = Router({1: ["a.*"]})
    for number in range(2 * MEMO_TYPES_MAX + 10):
        assert router.match(f"a.{number}") == (1,)
        assert len(router._memo) <= MEMO_TYPES_MAX
    assert router.match("a.0") == (1,)


@pytest.mark.parametrize("text", ["a", "A-Z_0.9:x/y", "x" * 128])
def test_event_types_that_are_taken(text: str) -> None:
    validate_event_type(text)


@pytest.mark.parametrize("text", ["", "*", "a.*", "a b", "a\n", "\na", "ä", "a\u0660", "x" * 129, "a,b", "a\x00", "a#"])
def test_event_types_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_event_type(text)
    assert caught.value.errors[0]["path"] == "type"
    assert caught.value.errors[0]["code"] == "event_type"


@pytest.mark.parametrize("text", ["*", "a", "a.*", "a.b.*", "a:*", "a/*", "a-*", "a_*", "x" * 128, "x" * 127 + ".*"])
def test_patterns_that_are_taken(text: str) -> None:
    validate_pattern(text)


@pytest.mark.parametrize(
    "text",
    ["", "**", "a*", "*a", "a.*.b", "a.**", "*.a", "a.?", "a b.*", "a.*\n", "\n*", "ä.*", "x" * 129, "x" * 128 + ".*"],
)
def test_patterns_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_pattern(text)
    assert caught.value.errors[0]["code"] == "event_pattern"
