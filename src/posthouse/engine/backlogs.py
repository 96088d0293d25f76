"""Which jobs hold the backlog of which endpoints. Every node holds it for those that it works for."""

from posthouse.core.jobs import JobFilter
from posthouse.core.model import Lane
from posthouse.engine.board import Board
from posthouse.engine.windows import Desk


class Backlogs:
    """Holds backlog lanes while jobs move what is in them."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._scopes: dict[int, JobFilter] = {}  # by holder

    def made(self, desk: Desk) -> None:
        """A desk is new."""
        desk.holders = sum(scope.covers(desk.endpoint) for scope in self._scopes.values())

    def hold(self, holder: int, scope: JobFilter) -> None:
        """Send nothing from the backlog lanes of the endpoints in ``scope``, until it is released. Idempotent."""
        if holder not in self._scopes:
            self._scopes[holder] = scope
            for desk in self._covered(scope):
                desk.holders += 1
                self._board.forget(desk.window(Lane.BACKLOG))

    def release(self, holder: int) -> list[int]:
        """What was held goes on: keys of those endpoints. Idempotent."""
        scope = self._scopes.pop(holder, None)
        freed = [] if scope is None else self._covered(scope)
        for desk in freed:
            desk.holders -= 1
        return [desk.endpoint.key for desk in freed]

    def _covered(self, scope: JobFilter) -> list[Desk]:
        return [desk for desk in self._board.desks() if scope.covers(desk.endpoint)]
