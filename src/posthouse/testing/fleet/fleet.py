"""A fleet, and what can happen to it; what came of it is measured when it has come to rest."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from posthouse.core.assignment import reassigned
from posthouse.core.model import SLOTS
from posthouse.testing.fleet.member import Member, place
from posthouse.testing.fleet.population import Population
from posthouse.testing.fleet.rules import Rules
from posthouse.testing.fleet.watch import Watch
from posthouse.testing.fleet.world import World

_REST_SECONDS_MAX = 600
_REST_STEP = 0.5
_REST_STEPS = 12  #: it must be at rest for so many steps: longer than a beat and a call that takes long


class Outcome(msgspec.Struct, frozen=True):
    """What came of something that happened to a fleet. Times are seconds from the beginning of it.

    Attributes:
        name: what happened.
        nodes: how many there are in the end.
        moves: slots that got another node.
        least: how many had to, if shares are to be equal.
        gaps: why nobody worked for a slot → the longest time of that.
        owned_after: until every slot had its node.
        moved_after: until the last slot moved.
        at_rest: whether it came to rest at all.
        transactions: a second, over all of it.
        busiest: transactions in the busiest second.
        endpoints: of the fullest node, by the mean.
        load: of the busiest node, by the mean.
    """

    name: str
    nodes: int
    moves: int
    least: int
    gaps: dict[str, float]
    owned_after: float
    moved_after: float
    at_rest: bool
    transactions: float
    busiest: int
    endpoints: float
    load: float


class Fleet:
    """Nodes over one register."""

    def __init__(self, rules: Rules, seed: int, population: Population) -> None:
        self.world = World(rules, seed)
        self.watch = Watch(self.world)
        self._population = population
        self._made = 0
        self._least = 0
        self._ideal: tuple[str | None, ...] = (None,) * SLOTS

    # -- what happens ---------------------------------------------------------------------

    def join(self, count: int = 1, *, within: float = 0.0) -> None:
        """So many nodes begin, at any moment of so many seconds."""
        for _ in range(count):
            member = Member(self.world, self.watch, f"node-{self._made}")
            self._made += 1
            self.watch.members.append(member)
            self.world.after(within * self.world.chance.random(), member.begin)
        self._count_least()

    def leave(self, member: Member) -> None:
        """It ends cleanly."""
        member.leave()
        self._count_least()

    def kill(self, members: Sequence[Member]) -> None:
        """They die in the same moment."""
        for member in members:
            member.kill()
        self._count_least()

    def pause(self, members: Sequence[Member], seconds: float) -> None:
        """They stand still for so long, and then go on as if nothing had happened."""
        for member in members:
            member.pause(seconds)
        if seconds > self.world.rules.lease:
            self._count_least(without={member.life for member in members})
            self._count_least()

    def hold_store(self, seconds: float) -> None:
        """The store answers nobody for so long."""
        self.world.still_until = self.world.now + seconds

    def some(self, count: int) -> list[Member]:
        """So many of those that live, by chance."""
        return self.world.chance.sample(self.watch.living, count)

    # -- what comes of it -----------------------------------------------------------------

    def phase(self, name: str, happen: Callable[[], None]) -> Outcome:
        """Let something happen, wait until the fleet is at rest, and measure."""
        began, asked = self.world.now, self.world.register.transactions.total()
        self._least = 0
        self._ideal = tuple(member.life if member else None for member in self.watch.serving)
        self.watch.begin_phase()
        happen()
        at_rest = self._come_to_rest()
        lasted = self.world.now - began
        busy = [n for second, n in self.world.busy.items() if second >= int(began)]
        endpoints, load = self.spread()
        return Outcome(
            name=name,
            nodes=len(self.watch.living),
            moves=self.watch.moves,
            least=self._least,
            gaps={why: round(gap, 2) for why, gap in sorted(self.watch.gaps.items())},
            owned_after=round(self.watch.owned_at - began, 2),
            moved_after=round(self.watch.moved_at - began, 2),
            at_rest=at_rest,
            transactions=round((self.world.register.transactions.total() - asked) / lasted, 1),
            busiest=max(busy),
            endpoints=round(endpoints, 2),
            load=round(load, 2),
        )

    def spread(self) -> tuple[float, float]:
        """Endpoints of the fullest node and load of the busiest one, by the mean of those that live."""
        endpoints: Counter[Member] = Counter()
        load: Counter[Member] = Counter()
        for slot, member in enumerate(self.watch.serving):
            if member is not None:
                endpoints[member] += self._population.endpoints[slot]
                load[member] += self._population.load[slot]  # type: ignore[assignment]  # a count of parts
        nodes = len(self.watch.living)
        return (
            max(endpoints.values()) * nodes / sum(self._population.endpoints),
            max(load.values()) * nodes / sum(self._population.load),
        )

    def is_at_rest(self) -> bool:
        """Whether everybody has what it is to have, and works for it."""
        if self.world.now < max(self.world.still_until, *(member.resumes_at for member in self.watch.living)):
            return False
        owners = self.world.register.owners
        names = tuple(sorted(member.name for member in self.watch.living))
        to_own = place(names, tuple(owners) if self.world.rules.knows_owners else None)
        working = [member.name if member else None for member in self.watch.serving]
        return self.watch.is_served and list(to_own) == owners == working

    def _come_to_rest(self) -> bool:
        until = self.world.now + _REST_SECONDS_MAX
        steps = 0
        while steps < _REST_STEPS and self.world.now < until:
            self.world.run(_REST_STEP)
            steps = steps + 1 if self.is_at_rest() else 0
        return steps == _REST_STEPS

    def _count_least(self, without: set[str] | None = None) -> None:
        names = {member.life for member in self.watch.living if not member.leaving} - (without or set())
        found = reassigned(names, self._ideal)
        self._least += sum(old not in {None, new} for old, new in zip(self._ideal, found, strict=False))
        self._ideal = found or self._ideal
