"""Whatever an expression and an event are: a result, or an ExpressionError, within the budget."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.limits import EXPRESSION_STEPS_MAX
from posthouse.expressions.cost import steps_of
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.extent import extent_of
from posthouse.expressions.program import compile_program
from posthouse.expressions.syntax import parse

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner, max_size=4),
    max_leaves=25,
)
LEAVES = st.sampled_from(
    [
        "data",
        "data.a",
        "data.a.b",
        "data['c d']",
        "body.b",
        "type",
        "timestamp",
        "1",
        "2.5",
        "3u",
        "'x'",
        "null",
        "-1",
        "true",
        "[]",
        "{}",
        "headers",
        "ordering_key",
        "9223372036854775807",
        "0",
        "b'x'",
        "'ä'",
    ]
)


def _extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", "&&", "||", "in"]), inner
        ).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.tuples(st.sampled_from(["all", "exists", "exists_one", "map", "filter"]), inner, inner).map(
            lambda parts: f"{parts[1]}.{parts[0]}(v, {parts[2]} == v)"
        ),
        two.map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        two.map(lambda parts: f"[{parts[0]}, {parts[1]}]"),
        two.map(lambda parts: f"{{'k': {parts[0]}, 'l': {parts[1]}}}"),
        two.map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[0]})"),
        two.map(lambda parts: f"{parts[0]}.contains({parts[1]})"),
        st.tuples(
            st.sampled_from(
                ["size", "int", "uint", "double", "string", "timestamp", "duration", "type", "dyn", "bytes"]
            ),
            inner,
        ).map(lambda parts: f"{parts[0]}({parts[1]})"),
        inner.map(lambda one: f"{one}.matches('^[a-z]+(x|y)*$')"),
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"-{one}"),
    )


EXPRESSIONS = st.recursive(LEAVES, _extend, max_leaves=8)


def view(data: Any) -> EventView:
    raw = json.dumps(data).encode()
    return EventView(type="a.b", id="e", tenant="t", timestamp=1, ordering_key=None, data=raw)


def evaluated(text: str, seen: EventView) -> str | None:
    """Why it failed; None: it has a result."""
    try:
        compile_program(text).evaluate(seen)
    except ExpressionError as error:
        return error.reason
    return None


@settings(max_examples=300, deadline=None)
@given(text=EXPRESSIONS, data=DATA)
def test_an_expression_has_a_result_or_fails_with_a_reason(text: str, data: Any) -> None:
    seen = view(data)
    reason = evaluated(text, seen)
    assert reason is None or (reason and "\n" not in reason)
    assert seen.steps <= EXPRESSION_STEPS_MAX + len(json.dumps(data))


@given(text=st.text(alphabet="data.xml(){}[]'\"\\rb01uU eE+-*/%!<>=&|?:,\n\t_$#@", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    assert evaluated(text, view({"x": 1})) != ""


@given(text=EXPRESSIONS, data=DATA, more=SCALARS)
def test_a_larger_event_never_takes_fewer_steps(text: str, data: Any, more: Any) -> None:
    """What an event takes can be known from bounds of its extent alone."""
    tree = parse(text)
    try:
        extents = [extent_of(value) for value in (data, [data, more])]
    except ExpressionError:
        return
    nested = {"data": extents[1][1:] if len(extents[1]) > 1 else extents[1]}
    assert steps_of(tree, {"data": extents[0]})[0] <= steps_of(tree, nested)[0]
