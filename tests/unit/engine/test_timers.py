"""Timers: one per window, the earliest counts, and steps of the clock neither lose nor repeat a wake-up."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from posthouse.engine.timers import Timers
from posthouse.engine.windows import Window
from posthouse.testing.manual_clock import ManualClock


class Bench:
    """Timers over a manual clock, with a record of who was woken."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_000)
        self.woken: list[Window] = []
        self.timers = Timers(self.clock, self.woken.append)

    def window(self) -> Window:
        return cast("Window", SimpleNamespace(timer_at=None))

    def look(self) -> None:
        """What the loop's timer does when it goes off."""
        self.timers._fire()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_window_is_woken_when_its_time_has_come_and_once(bench: Bench) -> None:
    window = bench.window()
    bench.timers.set(window, 1_500)
    bench.clock.advance(499)
    bench.look()
    assert bench.woken == []
    bench.clock.advance(1)
    bench.look()
    bench.look()
    assert bench.woken == [window]
    assert window.timer_at is None


async def test_the_earliest_time_counts(bench: Bench) -> None:
    window = bench.window()
    for at in (3_000, 2_000, 4_000):
        bench.timers.set(window, at)
    bench.clock.advance(1_000)
    bench.look()
    assert bench.woken == [window]
    bench.clock.advance(10_000)
    bench.look()
    assert bench.woken == [window], "entries that were overtaken wake nobody"


async def test_windows_are_woken_in_the_order_of_their_times(bench: Bench) -> None:
    first, second = bench.window(), bench.window()
    bench.timers.set(second, 3_000)
    bench.timers.set(first, 2_000)
    bench.clock.advance(5_000)
    bench.look()
    assert bench.woken == [first, second]


async def test_a_clock_that_steps_back_delays_and_does_not_lose(bench: Bench) -> None:
    window = bench.window()
    bench.timers.set(window, 2_000)
    bench.clock.step(-100_000)
    bench.look()
    assert bench.woken == []
    bench.clock.step(200_000)
    bench.look()
    assert bench.woken == [window]


async def test_the_clock_is_looked_at_again_within_seconds(bench: Bench) -> None:
    """A clock that is set forward must not find the loop asleep until a time that is long past."""
    bench.timers.set(bench.window(), bench.clock.now_ms() + 3_600_000)
    handle = bench.timers._handle
    assert handle is not None
    assert handle.when() - asyncio.get_running_loop().time() <= 5
    bench.look()
    assert bench.timers._handle is not None, "and again after that"


async def test_the_loop_wakes_it_by_itself(bench: Bench) -> None:
    woken = asyncio.Event()
    timers = Timers(bench.clock, lambda _: woken.set())
    timers.set(bench.window(), bench.clock.now_ms())
    await woken.wait()
    timers.close()


async def test_a_window_that_cannot_be_woken_keeps_no_other_asleep() -> None:
    clock = ManualClock(1_000)
    woken: list[Window] = []

    def wake(window: Window) -> None:
        if not woken:
            woken.append(window)
            raise RuntimeError("a fault of the program")
        woken.append(window)

    timers = Timers(clock, wake)
    first, second = (cast("Window", SimpleNamespace(timer_at=None)) for _ in range(2))
    timers.set(first, 1_000)
    timers.set(second, 1_000)
    with pytest.raises(RuntimeError):
        timers._fire()
    assert timers._handle is not None, "it looks again"
    timers._fire()
    assert woken == [first, second]
    timers.close()


async def test_after_the_close_nothing_is_woken(bench: Bench) -> None:
    bench.timers.set(bench.window(), 1_000)
    bench.timers.close()
    bench.timers.set(bench.window(), 1_000)
    bench.look()
    assert bench.woken == []
