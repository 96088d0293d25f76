"""What a regular expression can cost, from its text alone. The library compiles one whenever it is used."""

import re
from math import prod
from typing import Final, NamedTuple

from posthouse.core.limits import PATTERN_CHARS_MAX
from posthouse.expressions.errors import ExpressionError

_REPEAT: Final = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
_WIDE: Final = re.compile(r"\\[wWpPbBX]|\(\?[a-zA-Z]*i")  # classes of all of Unicode, or everything in both cases
_CLASS: Final = re.compile(r"\\[dDsS]|\[\^")
_FLAGS: Final = re.compile(r"\(\?(?!:|i\)|P?<)")
_WIDE_STEPS: Final = 3_000
_CLASS_STEPS: Final = 200
_ANY_STEPS: Final = 30
_CHAR_STEPS: Final = 5
_BASE_STEPS: Final = 150
_STATES_PER_STEP: Final = 16


class PatternCost(NamedTuple):
    """Steps of one ``matches``: ``fixed``, and ``per_char`` for each character of the text."""

    fixed: int
    per_char: float


def pattern_cost(pattern: str) -> PatternCost:
    """The cost of a pattern, as if all its repetitions stood in each other. Raises ExpressionError beyond bounds."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise ExpressionError(f"A pattern has at most {PATTERN_CHARS_MAX} characters.")
    if _FLAGS.search(pattern):
        raise ExpressionError("A pattern may have the flag (?i) and groups, and no other flags.")
    repeats = prod(max(int(least), int(most or 0), 1) for least, most in _REPEAT.findall(pattern))
    states = (len(pattern) + pattern.count(".")) * repeats
    own = (
        _CHAR_STEPS * len(pattern)
        + _ANY_STEPS * pattern.count(".")
        + _CLASS_STEPS * len(_CLASS.findall(pattern))
        + _WIDE_STEPS * len(_WIDE.findall(pattern))
    )
    return PatternCost(_BASE_STEPS + own * repeats, 1 / 16 + states / _STATES_PER_STEP)
