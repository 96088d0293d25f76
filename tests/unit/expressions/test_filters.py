"""Filters: what they see, what they refuse, and that nothing hostile gets through."""

import json
import subprocess
import sys
from typing import Any

import pytest

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Environment, Event
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.filter import Filter, validate_filter

DATA = {
    "total": 12,
    "price": 9.5,
    "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}],
    "user": {"name": "Eve", "tags": ["x", "y"]},
    "none": None,
    "odd key": True,
}


def view(data: Any = DATA, **fields: Any) -> EventView:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    given = {
        "type": "order.paid",
        "id": "evt_1",
        "tenant": "acme",
        "timestamp": 1_800_000_000_000,
        "ordering_key": None,
        "data": raw,
    }
    return EventView(**{**given, **fields})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("data.total > 10", True),
        ("body.total > 12", False),
        ("type == 'order.paid' && tenant == 'acme' && id == 'evt_1'", True),
        ("type.startsWith('order.') && !type.endsWith('.sent')", True),
        ("data.items.exists(i, i.sku == 'b' && i.n == 2)", True),
        ("data.items.all(i, i.n > 1)", False),
        ("data.items.exists_one(i, i.n > 1)", True),
        ("size(data.items.filter(i, i.n > 1)) == 1", True),
        ("data.items.map(i, i.n) == [1, 2]", True),
        ("data.items.map(i, i.n > 1, i.sku) == ['b']", True),
        ("data.items[0].sku in ['a', 'c']", True),
        ("'total' in data", True),
        ("data['odd key']", True),
        ("has(data.user.name) && !has(data.user.age)", True),
        ("data.none == null && ordering_key == null", True),
        ("data.price * 2.0 == 19.0", True),
        ("data.user.name.matches('^E[a-z]+$')", True),
        ("data.user.name.contains('v') ? data.total == 12 : false", True),
        ("timestamp(timestamp) > timestamp('2027-01-01T00:00:00Z')", True),
        ("timestamp == '2027-01-15T08:00:00.000Z'", True),
        ("type(data.total) == int", True),
        ("string(data.total) + 'x' == '12x'", True),
        ("size(headers) == 0", True),
        ("!false && -1 < 0 && -(-1) == 1", True),
        (r"'a\'b' == 'a\'b' && r'\d' == '\\d'", True),
        ("{'a': [1, 2]}.a[1] == 2", True),
        ("false && data.nothing == 1", False),
    ],
)
def test_an_expression_sees_the_event(text: str, expected: bool) -> None:
    assert Filter(text).matches(view()) is expected


def test_a_view_is_made_of_an_event() -> None:
    event = Event(
        key=1,
        id="mine",
        environment=Environment.LIVE,
        tenant="t",
        type="a",
        accepted_at=2_000,
        data=b"1",
        occurred_at=1_000,
        ordering_key="k",
    )
    wanted = "id == 'mine' && ordering_key == 'k' && timestamp == '1970-01-01T00:00:01.000Z' && data == 1"
    assert Filter(wanted).matches(EventView.of(event))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "A value is missing at the end"),
        ("1 +", "A value is missing at the end"),
        ("(1", "')' is missing at the end"),
        ("data.", "A field's name is missing"),
        ("data.total > 10 10", "'10' (character 17) is not expected there"),
        ("data == 'x", "Nothing of the language begins with"),
        ("data @ 1", "Nothing of the language begins with '@'"),
        ("nosuch == 1", "There is no variable 'nosuch'"),
        ("lower(type) == 'a'", "There is no function 'lower'"),
        ("type.startsWith('a', 'b')", "takes 2 argument(s)"),
        ("data.all(x)", "takes the name of a variable"),
        ("data.all(1, true)", "takes the name of a variable"),
        ("data.all(data, true)", "names a part of the event"),
        ("type.matches(tenant)", "stands in the expression itself"),
        ("type.matches('" + "a" * 300 + "')", "A pattern has at most"),
        ("type.matches('(?s)a')", "no other flags"),
        ("'''a''' == 'a'", "not expected"),
        ("data.?a == 1", "A field's name is missing"),
        ("'\\ud800' == 'a'", "invalid string literal"),
        ("(" * 50 + "1" + ")" * 50, "nested more than"),
        ("true " + "&& true" * 200, "at most 1,024 characters"),
        ("1" + "+1" * 200, "more than 120 levels"),
        ("data" + ".a" * 200 + " == 1", "more than 120 levels"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_reason(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_filter(text)
    assert said in refused.value.message
    assert refused.value.errors[0]["path"] == "filter"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data.total", "A filter is true or false, and not a int"),
        ("data.nothing == 1", "There is no field 'nothing'; ask with has"),
        ("data.total.x == 1", "types that it does not take"),
        ("data.total / 0 == 1", "division by zero"),
        ("data.total % 0 == 1", "modulo by zero"),
        ("9223372036854775807 + data.total > 0", "overflow"),
        ("data.items[7].n == 1", "index out of bounds"),
        ("data.total > 'x'", "types that it does not take"),
        ("data.total + 0.5 > 1.0", "types that it does not take"),
        ("int(data.user.name) > 0", "Function 'int' error"),
        ("type.matches('(a')", "not a valid regex"),
        ("timestamp(type) == timestamp(type)", "Function 'timestamp' error"),
    ],
)
def test_what_cannot_be_evaluated_says_why(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as failed:
        Filter(text).matches(view())
    assert said in failed.value.reason
    assert "\n" not in failed.value.reason


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_a_whole_number_beyond_64_bits_is_an_error_only_where_it_is_looked_at(number: int) -> None:
    seen = view({"big": number, "small": 1})
    assert Filter("data.small == 1").matches(seen)
    with pytest.raises(ExpressionError, match="64 bits"):
        Filter("data.big > 1").matches(seen)


@pytest.mark.parametrize("raw", [b'{"a":1e999}', b'"\\ud800"'])
def test_data_that_cannot_be_read_is_an_error(raw: bytes) -> None:
    assert Filter("type == 'order.paid'").matches(view(raw)), "what is not looked at is no error"
    with pytest.raises(ExpressionError):
        Filter("data == 1").matches(view(raw))


NUMBERS = list(range(2_000))
LONG = "ab" * 20_000


@pytest.mark.parametrize(
    "text",
    [
        "data.l.all(x, data.l.all(y, x + y >= 0))",
        "data.l.map(x, x) == data.l",
        "data.l.filter(x, true) == data.l",
        "data.l.all(x, size(data.l) > 0)",
        "data.l.map(x, string(x) + data.s) == []",
        "[data.s + data.s].map(a, a + a).map(b, b + b).map(c, c + c).map(d, d + d) == []",
        "data.s.matches('[ab]*a[ab]{200}c')",
        r"data.s.matches('(?:[ab]*a[ab]{50})*c\\b')",
        "data.s.matches('((a{1000}){1000}){10}')",
        r"data.s.matches('\\pL{100}')",
        "data.l.exists(x, data.s.contains(data.s + 'c'))",
    ],
)
def test_what_could_take_too_long_is_refused_before_it_runs(text: str) -> None:
    wanted = Filter(text)
    for _ in range(2):
        seen = view({"l": NUMBERS, "s": LONG})
        with pytest.raises(ExpressionError, match="It could take"):
            wanted.matches(seen)
        assert seen.steps >= limits.EXPRESSION_STEPS_MAX


def test_what_looks_at_too_much_is_refused_and_the_rest_of_the_event_costs_nothing() -> None:
    large = view({"l": list(range(200_000)), "total": 1})
    assert Filter("data.total == 1").matches(large)
    with pytest.raises(ExpressionError, match="values of the event"):
        Filter("size(data.l) == 1").matches(large)


def test_a_small_event_is_cheap() -> None:
    seen = view()
    assert Filter("type.startsWith('order.') && data.total > 10").matches(seen)
    assert seen.steps < 200


def test_a_panic_of_the_library_is_an_error_and_what_ends_the_program_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from posthouse.expressions import library  # noqa: PLC0415 - its inside is replaced here

    class PanicException(BaseException):
        pass

    class Program:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def execute(self, values: object) -> object:
            raise self.error

    with pytest.raises(ExpressionError, match="The expression library failed"):
        library.execute(Program(PanicException()), {})
    with pytest.raises(KeyboardInterrupt):
        library.execute(Program(KeyboardInterrupt()), {})


def test_the_library_brings_no_terminal_along() -> None:
    check = (
        "import sys; from posthouse.expressions.filter import Filter; Filter('true');"
        "print(sorted({'prompt_toolkit', 'pygments', 'rich', 'typer'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
