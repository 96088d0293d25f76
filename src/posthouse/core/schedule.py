"""Whose turn it is: lanes share a busy node, then tenants by their weights, then endpoints one by one.

Turns of tenants are those of deficit round robin (Shreedhar and Varghese, 1995) where every delivery costs the
same: who comes to the front may send as many as its weight, then goes to the end. A tenant without work keeps no
credit. Every step costs the same, however many endpoints have work.
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from posthouse.core.model import SENT_LANES, Lane

#: The lanes other than live keep one turn in so many (20 %) while they have work that can go.
OTHERS_PART: Final = 5

Group = TypeVar("Group", bound=Hashable)
Member = TypeVar("Member")


class Answer(Enum):
    """What somebody whose turn it is makes of it."""

    TAKEN = 0  #: used; it may have more
    LAST = 1  #: used; it has nothing more that can go now, and leaves
    AWAY = 2  #: not used; it has nothing that can go now, and leaves; who knows better adds it again
    GROUP_AWAY = 3  #: not used; nobody of its group may go now; the group leaves as it is, until ``restore``


class _Turns(Generic[Group, Member]):
    """The members of one group, and how much of its weight it may still use in this turn."""

    __slots__ = ("credit", "group", "members")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.members: deque[Member] = deque()
        self.credit = 0


class Rotation(Generic[Group, Member]):
    """Groups that take turns by weight; the members of a group take one each in turn."""

    def __init__(self, weight: Callable[[Group], int]) -> None:
        """``weight`` tells how many turns in a row a group has; asked when its turn begins."""
        self._weight = weight
        self._known: dict[Group, _Turns[Group, Member]] = {}
        self._ring: deque[_Turns[Group, Member]] = deque()
        self._away: set[Group] = set()

    def __bool__(self) -> bool:
        """Whether somebody may have a turn."""
        return bool(self._ring)

    def add(self, group: Group, member: Member) -> None:
        """Put a member, which must not be in it, behind the others of its group."""
        turns = self._known.get(group)
        if turns is None:
            turns = self._known[group] = _Turns(group)
            if group not in self._away:
                self._ring.append(turns)
        turns.members.append(member)

    def restore(self, group: Group) -> None:
        """Let a group that went away take part again. Idempotent."""
        if group in self._away:
            self._away.discard(group)
            turns = self._known.get(group)
            if turns is not None:
                self._ring.append(turns)

    def serve(self, ask: Callable[[Member], Answer]) -> bool:
        """Ask those whose turn it is until one takes it; False if nobody does.

        Who answers LAST or AWAY has left, and so has a group that is GROUP_AWAY: nobody is asked twice for nothing.
        """
        ring = self._ring
        while ring:
            turns = ring[0]
            if turns.credit <= 0:
                turns.credit = max(1, self._weight(turns.group))
            members = turns.members
            member = members.popleft()
            answer = ask(member)
            used = answer is Answer.TAKEN or answer is Answer.LAST
            if used:
                turns.credit -= 1
            if answer is Answer.GROUP_AWAY:
                members.appendleft(member)
                self._away.add(turns.group)
            elif answer is Answer.TAKEN:
                members.append(member)
            if not members or answer is Answer.GROUP_AWAY:
                turns.credit = 0
                ring.popleft()
            elif not turns.credit:
                ring.rotate(-1)
            if not members:
                del self._known[turns.group]
            if used:
                return True
        return False


class Lanes(Generic[Group, Member]):
    """A rotation for each lane: live first, and every fifth turn to the others while they have work that can go."""

    def __init__(self, weight: Callable[[Group], int]) -> None:
        self.rotations: Mapping[Lane, Rotation[Group, Member]] = MappingProxyType(
            {lane: Rotation(weight) for lane in SENT_LANES}
        )
        self._turn = 0
        self._retry_first = True

    def add(self, lane: Lane, group: Group, member: Member) -> None:
        """Put a member behind the others of its group and lane."""
        self.rotations[lane].add(group, member)

    def restore(self, group: Group) -> None:
        """Let a group take part again, in every lane. Idempotent."""
        for rotation in self.rotations.values():
            rotation.restore(group)

    def choose(self, capacity: int, ask: Callable[[Member], Answer]) -> int:
        """Give up to ``capacity`` turns; how many were taken. Less only if nobody is left who can use one.

        Costs O(capacity and who leaves).
        """
        live = self.rotations[Lane.LIVE]
        taken = 0
        while taken < capacity:
            self._turn += 1
            if live and self._turn % OTHERS_PART:
                served = live.serve(ask) or self._serve_others(ask)
            else:
                served = self._serve_others(ask) or live.serve(ask)
            if not served:
                break
            taken += 1
        return taken

    def _serve_others(self, ask: Callable[[Member], Answer]) -> bool:
        """One turn of retry or backlog, of each in turn."""
        retry, backlog = self.rotations[Lane.RETRY], self.rotations[Lane.BACKLOG]
        if not (retry or backlog):
            return False
        first, second = (retry, backlog) if self._retry_first else (backlog, retry)
        self._retry_first = not self._retry_first
        return first.serve(ask) or second.serve(ask)
