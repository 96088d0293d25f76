"""Whoever looks at the whole fleet: for each slot who works for it, how long nobody did, and whether ever two might."""

from collections.abc import Sequence

from posthouse.core.model import SLOTS
from posthouse.testing.fleet.member import Member
from posthouse.testing.fleet.world import World

_HINT_SECONDS = 0.01  #: until a hint arrives, at least; at most three times as long


class Watch:
    """The laws of a fleet, held against what its nodes tell.

    Attributes:
        members: all that ever were.
        serving: by slot, who works for it.
        moves: how often a slot got another node.
        gaps: why nobody worked for a slot → the longest time of that.
        doubles: what two nodes might have sent for at once; must stay empty.
        owned_at: when every slot had somebody who works for it, the last time that it came to that.
        moved_at: when the last slot moved.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.members: list[Member] = []
        self.serving: list[Member | None] = [None] * SLOTS
        self._last: list[Member | None] = [None] * SLOTS
        self._rested: list[tuple[str, float] | None] = [None] * SLOTS
        self._holders: list[set[Member]] = [set() for _ in range(SLOTS)]
        self._idle = SLOTS
        self.moves = 0
        self.gaps: dict[str, float] = {}
        self.doubles: list[str] = []
        self.owned_at = self.moved_at = 0.0

    @property
    def is_served(self) -> bool:
        """Whether somebody works for each slot, as far as it was told."""
        return self._idle == 0

    @property
    def living(self) -> list[Member]:
        """Who is there."""
        return [member for member in self.members if not member.ended]

    def begin_phase(self) -> None:
        """Count and measure from here on."""
        self.moves, self.gaps = 0, {}
        self.owned_at = self.moved_at = self._world.now

    def holds(self, member: Member) -> None:
        """No other node may have one of these while its leases hold."""
        for slot in member.owned:
            holders = self._holders[slot]
            for other in [one for one in holders if one is not member]:
                if not other.may_send(slot):
                    holders.discard(other)
                elif member.may_send(slot):
                    self._double(slot, other, member)
            holders.add(member)

    def serves(self, member: Member, slots: Sequence[int]) -> None:
        """It works for these from now on."""
        for slot in slots:
            before = self.serving[slot]
            if before is member:
                continue
            if before is not None:
                if before.may_send(slot):
                    self._double(slot, before, member)
                self.rests(before, [slot], "lapse", since=min(before.valid_until, self._world.now))
            self._begin(member, slot)

    def rests(self, member: Member, slots: Sequence[int], why: str, *, since: float) -> None:
        """It does not work for these since then."""
        for slot in slots:
            if self.serving[slot] is member:
                self.serving[slot] = None
                self._rested[slot] = why, since
                self._idle += 1

    def freed(self, member: Member) -> None:
        """Everybody else gets a hint, unless it is lost."""
        chance, rules = self._world.chance, self._world.rules
        for other in self.living:
            if other is not member and chance.random() >= rules.hint_lost:
                self._world.after(_HINT_SECONDS * (1 + 2 * chance.random()), other.hear)

    def _begin(self, member: Member, slot: int) -> None:
        now, rested = self._world.now, self._rested[slot]
        if rested is not None:
            why, since = rested
            self.gaps[why] = max(self.gaps.get(why, 0.0), now - since)
        if self._last[slot] not in {None, member}:
            self.moves += 1
            self.moved_at = now
        self.serving[slot] = self._last[slot] = member
        self._idle -= 1
        if not self._idle:
            self.owned_at = now

    def _double(self, slot: int, one: Member, other: Member) -> None:
        self.doubles.append(f"slot {slot} at {self._world.now:.3f} s: {one.name} and {other.name}")
