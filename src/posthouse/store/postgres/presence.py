"""Whether the lanes have their connections, and who is told when they have them again."""

from collections.abc import Callable

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.telemetry import Log, log


class Presence:
    """Hears of every connection that a lane loses and gets.

    Behind a new connection may be another server, or one that recovered: what memory knows of rows may not be true
    any more. So whoever remembers some is told each time that all lanes are back.
    """

    def __init__(self, monotonic: Callable[[], float], *, reach: Reach = pass_by) -> None:
        self._monotonic = monotonic
        self._reach = reach
        self._away: set[str] = set()
        self._since = 0.0
        self._told: list[Callable[[], None]] = []

    def when_back(self, told: Callable[[], None]) -> None:
        """Call ``told`` each time that lanes were lost and all are back."""
        self._told.append(told)

    def lost(self, lane: str) -> None:
        """A lane has no connection any more. Told more than once, it counts once."""
        if lane in self._away:
            return
        if not self._away:
            self._since = self._monotonic()
            log(Log.STORE_LOST, lane=lane)
        self._away.add(lane)
        self._reach(Failpoint.LANE_LOST)

    def back(self, lane: str) -> None:
        """A lane has a connection again."""
        if lane not in self._away:
            return
        self._away.discard(lane)
        self._reach(Failpoint.LANE_BACK)
        if not self._away:
            log(Log.STORE_BACK, seconds=round(self._monotonic() - self._since, 3))
            for told in self._told:
                told()
