"""How large values are, level by level: what the cost of an expression depends on."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from posthouse.core.limits import EXPRESSION_STEPS_MAX
from posthouse.expressions.errors import ExpressionError

NODE_STEPS: Final = 10  #: to look at one value of an event and hand it to the library
_NODES_MAX: Final = EXPRESSION_STEPS_MAX // NODE_STEPS
_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 64) - 1


class Level(NamedTuple):
    """The largest of all values so many levels deep; each number is a bound of its own."""

    nodes: int  #: values in it, itself and keys included
    width: int  #: elements or fields that it has itself
    size: int  #: characters of all strings and bytes in it


#: A value's own level, that of what it holds, and so on.
Extent = tuple[Level, ...]

SCALAR: Final[Extent] = (Level(1, 0, 0),)


def extent_of(value: Any) -> Extent:
    """The extent of a JSON value. Raises ExpressionError if it is more than any expression may look at."""
    levels: list[list[int]] = []
    _measure(value, levels, 0)
    return tuple(Level(nodes, width, _rounded(size)) for nodes, width, size in levels)


def text(size: int) -> Extent:
    """The extent of a string of this size."""
    return (Level(1, 0, size),)


def inside(extent: Extent) -> Extent:
    """The extent of any one element or field."""
    return extent[1:] or SCALAR


def either(extents: Iterable[Extent]) -> Extent:
    """The extent of a value that is one of these."""
    found: list[Level] = [SCALAR[0]]
    for extent in extents:
        for depth, level in enumerate(extent):
            if depth == len(found):
                found.append(level)
            else:
                found[depth] = Level(*map(max, found[depth], level))
    return tuple(found)


def joined(left: Extent, right: Extent) -> Extent:
    """The extent of ``left + right``: strings or lists, one behind the other."""
    own = Level(*(a + b for a, b in zip(left[0], right[0], strict=True)))
    return (own, *either((left, right))[1:])


def holding(items: Iterable[Extent], *, width: int, times: int = 1) -> Extent:
    """The extent of a list or map of ``width`` elements that holds each of ``items`` so many ``times``."""
    items = tuple(items)
    nodes = 1 + times * sum(item[0].nodes for item in items)
    return (Level(nodes, width, times * sum(item[0].size for item in items)), *(either(items) if items else ()))


def _measure(value: Any, levels: list[list[int]], depth: int) -> tuple[int, int]:
    if depth == len(levels):
        levels.append([1, 0, 0])
    nodes, width, size = 1, 0, 0
    if isinstance(value, str):
        size = len(value.encode())
    elif isinstance(value, dict):
        width = len(value)
        for key, item in value.items():
            of_key, of_item = _measure(key, levels, depth + 1), _measure(item, levels, depth + 1)
            nodes += of_key[0] + of_item[0]
            size += of_key[1] + of_item[1]
            _check_nodes(nodes)
    elif isinstance(value, list):
        width = len(value)
        for item in value:
            of_item = _measure(item, levels, depth + 1)
            nodes += of_item[0]
            size += of_item[1]
            _check_nodes(nodes)
    elif isinstance(value, int) and not _INTEGER_MIN <= value <= _INTEGER_MAX:
        raise ExpressionError("It looks at a whole number that does not fit into 64 bits.")
    level = levels[depth]
    if nodes > level[0] or width > level[1] or size > level[2]:
        levels[depth] = [max(nodes, level[0]), max(width, level[1]), max(size, level[2])]
    return nodes, size


def _rounded(size: int) -> int:
    """The next power of two: events that differ little have the same extent, and its cost is known already."""
    return 1 << (size - 1).bit_length() if size else 0


def _check_nodes(nodes: int) -> None:
    if nodes > _NODES_MAX:
        raise ExpressionError(f"It looks at more than {_NODES_MAX} values of the event.")
