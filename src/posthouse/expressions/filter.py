"""Filters: which events an endpoint wants, beyond their types."""

from typing import Final

from posthouse.core.errors import InvalidInput
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.program import compile_program

_HINT: Final = "Use a CEL expression that is true or false, such as type.startsWith('order.') && data.total > 100."


class Filter:
    """A CEL expression that is true for the events that are wanted. Raises ExpressionError if it is none."""

    __slots__ = ("_program",)

    def __init__(self, text: str) -> None:
        self._program = compile_program(text)

    def matches(self, view: EventView) -> bool:
        """Whether the event is wanted. Raises ExpressionError, also for a result that is neither true nor false."""
        result = self._program.evaluate(view)
        if not isinstance(result, bool):
            raise ExpressionError(f"A filter is true or false, and not a {type(result).__name__}.")
        return result


def validate_filter(text: str) -> None:
    """Raise InvalidInput unless ``text`` is a filter."""
    try:
        Filter(text)
    except ExpressionError as error:
        raise InvalidInput.at("filter", "expression", error.reason, hint=_HINT) from error
