"""Programs: one expression, ready to be evaluated over events, within a budget of steps."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from posthouse.core.limits import (
    EXPRESSION_CHARS_MAX,
    EXPRESSION_LEVELS_MAX,
    EXPRESSION_NODES_MAX,
    EXPRESSION_STEPS_MAX,
    EXPRESSIONS_KEPT_MAX,
)
from posthouse.expressions.cost import TYPES, check, steps_of
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import VARIABLES, EventView
from posthouse.expressions.extent import NODE_STEPS, Extent, extent_of
from posthouse.expressions.library import compile_expression, execute
from posthouse.expressions.syntax import Macro, Name, Node, Select, children, parse, walk

_KNOWN_MAX: Final = 64  #: extents of events whose steps a program remembers
_DATA: Final = frozenset({"data", "body"})

#: Field → what is used of it; None: all of it.
_Uses = dict[str, "_Uses"] | None


class Program:
    """One expression. It gets no more of an event than it looks at, so that its cost depends on that alone."""

    def __init__(self, source: str, tree: Node) -> None:
        self._tree = tree
        self._program = compile_expression(source)
        self._names, self._uses = _uses_of(tree)
        self._known: dict[tuple[Extent, ...], int] = {}

    def evaluate(self, view: EventView) -> Any:
        """What it makes of an event. Raises ExpressionError, also if it could take too many steps."""
        values = {
            name: _part(view.data, self._uses[name]) if name in _DATA else view.value(name) for name in self._names
        }
        try:
            steps = self._steps(tuple(map(extent_of, values.values())))
        except ExpressionError:
            view.steps += EXPRESSION_STEPS_MAX  # so much was looked at until it was known to be too much
            raise
        view.steps += min(steps, EXPRESSION_STEPS_MAX)
        if steps > EXPRESSION_STEPS_MAX:
            raise ExpressionError(
                f"It could take {steps:,} steps for this event; at most {EXPRESSION_STEPS_MAX:,} are allowed."
            )
        return execute(self._program, values)

    def _steps(self, extents: tuple[Extent, ...]) -> int:
        """How many steps it takes at most, what goes in and comes out included."""
        steps = self._known.get(extents)
        if steps is None:
            steps, result = steps_of(self._tree, dict(zip(self._names, extents, strict=True)))
            steps += NODE_STEPS * (result[0].nodes + sum(extent[0].nodes for extent in extents))
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[extents] = steps
        return steps


@lru_cache(maxsize=EXPRESSIONS_KEPT_MAX)
def compile_program(source: str, *, whole_max: int = EXPRESSION_CHARS_MAX) -> Program:
    """The program of ``source``, which has at most ``whole_max`` characters. Raises ExpressionError."""
    if len(source) > whole_max:
        raise ExpressionError(f"An expression has at most {whole_max:,} characters.")
    tree = parse(source)
    nodes = 0
    for node, level in walk(tree):
        nodes += 1
        if level > EXPRESSION_LEVELS_MAX:
            raise ExpressionError(f"It has more than {EXPRESSION_LEVELS_MAX} levels; use brackets, or make it shorter.")
        check(node)
        if isinstance(node, Macro) and node.variable in VARIABLES:
            raise ExpressionError(f"{node.variable!r} names a part of the event; use another name in {node.name}.")
    if nodes > EXPRESSION_NODES_MAX:
        raise ExpressionError(f"It has {nodes} parts; at most {EXPRESSION_NODES_MAX} are allowed.")
    return Program(source, tree)


def _uses_of(tree: Node) -> tuple[tuple[str, ...], Mapping[str, _Uses]]:
    """The variables that an expression uses, and of the event's data the fields."""
    names: set[str] = set()
    uses: dict[str, _Uses] = {}

    def note(node: Node, scope: frozenset[str]) -> None:
        path = _path_of(node)
        if path is not None and path[0] not in scope:
            root, *fields = path
            if root not in VARIABLES:
                if root in TYPES and not fields:
                    return
                raise ExpressionError(f"There is no variable {root!r}; there are {', '.join(VARIABLES)}.")
            names.add(root)
            if root in _DATA:
                _add(uses, root, fields)
            return
        if isinstance(node, Macro):
            note(node.over, scope)
            for body in node.bodies:
                note(body, scope | {node.variable})
            return
        for child in children(node):
            note(child, scope)

    note(tree, frozenset())
    return tuple(sorted(names)), uses


def _path_of(node: Node) -> list[str] | None:
    """A variable and the fields selected from it: ``data.user.name``."""
    fields: list[str] = []
    while isinstance(node, Select):
        fields.append(node.field)
        node = node.operand
    return [node.name, *reversed(fields)] if isinstance(node, Name) else None


def _add(uses: dict[str, _Uses], field: str, rest: list[str]) -> None:
    if not rest or (field in uses and uses[field] is None):
        uses[field] = None
        return
    below = uses.setdefault(field, {})
    assert below is not None
    _add(below, rest[0], rest[1:])


def _part(value: Any, uses: _Uses) -> Any:
    """``value`` with the fields that are used; as it is where it has no fields."""
    if uses is None or not isinstance(value, dict):
        return value
    return {field: _part(value[field], below) for field, below in uses.items() if field in value}
