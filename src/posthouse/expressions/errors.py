"""What an expression fails with."""

import re
from typing import Final

_REASON_CHARS_MAX: Final = 300
_SPACE: Final = re.compile(r"\s+")


class ExpressionError(Exception):
    """An expression is not valid, or has no usable result for this event. :attr:`reason` is one line for people."""

    def __init__(self, reason: str) -> None:
        self.reason = _SPACE.sub(" ", reason[: 2 * _REASON_CHARS_MAX]).strip()[:_REASON_CHARS_MAX]
        super().__init__(self.reason)
