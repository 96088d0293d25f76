"""What happened in a simulation, in its order, as one hash."""

from collections import deque
from hashlib import blake2b
from typing import Final

_LINES_AT_ONCE: Final = 4_096


class Trace:
    """A running BLAKE2b over short lines. Two histories are the same if their digests are.

    Args:
        tail: how many of the last lines to keep for a report.

    Attributes:
        lines: those that are not hashed yet. The loop appends to it directly, because it does so for
            every callback; nobody else writes here, or replaces it.
    """

    def __init__(self, tail: int = 0) -> None:
        self.lines: list[str] = []
        self._hash = blake2b(digest_size=16)
        self._hashed = 0
        self._kept: deque[str] = deque(maxlen=tail)

    def note(self, kind: str, *values: object) -> None:
        """Add a line. The values must read the same in every run: no addresses, no unordered sets."""
        self.lines.append(" ".join((kind, *map(str, values))))
        if len(self.lines) >= _LINES_AT_ONCE:
            self.hash_lines()

    def hash_lines(self) -> None:
        """Take what was collected into the hash."""
        lines = self.lines
        if lines:
            self._hash.update("\n".join((*lines, "")).encode())
            self._hashed += len(lines)
            self._kept.extend(lines)
            lines.clear()

    @property
    def digest(self) -> str:
        """The hash of all lines so far, in hexadecimal."""
        self.hash_lines()
        return self._hash.hexdigest()

    @property
    def count(self) -> int:
        """How many lines there are in all."""
        return self._hashed + len(self.lines)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, as many as were asked for."""
        self.hash_lines()
        return tuple(self._kept)
