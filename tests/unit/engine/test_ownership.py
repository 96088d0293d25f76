"""Leases: the node knows what it holds, and stops by itself before the store gives it away."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.engine import ownership as ownership_module
from posthouse.engine.ownership import Leases
from posthouse.store.protocol import Grant
from posthouse.testing.manual_clock import ManualClock


class Registry:
    """An ownership facet that gives what the script says."""

    def __init__(self, *held: dict[int, int]) -> None:
        self.held = list(held)
        self.released: list[str] = []
        self.dead: list[Mapping[str, int]] = []

    async def acquire(self, node: str, *, dead: Mapping[str, int], **_: Any) -> Grant:
        self.dead.append(dead)
        if not self.held:
            raise StoreUnavailable
        return Grant(self.held.pop(0))

    async def leave(self, node: str) -> None:
        self.released.append(node)


def leases_on(registry: Any, clock: ManualClock, **told: Any) -> Leases:
    return Leases(registry, clock, "n", **told)


async def nothing(_: set[int]) -> None:
    """Nobody has to know anything of the slots."""


async def test_gained_and_lost_slots_are_told_also_when_only_the_epoch_moved() -> None:
    told: list[tuple[set[int], set[int]]] = []
    registry = Registry({1: 1, 2: 1}, {1: 1, 2: 5, 3: 1}, {3: 1})
    leases = leases_on(
        registry, ManualClock(), gaining=nothing, renewed=lambda gained, lost: told.append((gained, lost))
    )
    await leases.start(dead={"old": 3})
    await leases._take()
    await leases._take()
    await leases.stop(release=True)
    assert told == [({1, 2}, set()), ({2, 3}, {2}), (set(), {1, 2})]
    assert registry.dead[0] == {"old": 3}
    assert registry.released == ["n"]
    assert leases.epochs == {}


async def test_what_is_known_of_slots_is_read_before_they_are_worked_for() -> None:
    """If it cannot be read, they are asked for again, and those that are lost are lost all the same."""
    asked: list[tuple[set[int], dict[int, int]]] = []

    async def gaining(slots: set[int]) -> None:
        asked.append((slots, leases.epochs))
        if len(asked) == 2:
            raise StoreUnavailable

    leases = leases_on(Registry({1: 1}, {2: 1}, {2: 1}), ManualClock(), gaining=gaining, renewed=lambda *_: None)
    await leases.start()
    with pytest.raises(StoreUnavailable):
        await leases._take()
    assert leases.epochs == {}
    await leases._take()
    assert leases.epochs == {2: 1}
    assert asked == [({1}, {}), ({2}, {}), ({2}, {})]
    await leases.stop(release=False)


async def test_a_lease_that_cannot_be_renewed_ends_before_the_store_gives_it_away() -> None:
    clock = ManualClock()
    leases = leases_on(Registry({1: 1}), clock, gaining=nothing, renewed=lambda *_: None)
    await leases.start()
    assert leases.is_valid
    clock.advance(LEASE_MS - LEASE_RENEW_MS)
    assert not leases.is_valid, "by the monotonic clock, with a margin"
    await leases.stop(release=False)


async def test_a_lease_runs_from_when_it_was_asked_for() -> None:
    """The store's own time began somewhere between the question and an answer that came late."""
    clock = ManualClock()

    class Slow(Registry):
        async def acquire(self, node: str, **_: Any) -> Grant:
            clock.advance(LEASE_MS - LEASE_RENEW_MS)
            return Grant({1: 1})

    leases = leases_on(Slow(), clock, gaining=nothing, renewed=lambda *_: None)
    await leases.start()
    assert not leases.is_valid
    await leases.stop(release=False)


async def test_the_wall_clock_has_no_say_in_it() -> None:
    clock = ManualClock()
    leases = leases_on(Registry({1: 1}), clock, gaining=nothing, renewed=lambda *_: None)
    await leases.start()
    clock.step(3_600_000)
    assert leases.is_valid
    await leases.stop(release=False)


async def test_stop_is_idempotent_and_releases_only_when_asked() -> None:
    registry = Registry({1: 1})
    leases = leases_on(registry, ManualClock(), gaining=nothing, renewed=lambda *_: None)
    await leases.start()
    await leases.stop(release=False)
    await leases.stop(release=True)
    assert registry.released == []
    assert not leases.is_valid


async def test_a_fault_in_a_renewal_does_not_end_the_renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that renews no more would deliver nothing for ever, and nobody would say why."""
    monkeypatch.setattr(ownership_module, "LEASE_RENEW_MS", 1)
    asked = asyncio.Event()
    calls = 0

    class Faulty(Registry):
        async def acquire(self, node: str, **_: Any) -> Grant:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise RuntimeError("a fault of the program")
            if calls == 3:
                asked.set()
            return Grant({1: 1})

    leases = leases_on(Faulty(), ManualClock(), gaining=nothing, renewed=lambda *_: None)
    await leases.start()
    await asked.wait()
    await leases.stop(release=False)


async def test_what_is_doubted_is_not_held_until_the_store_has_said_it_anew() -> None:
    """An answer to what was asked before does not count: another store may have given it."""
    answers: list[asyncio.Future[dict[int, int]]] = []
    asked = asyncio.Event()

    class Slow(Registry):
        async def acquire(self, node: str, **_: Any) -> Grant:
            answers.append(asyncio.get_running_loop().create_future())
            asked.set()
            return Grant(await answers[-1])

    renewals: asyncio.Queue[set[int]] = asyncio.Queue()

    async def next_answer() -> None:
        await asked.wait()
        asked.clear()
        answers[-1].set_result({1: 1})

    leases = leases_on(Slow(), ManualClock(), gaining=nothing, renewed=lambda gained, _: renewals.put_nowait(gained))
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
