"""How many steps an expression takes at most, known before it is evaluated.

A step is what the library needs to copy one value, about 0.1 µs. The library copies what it selects, and builds the
result of ``map`` and ``filter`` by copying it once for every element; both is counted.
"""

from collections.abc import Mapping
from typing import Final

from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.extent import SCALAR, Extent, either, holding, inside, joined, text
from posthouse.expressions.patterns import pattern_cost
from posthouse.expressions.syntax import Call, Index, ListOf, Literal, Macro, MapOf, Name, Node, Select

_CHARS_PER_STEP: Final = 64  #: that are copied or compared in one step
_SEARCHED_PER_STEP: Final = 8  #: characters that are searched for a text that begins to fit again and again
_PARSE_STEPS: Final = 30  #: a number or a time is read from text, or written
_SCALAR_TEXT: Final = 64  #: characters of any number or time as text
_LOOP_STEPS: Final = 4  #: of each element, besides what is asked about it
#: Functions and methods, with the numbers of arguments (a method's receiver is the first).
_FUNCTIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "bool": (1,),
    "bytes": (1,),
    "contains": (2,),
    "double": (1,),
    "duration": (1,),
    "dyn": (1,),
    "endsWith": (2,),
    "getDate": (1,),
    "getDayOfMonth": (1,),
    "getDayOfWeek": (1,),
    "getDayOfYear": (1,),
    "getFullYear": (1,),
    "getHours": (1,),
    "getMilliseconds": (1,),
    "getMinutes": (1,),
    "getMonth": (1,),
    "getSeconds": (1,),
    "has": (1,),
    "int": (1,),
    "matches": (2,),
    "size": (1,),
    "startsWith": (2,),
    "string": (1,),
    "timestamp": (1,),
    "type": (1,),
    "uint": (1,),
}
#: Names of types, to compare the answer of ``type`` with.
TYPES: Final = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"})


def check(node: Node) -> None:
    """Raise ExpressionError if a function is unknown, or a pattern is not known in advance."""
    if not isinstance(node, Call) or node.name == "in" or not node.name[0].isalpha():
        return
    counts = _FUNCTIONS.get(node.name)
    if counts is None:
        raise ExpressionError(f"There is no function {node.name!r}; there are {', '.join(_FUNCTIONS)}.")
    if len(node.arguments) not in counts:
        raise ExpressionError(f"{node.name} takes {counts[0]} argument(s), the value in front of its dot included.")
    if node.name == "matches":
        pattern_cost(_pattern(node))


def steps_of(node: Node, values: Mapping[str, Extent]) -> tuple[int, Extent]:
    """How many steps ``node`` takes at most where its variables have these extents, and the extent of its result."""
    meter = _Meter(dict(values))
    result = meter.extent(node)
    return int(meter.steps), result


def _pattern(node: Call) -> str:
    pattern = node.arguments[1]
    if not isinstance(pattern, Literal) or pattern.text[-1] not in "\"'":
        raise ExpressionError("The pattern of matches is a string that stands in the expression itself.")
    return pattern.text


class _Meter:
    """Walks a tree once, adding up steps."""

    def __init__(self, values: dict[str, Extent]) -> None:
        self._values = values
        self.steps: float = 0

    def extent(self, node: Node) -> Extent:
        """The extent of what ``node`` becomes; its steps are counted."""
        found = self._extent(node)
        self.steps += 1 + found[0].nodes + found[0].size / _CHARS_PER_STEP
        return found

    def _extent(self, node: Node) -> Extent:
        match node:
            case Literal(source):
                found = text(len(source.encode()))
            case Name(name):
                found = self._values.get(name, SCALAR)
            case Select(operand, _):
                found = inside(self.extent(operand))
            case Index(operand, key):
                self.extent(key)
                found = inside(self.extent(operand))
            case ListOf(items) | MapOf(items):
                found = holding([self.extent(item) for item in items], width=len(items))
            case Macro():
                found = self._macro(node)
            case Call():
                found = self._call(node)
        return found

    def _call(self, node: Call) -> Extent:
        arguments = [self.extent(argument) for argument in node.arguments]
        # Both sides may be compared, searched or copied as a whole.
        self.steps += sum(argument[0].nodes + argument[0].size / _CHARS_PER_STEP for argument in arguments)
        found = text(_SCALAR_TEXT)
        match node.name:
            case "+":
                found = joined(*arguments)
            case "?:":
                found = either(arguments[1:])
            case "string" | "bytes" | "int" | "uint" | "double" | "timestamp" | "duration" | "bool" | "dyn":
                self.steps += _PARSE_STEPS
                found = either((*arguments, found))
            case "contains":
                self.steps += arguments[0][0].size / _SEARCHED_PER_STEP
            case "matches":
                cost = pattern_cost(_pattern(node))
                self.steps += cost.fixed + cost.per_char * arguments[0][0].size
        return found

    def _macro(self, node: Macro) -> Extent:
        over = self.extent(node.over)
        width = over[0].width
        shadowed = self._values.get(node.variable)
        self._values[node.variable] = inside(over)
        before = self.steps
        bodies = [self.extent(body) for body in node.bodies]
        once = self.steps - before + _LOOP_STEPS + inside(over)[0].nodes
        self.steps = before + once * max(width, 1)
        if shadowed is None:
            del self._values[node.variable]
        else:
            self._values[node.variable] = shadowed
        if node.name not in {"map", "filter"}:
            return SCALAR
        result = over if node.name == "filter" else holding(bodies[-1:], width=width, times=width)
        self.steps += width * (result[0].nodes + result[0].size / _CHARS_PER_STEP)
        return result
