"""Idle connections are few, young, and used from the youngest on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from posthouse.core.limits import CONNECTION_SECONDS_MAX, IDLE_CONNECTION_SECONDS_MAX
from posthouse.testing.manual_clock import ManualClock
from posthouse.transport.link import Origin
from posthouse.transport.pool import Pool

A: Origin = ("https", "a.example", 443)
B: Origin = ("https", "b.example", 443)


class FakeLink:
    """What a pool sees of a link."""

    def __init__(self, clock: ManualClock, origin: Origin = A) -> None:
        self.origin = origin
        self.opened_at = clock.monotonic()
        self.on_lost: Callable[[FakeLink], None] | None = None
        self.aborted = False
        self.reusable = True
        self.connected = True
        self.rested = False

    def is_reusable(self) -> bool:
        return self.reusable

    def is_connected(self) -> bool:
        return self.connected

    def rest(self) -> None:
        self.rested = True

    def abort(self) -> None:
        self.aborted = True
        self.connected = False

    def lose(self) -> None:
        """The connection is gone, as the event loop would tell it."""
        self.connected = False
        assert self.on_lost is not None
        self.on_lost(self)


class World:
    def __init__(self, idle_max: int = 1_000) -> None:
        self.clock = ManualClock()
        self.pool = Pool(self.clock, idle_max=idle_max)

    def take(self, origin: Origin = A) -> Any:
        """What the pool hands out."""
        return self.pool.take(origin)

    def link(self, origin: Origin = A) -> Any:
        """A new connection that has done its first exchange."""
        link = FakeLink(self.clock, origin)
        self.pool.adopt(link)  # type: ignore[arg-type]  # all that the pool uses of a link
        self.pool.give_back(link)  # type: ignore[arg-type]  # as above
        return link


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    assert world.pool.idle_count <= world.pool.open_count
    for link in list(world.pool._open):
        cast("FakeLink", link).lose()
    await world.pool.close()


async def test_latest_is_taken_first(world: World) -> None:
    one, two = world.link(), world.link()
    assert [world.take(A) for _ in range(3)] == [two, one, None]
    assert world.pool.open_count == 2


async def test_origins_are_apart(world: World) -> None:
    link = world.link(A)
    assert link.rested, "an idle connection holds no answer"
    assert world.take(B) is None
    assert world.take(A) is link


async def test_connection_that_idled_too_long_is_not_taken(world: World) -> None:
    young_enough = world.link()
    world.clock.advance(int(IDLE_CONNECTION_SECONDS_MAX * 1_000))
    assert world.take(A) is young_enough
    world.pool.give_back(young_enough)
    world.clock.advance(int(IDLE_CONNECTION_SECONDS_MAX * 1_000) + 1)
    assert world.take(A) is None
    assert young_enough.aborted


async def test_dead_connections_are_passed_over(world: World) -> None:
    good, dead = world.link(), world.link()
    dead.connected = False
    assert world.take(A) is good


async def test_lost_connection_leaves_the_pool(world: World) -> None:
    idle, used = world.link(), world.link()
    assert world.take(A) is used
    idle.lose()
    used.lose()
    assert (world.pool.idle_count, world.pool.open_count) == (0, 0)
    assert world.take(A) is None


async def test_what_cannot_be_used_again_is_closed(world: World) -> None:
    link = world.link()
    world.take(A)
    link.reusable = False
    world.pool.give_back(link)
    assert link.aborted
    assert world.pool.idle_count == 0


async def test_connection_does_not_live_for_ever(world: World) -> None:
    """Or a receiver that moved in the DNS would never be found."""
    link = world.link()
    for _ in range(int(CONNECTION_SECONDS_MAX)):
        assert world.take(A) is link
        world.clock.advance(1_000)
        world.pool.give_back(link)
        assert not link.aborted
    world.take(A)
    world.clock.advance(1)
    world.pool.give_back(link)
    assert link.aborted


async def test_idle_connections_are_bounded_and_the_longest_idle_gives_way() -> None:
    world = World(idle_max=3)
    links = [world.link(origin) for origin in (A, B, A, B)]
    assert [link.aborted for link in links] == [True, False, False, False]
    assert world.pool.idle_count == 3
    for link in links:
        link.lose()
    await world.pool.close()


async def test_sweep_closes_what_idled_too_long(world: World) -> None:
    old = world.link()
    world.clock.advance(int(IDLE_CONNECTION_SECONDS_MAX * 1_000) + 1)
    young = world.link(B)
    world.pool._sweep()
    assert (old.aborted, young.aborted) == (True, False)
    assert world.pool._sweeper is not None, "the young one grows old too"


async def test_empty_pool_has_no_timer(world: World) -> None:
    assert world.pool._sweeper is None
    world.link().lose()
    world.pool._sweep()
    assert world.pool._sweeper is None


async def test_close_closes_all_and_keeps_nothing_afterwards() -> None:
    world = World()
    idle, used = world.link(A), world.link(B)
    world.take(B)
    closing = asyncio.create_task(world.pool.close())
    await asyncio.sleep(0)
    assert (idle.aborted, used.aborted) == (True, True)
    assert not closing.done(), "it waits until they are gone"
    idle.lose()
    used.lose()
    await closing
    late = world.link()
    assert late.aborted
    assert (world.pool.open_count, world.pool.idle_count) == (0, 0)
    await world.pool.close()
