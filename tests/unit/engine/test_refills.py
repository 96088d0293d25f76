"""Refills: what is read from the store joins what is in hand, once, and nothing is forgotten."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import WINDOW_ITEMS_MAX
from posthouse.core.model import Endpoint, EndpointState, Environment, Event, Lane, Obligation
from posthouse.engine.board import Board
from posthouse.engine.refills import READ_MAX, Refills
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Refill, Work
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock

ENDPOINT = Endpoint(key=1, environment=Environment.LIVE, tenant="default", url="http://127.0.0.1/")


def work(event_key: int) -> Work:
    event = Event(
        key=event_key,
        id=f"e{event_key}",
        environment=Environment.LIVE,
        tenant="default",
        type="t",
        accepted_at=0,
        data=b"1",
    )
    return Work(Obligation(event_key, 1, Lane.LIVE, 0, 0), event)


class Bench:
    """Refills of one window over a store that answers when the test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reads: list[asyncio.Future[Refill]] = []
        self.limits: list[int] = []
        self.woken: list[Window] = []
        catalogue = SimpleNamespace(endpoint={1: ENDPOINT}.get, tenant=lambda *_: None)
        self.board = Board(cast("Catalogue", catalogue), self.clock)
        self.timers = Timers(self.clock, self.woken.append)
        self.refills = Refills(
            self,  # type: ignore[arg-type]  # one method of the facet
            self.board,
            self.clock,
            self.timers,
            Metrics(),
            is_ours=lambda _: True,
            filled=lambda: None,
        )
        desk = self.board.desk(1)
        assert desk is not None
        self.window = desk.window(Lane.LIVE)

    async def fetch(self, _endpoint_key: int, _lane: Lane, *, limit: int, **_bounds: Any) -> Refill:
        """The store's end of a read."""
        self.limits.append(limit)
        self.reads.append(asyncio.get_running_loop().create_future())
        return await self.reads[-1]

    async def look(self) -> asyncio.Future[Refill]:
        """Let a read begin; who sets its result ends it."""
        self.refills.look(self.window)
        return await self.reading()

    async def reading(self) -> asyncio.Future[Refill]:
        """The read that is under way."""
        await self.turn()
        assert self.reads, "no read began"
        return self.reads.pop(0)

    async def answer(self, read: "asyncio.Future[Refill]", *keys: int, more: bool = False) -> None:
        """End a read with these deliveries."""
        read.set_result(Refill(tuple(work(key) for key in keys), more, None))
        await self.turn()

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def send(self, count: int) -> list[int]:
        """What the engine would send now."""
        return [self.board.take(self.window).obligation.event_key for _ in range(count)]

    @property
    def buffered(self) -> list[int]:
        return [item.obligation.event_key for item in self.window.buffer]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_is_read_is_buffered_in_its_order(bench: Bench) -> None:
    await bench.answer(await bench.look(), 1, 2, 3)
    assert bench.buffered == [1, 2, 3]
    assert not bench.window.more
    assert not bench.window.refilling


async def test_a_window_that_runs_low_reads_what_the_store_still_holds(bench: Bench) -> None:
    """The store's word that there is more is remembered until it was read."""
    await bench.answer(await bench.look(), *range(WINDOW_ITEMS_MAX), more=True)
    assert bench.window.more
    assert bench.reads == []
    bench.send(WINDOW_ITEMS_MAX)
    bench.refills.want(bench.window)
    await bench.answer(await bench.reading(), WINDOW_ITEMS_MAX)
    assert bench.buffered == [WINDOW_ITEMS_MAX]
    assert not bench.window.more


async def test_what_came_into_hand_while_the_store_was_read_is_not_taken_twice(bench: Bench) -> None:
    read = await bench.look()
    bench.board.push(bench.window, work(1))
    await bench.answer(read, 1, 2)
    assert bench.buffered == [1, 2]


async def test_what_left_our_hand_while_the_store_was_read_is_not_taken_again(bench: Bench) -> None:
    """It was delivered and settled; the read stands on a snapshot from before that."""
    await bench.answer(await bench.look(), 1)
    assert bench.send(1) == [1]
    read = await bench.look()
    del bench.window.desk.in_hand[1]
    await bench.answer(read, 1, 2)
    assert bench.buffered == [2]


async def test_what_is_in_hand_does_not_hide_what_stands_behind_it(bench: Bench) -> None:
    """As many more are read as will be skipped."""
    await bench.answer(await bench.look(), 1, 2, 3)
    bench.send(3)
    await bench.look()
    assert bench.limits == [WINDOW_ITEMS_MAX, WINDOW_ITEMS_MAX + 3]


async def test_work_that_met_a_read_is_read_next(bench: Bench) -> None:
    read = await bench.look()
    assert not bench.board.offer(bench.window, work(2))
    await bench.answer(read, 1)
    await bench.answer(await bench.reading(), 1, 2)
    assert bench.buffered == [1, 2]


async def test_a_read_that_failed_is_made_again_later(bench: Bench) -> None:
    (await bench.look()).set_exception(StoreUnavailable())
    await bench.turn()
    assert not bench.window.refilling
    bench.clock.advance(1_000)
    bench.timers._fire()
    assert bench.woken == [bench.window]


async def test_a_read_for_an_endpoint_that_was_held_meanwhile_leaves_it_to_the_store(bench: Bench) -> None:
    read = await bench.look()
    bench.board.change(replace(ENDPOINT, state=EndpointState.PAUSED))
    await bench.answer(read, 1)
    assert bench.buffered == []
    assert bench.window.more


def fresh(bench: Bench, event_key: int) -> Work:
    found = work(event_key)
    return replace(found, event=replace(found.event, accepted_at=bench.clock.now_ms()))


async def test_what_was_read_while_its_acceptance_was_being_answered_is_known(bench: Bench) -> None:
    """A database may answer later than another connection of the node has read the row, sent it and settled it."""
    read = await bench.look()
    read.set_result(Refill((fresh(bench, 1), fresh(bench, 2), work(3)), more=False, next_due_at=None))
    await bench.turn()
    assert [bench.refills.has_read(1, key) for key in (1, 2, 3, 4)] == [True, True, False, False]


async def test_what_was_read_is_not_remembered_without_bound(bench: Bench) -> None:
    for key in range(READ_MAX + 1):
        read = await bench.look()
        read.set_result(Refill((fresh(bench, key),), more=False, next_due_at=None))
        await bench.turn()
        bench.send(1)
    assert [bench.refills.has_read(1, key) for key in (0, 1, READ_MAX)] == [False, True, True]
