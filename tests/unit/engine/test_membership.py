"""Who lives: by the beats that a node sees, and its own monotonic clock."""

from collections.abc import Collection, Mapping

from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.core.nodes import Role
from posthouse.engine.membership import LOOK_SECONDS_MAX, Membership
from posthouse.store.protocol import Grant, Joining, NodeRecord, Roll
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.seizing import joining, registered


class Register:
    """A register on which others beat when the test says so."""

    def __init__(self, *others: str) -> None:
        self.records = {name: registered(name) for name in others}
        self.said: list[Joining] = []
        self.buried: list[Mapping[str, int]] = []

    def beat_of(self, name: str, *, role: Role = Role.ALL) -> None:
        known = self.records.get(name)
        self.records[name] = registered(name, beat=1 if known is None else known.beat + 1, role=role)

    async def join(self, me: Joining) -> int:
        self.said.append(me)
        return 7

    async def beat(self, name: str, *, now: int) -> Roll:
        return Roll(me_missing=False, nodes=(registered(name), *self.records.values()), catalogue_version=0)

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        self.buried.append(dict(dead))
        gone = [name for name, beat in dead.items() if name in self.records and self.records[name].beat == beat]
        for name in gone:
            del self.records[name]
        return gone

    async def acquire(self, node: str, *, wanted: Collection[int] | None = None) -> Grant:
        return Grant({})

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        """Nothing is owned here."""

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        """Nothing is owned here."""

    async def leave(self, name: str) -> None:
        """Nobody looks."""

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        return {}

    async def nodes(self) -> list[NodeRecord]:
        return list(self.records.values())


async def member(
    register: Register, clock: ManualClock, *, alone: bool = False, former: Collection[str] = (), role: Role = Role.ALL
) -> Membership:
    me = joining("me", role=role)
    membership = Membership(register, clock, me, alone=alone, new_name=lambda: "again")
    await membership.join(former=former)
    await membership.work()
    await membership.beat()
    return membership


async def look(membership: Membership, clock: ManualClock, ms: int, *, every: int = LEASE_RENEW_MS) -> None:
    for _ in range(0, ms, every):
        clock.advance(every)
        await membership.beat()


async def test_a_node_is_dead_when_its_beat_was_seen_not_to_change_for_as_long_as_a_lease() -> None:
    register, clock = Register("other"), ManualClock()
    membership = await member(register, clock)
    await look(membership, clock, LEASE_MS - LEASE_RENEW_MS)
    assert (membership.dead, membership.lives("other")) == ({}, True)
    assert membership.workers == ["me", "other"]
    await look(membership, clock, LEASE_RENEW_MS)
    assert (membership.dead, membership.lives("other")) == ({"other": 1}, False)
    assert membership.workers == ["me"]
    assert await membership.bury_dead() == ["other"]
    assert (register.records, membership.dead) == ({}, {})


async def test_a_beat_begins_it_anew() -> None:
    register, clock = Register("other"), ManualClock()
    membership = await member(register, clock)
    for _ in range(3):
        await look(membership, clock, LEASE_MS - LEASE_RENEW_MS)
        register.beat_of("other")
        await look(membership, clock, LEASE_RENEW_MS)
    assert membership.dead == {}


async def test_who_could_not_look_has_seen_no_silence() -> None:
    """After a standstill of its own, or of the store, the others get time to beat again."""
    register, clock = Register("other"), ManualClock()
    membership = await member(register, clock)
    clock.advance(10 * LEASE_MS)
    await membership.beat()
    assert membership.dead == {}
    silence = membership.silence("other")
    assert silence is not None
    assert silence <= LOOK_SECONDS_MAX


async def test_the_next_look_is_when_somebody_may_count_as_dead() -> None:
    register, clock = Register("other"), ManualClock()
    membership = await member(register, clock)
    assert membership.next_look == LEASE_RENEW_MS / 1_000
    await look(membership, clock, LEASE_MS - 500, every=500)
    assert membership.next_look == 0.5
    await look(membership, clock, 500, every=500)
    assert membership.next_look == LEASE_RENEW_MS / 1_000


async def test_former_lives_and_whoever_cannot_be_there_are_dead_at_once() -> None:
    clock = ManualClock()
    assert (await member(Register("was", "is"), clock, former=["was"])).dead == {"was": 1}
    assert (await member(Register("was", "is"), clock, alone=True)).dead == {"was": 1, "is": 1}


async def test_who_takes_no_slots_is_asked_for_none() -> None:
    register, clock = Register(), ManualClock()
    register.beat_of("edge", role=Role.EDGE)
    register.beat_of("engine", role=Role.ENGINE)
    membership = await member(register, clock)
    nobodys = [None] * 256
    assert membership.workers == ["engine", "me"]
    assert len(membership.wanted(nobodys)) == 128
    await membership.retire()
    assert membership.workers == ["engine"]
    assert membership.wanted(nobodys) == frozenset()
    assert [said.role for said in register.said] == [Role.EDGE, Role.ALL, Role.EDGE]
    assert (await member(register, clock, role=Role.EDGE)).wanted(nobodys) == frozenset()
