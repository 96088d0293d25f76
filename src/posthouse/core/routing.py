"""Which endpoints an event is owed to: a pure function of its type and the endpoints' patterns.

Three forms of pattern exist. ``*`` takes every event. ``order.created`` takes that very type.
``order.*`` takes every type that starts with ``order.``, at any depth; the star stands at the end,
right after one of the separators ``. : / - _``. Case counts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import EVENT_TYPE_CHARS_MAX

EVERYTHING: Final = "*"
MEMO_TYPES_MAX: Final = 4_096  #: event types whose routes a router remembers

_TYPE: Final = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{EVENT_TYPE_CHARS_MAX}}}")
_PREFIX: Final = re.compile(rf"[A-Za-z0-9_.:/-]{{0,{EVENT_TYPE_CHARS_MAX - 1}}}[.:/_-]")
_SEPARATOR: Final = re.compile(r"[.:/_-]")


def validate_event_type(text: str) -> None:
    """Raise :class:`InvalidInput` unless ``text`` is an event type: 1..128 of ``A-Z a-z 0-9 _ . : / -``."""
    if _TYPE.fullmatch(text) is None:
        raise InvalidInput.at(
            "type",
            "event_type",
            f"An event type has 1 to {EVENT_TYPE_CHARS_MAX} characters out of letters, digits and _ . : / -",
            hint="Use a type such as 'order.created'.",
        )


def validate_pattern(pattern: str) -> None:
    """Raise :class:`InvalidInput` unless ``pattern`` has one of the three forms that this module names."""
    if pattern == EVERYTHING or _TYPE.fullmatch(pattern) is not None:
        return
    if not pattern.endswith(EVERYTHING) or _PREFIX.fullmatch(pattern, 0, len(pattern) - 1) is None:
        raise InvalidInput.at(
            "events",
            "event_pattern",
            "An event pattern is '*', an event type, or a prefix that ends in a separator (. : / - _) and '*'.",
            hint="Use a pattern such as '*', 'order.created' or 'order.*'.",
        )


class Router:
    """The routes of one set of endpoints, ready to be asked.

    Args:
        patterns: endpoint key → its patterns, each valid by :func:`validate_pattern`.
    """

    __slots__ = ("_everything", "_exact", "_memo", "_prefixes")

    def __init__(self, patterns: Mapping[int, Sequence[str]]) -> None:
        self._everything: set[int] = set()
        self._exact: dict[str, set[int]] = {}
        self._prefixes: dict[str, set[int]] = {}
        self._memo: dict[str, tuple[int, ...]] = {}
        for key, wanted in patterns.items():
            for pattern in wanted:
                if pattern == EVERYTHING:
                    self._everything.add(key)
                elif pattern.endswith(EVERYTHING):
                    self._prefixes.setdefault(pattern[:-1], set()).add(key)
                else:
                    self._exact.setdefault(pattern, set()).add(key)

    def match(self, event_type: str) -> tuple[int, ...]:
        """Keys of the endpoints that take ``event_type``, ascending, each once."""
        keys = self._memo.get(event_type)
        if keys is None:
            if len(self._memo) >= MEMO_TYPES_MAX:
                self._memo.clear()
            keys = self._memo[event_type] = self._find(event_type)
        return keys

    def _find(self, event_type: str) -> tuple[int, ...]:
        found = self._everything | self._exact.get(event_type, set())
        if self._prefixes:
            for separator in _SEPARATOR.finditer(event_type):
                found |= self._prefixes.get(event_type[: separator.end()], set())
        return tuple(sorted(found))
