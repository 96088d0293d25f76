"""Leases: the node knows what it holds, and stops by itself before the store gives it away."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.core.nodes import Role
from posthouse.engine import membership as membership_module
from posthouse.engine import ownership as ownership_module
from posthouse.engine.membership import Membership
from posthouse.engine.ownership import CALM_SECONDS, Leases
from posthouse.store.protocol import Grant, Joining, NodeRecord, Roll
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.seizing import joining, registered


class Registry:
    """An ownership facet that gives what the script says; nobody else is on the register."""

    def __init__(self, *held: dict[int, int], unquiet: Collection[int] = ()) -> None:
        self.held = list(held)
        self.unquiet = frozenset(unquiet)
        self.released: list[Collection[int] | None] = []
        self.left: list[str] = []
        self.wanted: list[Collection[int] | None] = []
        self.calmed: list[Mapping[int, int]] = []
        self.names: list[str] = []
        self.missing = False

    async def join(self, me: Joining) -> int:
        self.names.append(me.name)
        return 1

    async def beat(self, name: str, *, now: int) -> Roll:
        missing, self.missing = self.missing, False
        return Roll(me_missing=missing, nodes=(), catalogue_version=0)

    async def acquire(self, node: str, *, wanted: Collection[int] | None = None) -> Grant:
        self.wanted.append(wanted)
        return await self.grant()

    async def grant(self) -> Grant:
        if not self.held:
            raise StoreUnavailable
        held = self.held.pop(0)
        return Grant(held, self.unquiet & held.keys())

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        self.released.append(slots)

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        self.calmed.append(slots)

    async def leave(self, name: str) -> None:
        self.left.append(name)

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        return list(dead)

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        return {}

    async def nodes(self) -> list[NodeRecord]:
        return []


class Told:
    """What leases tell."""

    def __init__(self) -> None:
        self.renewals: list[tuple[set[int], set[int]]] = []
        self.freed = 0

    def renewed(self, gained: set[int], lost: set[int]) -> None:
        if gained or lost:
            self.renewals.append((gained, lost))

    def free(self) -> None:
        self.freed += 1

    async def gaining(self, slots: set[int]) -> None:
        """Nobody has to know anything of the slots."""


def leases_on(
    registry: Registry, clock: ManualClock, told: Told | None = None, *, role: Role = Role.ALL, alone: bool = True
) -> Leases:
    told = told or Told()
    names = iter(f"n{number}" for number in range(1, 10))
    me = joining("n", role=role)
    membership = Membership(registry, clock, me, alone=alone, new_name=lambda: next(names))
    return Leases(registry, clock, membership, gaining=told.gaining, renewed=told.renewed, freed=told.free)


async def test_gained_and_lost_slots_are_told_also_when_only_the_epoch_moved() -> None:
    told = Told()
    registry = Registry({1: 1, 2: 1}, {1: 1, 2: 5, 3: 1}, {3: 1})
    leases = leases_on(registry, ManualClock(), told)
    await leases.start()
    await leases._take()
    await leases._take()
    await leases.stop(release=True)
    assert told.renewals == [({1, 2}, set()), (set(), {2}), ({2, 3}, set()), (set(), {1, 2})]
    assert registry.left == ["n"]
    assert leases.epochs == {}


async def test_what_is_known_of_slots_is_read_before_they_are_worked_for() -> None:
    """If it cannot be read, they are asked for again, and those that are lost are lost all the same."""
    asked: list[tuple[set[int], dict[int, int]]] = []

    class Learning(Told):
        async def gaining(self, slots: set[int]) -> None:
            asked.append((slots, dict(leases.epochs)))
            if len(asked) == 2:
                raise StoreUnavailable

    told = Learning()
    leases = leases_on(Registry({1: 1}, {2: 1}, {2: 1}), ManualClock(), told)
    await leases.start()
    with pytest.raises(StoreUnavailable):
        await leases._take()
    assert leases.epochs == {}
    assert told.renewals[-1] == (set(), {1})
    await leases._take()
    assert leases.epochs == {2: 1}
    assert asked == [({1}, {}), ({2}, {}), ({2}, {})]
    await leases.stop(release=False)


async def test_a_dead_node_that_cannot_be_buried_yet_costs_no_lease() -> None:
    """What it holds fast may be what keeps its slots from being given to others."""

    class Held(Registry):
        async def beat(self, name: str, *, now: int) -> Roll:
            return Roll(me_missing=False, nodes=(registered("dead"),), catalogue_version=0)

        async def bury(self, dead: Mapping[str, int]) -> list[str]:
            raise StoreUnavailable

    leases = leases_on(Held({1: 1}, {1: 1}), ManualClock(), alone=True)
    await leases.start()
    await leases._take()
    assert (leases.is_valid, leases.epochs) == (True, {1: 1})
    await leases.stop(release=False)


async def test_a_lease_that_cannot_be_renewed_ends_before_the_store_gives_it_away() -> None:
    clock = ManualClock()
    leases = leases_on(Registry({1: 1}), clock)
    await leases.start()
    assert leases.is_valid
    clock.advance(LEASE_MS - LEASE_RENEW_MS)
    assert not leases.is_valid, "by the monotonic clock, with a margin"
    await leases.stop(release=False)


async def test_a_lease_runs_from_when_it_was_asked_for() -> None:
    """Others saw the beat at some time between the question and an answer that came late."""
    clock = ManualClock()

    class Slow(Registry):
        async def beat(self, name: str, *, now: int) -> Roll:
            clock.advance(LEASE_MS - LEASE_RENEW_MS)
            return await super().beat(name, now=now)

    leases = leases_on(Slow({1: 1}), clock)
    await leases.start()
    assert not leases.is_valid
    await leases.stop(release=False)


async def test_the_wall_clock_has_no_say_in_it() -> None:
    clock = ManualClock()
    leases = leases_on(Registry({1: 1}), clock)
    await leases.start()
    clock.step(3_600_000)
    assert leases.is_valid
    await leases.stop(release=False)


async def test_stop_is_idempotent_and_releases_only_when_asked() -> None:
    registry = Registry({1: 1})
    leases = leases_on(registry, ManualClock())
    await leases.start()
    await leases.stop(release=False)
    await leases.stop(release=True)
    assert registry.left == []
    assert not leases.is_valid


async def test_a_fault_in_a_renewal_does_not_end_the_renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that renews no more would deliver nothing for ever, and nobody would say why."""
    monkeypatch.setattr(membership_module, "_RENEW_SECONDS", 0.001)
    monkeypatch.setattr(ownership_module, "HEED_SECONDS", 0.0)
    asked = asyncio.Event()
    calls = 0

    class Faulty(Registry):
        async def grant(self) -> Grant:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise RuntimeError("a fault of the program")
            if calls == 3:
                asked.set()
            return Grant({1: 1})

    leases = leases_on(Faulty(), ManualClock())
    await leases.start()
    await asked.wait()
    await leases.stop(release=False)


async def test_what_is_doubted_is_not_held_until_the_store_has_said_it_anew() -> None:
    """An answer to what was asked before does not count: another store may have given it."""
    answers: list[asyncio.Future[Grant]] = []
    asked = asyncio.Event()
    renewals: asyncio.Queue[set[int]] = asyncio.Queue()

    class Slow(Registry):
        async def grant(self) -> Grant:
            answers.append(asyncio.get_running_loop().create_future())
            asked.set()
            return await answers[-1]

    class Counting(Told):
        def renewed(self, gained: set[int], lost: set[int]) -> None:
            renewals.put_nowait(gained)

    async def next_answer() -> None:
        await asked.wait()
        asked.clear()
        answers[-1].set_result(Grant({1: 1}))

    leases = leases_on(Slow(), ManualClock(), Counting())
    starting = asyncio.ensure_future(leases.start())
    await next_answer()
    await starting
    assert leases.is_valid
    leases.doubt()
    assert not leases.is_valid
    await asked.wait()
    leases.doubt()
    await next_answer()
    await asked.wait()  # at once, and not when it is time for the next renewal
    assert renewals.qsize() == 2
    assert not leases.is_valid
    await next_answer()
    for _ in range(3):
        await renewals.get()
    assert leases.is_valid
    await leases.stop(release=False)


async def test_an_edge_asks_for_no_slots() -> None:
    registry = Registry({})
    leases = leases_on(registry, ManualClock(), role=Role.EDGE)
    await leases.start()
    assert registry.wanted == [frozenset()]
    assert leases.is_valid
    await leases.stop(release=False)


async def test_what_a_node_leaves_it_still_holds_and_begins_nothing_for() -> None:
    told = Told()
    registry = Registry({1: 1, 2: 1}, {1: 1, 2: 1})
    leases = leases_on(registry, ManualClock(), told)
    await leases.start()
    leases.begin_leaving([2])
    assert (leases.epochs, leases.leaving, leases.epoch_of(2)) == ({1: 1}, {2: 1}, 1)
    await leases._take()
    assert (leases.epochs, leases.leaving) == ({1: 1}, {2: 1}), "a renewal does not bring it back"
    assert leases.go_on([2, 3]) == {2}
    assert leases.epochs == {1: 1, 2: 1}
    leases.begin_leaving([2])
    await leases.release([2])
    assert (leases.epochs, leases.leaving, registry.released) == ({1: 1}, {}, [[2]])
    assert (told.renewals[-1], told.freed) == ((set(), {2}), 1)
    await leases.stop(release=False)


async def test_a_node_that_was_buried_holds_nothing_and_begins_anew_under_another_name() -> None:
    told = Told()
    registry = Registry({1: 1}, {1: 3})
    leases = leases_on(registry, ManualClock(), told)
    await leases.start()
    registry.missing = True
    await leases._take()
    assert told.renewals == [({1}, set()), (set(), {1}), ({1}, set())]
    assert registry.names == ["n", "n1"]
    assert leases.epochs == {1: 3}
    await leases.stop(release=True)
    assert registry.left == ["n1"]


async def test_unquiet_slots_are_called_calm_when_nothing_of_the_dead_can_be_on_its_way() -> None:
    clock = ManualClock()
    registry = Registry(*[{1: 2, 2: 2}] * 4, unquiet=[2])
    leases = leases_on(registry, clock)
    await leases.start()
    assert (set(leases.unquiet), set(leases.taken)) == ({2}, {1, 2})
    clock.advance(round(CALM_SECONDS * 1_000) - 1)
    await leases._take()
    assert registry.calmed == []
    clock.advance(1)
    registry.unquiet = frozenset()
    await leases._take()
    assert (registry.calmed, leases.unquiet) == ([{2: 2}], {})
    await leases.stop(release=False)
