"""Numbers of nodes: parts of the keys that they make."""

from collections.abc import Collection

from posthouse.core.errors import TooManyNodes
from posthouse.core.ids import NODES_MAX


def next_number(latest: int, taken: Collection[int]) -> int:
    """The first number behind ``latest``, the one given out last, that nobody has; behind the greatest comes 1.

    Raises:
        TooManyNodes: All are taken.
    """
    others = frozenset(taken)
    for step in range(NODES_MAX - 1):
        number = (latest + step) % (NODES_MAX - 1) + 1
        if number not in others:
            return number
    raise TooManyNodes
