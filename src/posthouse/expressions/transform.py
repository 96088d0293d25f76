"""Transformations: what an endpoint gets as ``data``, made of the event's."""

from functools import lru_cache
from typing import Any, Final

import msgspec

from posthouse.core.envelope import check_json
from posthouse.core.errors import InvalidInput, PosthouseError
from posthouse.core.limits import (
    EVENT_BODY_BYTES_MAX,
    EXPRESSIONS_KEPT_MAX,
    TRANSFORM_CHARS_MAX,
    TRANSFORM_DEPTH_MAX,
    TRANSFORM_EXPRESSIONS_MAX,
)
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.program import Program, compile_program
from posthouse.expressions.result import json_of

_HINT: Final = """Use a JSON object of names and CEL expressions, such as {"order": "data.id", "by": "data.user"}."""


class Transform:
    """A JSON object of field names and CEL expressions; objects nest. Raises ExpressionError if it is none.

    All of it is evaluated as one expression, so one budget of steps holds for the whole.
    """

    __slots__ = ("_fields", "_program")

    def __init__(self, text: str) -> None:
        self._program, self._fields = _compile(text)

    def apply(self, view: EventView) -> bytes:
        """The new data, as JSON of at most ``EVENT_BODY_BYTES_MAX``. Raises ExpressionError, which names the field."""
        try:
            result = self._program.evaluate(view)
        except ExpressionError as error:
            raise self._named(view, error) from error
        encoded = msgspec.json.encode(json_of(result), order="sorted")  # the library keeps no order
        if len(encoded) > EVENT_BODY_BYTES_MAX:
            raise ExpressionError(f"The result is larger than {EVENT_BODY_BYTES_MAX} bytes.")
        try:
            check_json(encoded)
        except PosthouseError as error:
            raise ExpressionError(error.message) from error
        return encoded

    def _named(self, view: EventView, error: ExpressionError) -> ExpressionError:
        """``error`` with the field that fails by itself, if one does."""
        for name, program in self._fields:
            try:
                program.evaluate(view)
            except ExpressionError as own:
                return ExpressionError(f"{name}: {own.reason}")
        return error


def validate_transform(text: str) -> None:
    """Raise InvalidInput unless ``text`` is a transformation."""
    try:
        Transform(text)
    except ExpressionError as error:
        raise InvalidInput.at("transform", "expression", error.reason, hint=_HINT) from error


@lru_cache(maxsize=EXPRESSIONS_KEPT_MAX)
def _compile(text: str) -> tuple[Program, tuple[tuple[str, Program], ...]]:
    if len(text) > TRANSFORM_CHARS_MAX:
        raise ExpressionError(f"A transformation has at most {TRANSFORM_CHARS_MAX:,} characters.")
    try:
        wanted = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise ExpressionError(f"It is not valid JSON: {error}.") from error
    fields: list[tuple[str, Program]] = []
    source = _object(wanted, "", fields, 1)
    return compile_program(source, whole_max=2 * TRANSFORM_CHARS_MAX), tuple(fields)


def _object(wanted: Any, path: str, fields: list[tuple[str, Program]], depth: int) -> str:
    """The CEL map of an object; the programs of its fields are appended to ``fields``."""
    if not isinstance(wanted, dict) or not wanted:
        raise ExpressionError(f"{path or 'It'}: a JSON object of names and expressions is needed, with one at least.")
    if depth > TRANSFORM_DEPTH_MAX:
        raise ExpressionError(f"Objects nest at most {TRANSFORM_DEPTH_MAX} deep.")
    parts = []
    for name, value in wanted.items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, str):
            try:
                fields.append((where, compile_program(value)))
            except ExpressionError as error:
                raise ExpressionError(f"{where}: {error.reason}") from error
            made = f"({value})"
        else:
            made = _object(value, where, fields, depth + 1)
        if len(fields) > TRANSFORM_EXPRESSIONS_MAX:
            raise ExpressionError(f"A transformation has at most {TRANSFORM_EXPRESSIONS_MAX} expressions.")
        parts.append(f"{msgspec.json.encode(name).decode()}:{made}")
    return "{" + ",".join(parts) + "}"
