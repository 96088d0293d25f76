"""Makes the keys of one node: ever greater, never asked of the store."""

from posthouse.core.ids import NODES_MAX, next_key
from posthouse.core.ports import Clock


class KeySource:
    """Calling it gives the next key. ``floor`` is the greatest key that the store holds already."""

    def __init__(self, clock: Clock, *, node: int, floor: int) -> None:
        assert 0 <= node < NODES_MAX
        self._clock = clock
        self._node = node
        self._last = floor

    def renumber(self, node: int) -> None:
        """Make keys of this number from now on: no other node has it."""
        assert 0 <= node < NODES_MAX
        self._node = node

    def raise_to(self, floor: int) -> None:
        """Let every later key be greater than ``floor``: another node made that one, by its own clock."""
        self._last = max(self._last, floor)

    def __call__(self) -> int:
        """A key greater than every one before it and than the floor."""
        self._last = next_key(self._last, self._clock.now_ms(), self._node)
        return self._last
