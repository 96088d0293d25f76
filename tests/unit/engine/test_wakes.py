"""Wake-ups: one for each sleeper, at the earliest time that was asked for, by one timer for all of them."""

import asyncio
from dataclasses import dataclass

import pytest

from posthouse.engine.wakes import NEVER, Wakes
from posthouse.testing.manual_clock import ManualClock


@dataclass(eq=False)
class Sleeper:
    """Something that can be woken; it is neither equal to nor ordered before another one."""

    name: str
    wake_at: float = NEVER
    faulty: bool = False


class Bench:
    """Wake-ups over a manual clock, with a record of who was woken when."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.woken: list[tuple[str, float]] = []
        self.wakes: Wakes[Sleeper] = Wakes(self.clock, self._wake)

    def _wake(self, sleeper: Sleeper) -> None:
        self.woken.append((sleeper.name, self.clock.monotonic()))
        if sleeper.faulty:
            raise RuntimeError("a fault of the program")

    def look(self, seconds: int = 0) -> None:
        """Let time pass; then what the loop's timer does when it goes off."""
        self.clock.advance(seconds * 1_000)
        self.wakes.fire()

    def timer_in(self) -> float | None:
        """In how many seconds the timer of the loop goes off; None: there is none."""
        handle = self.wakes._handle
        return None if handle is None else handle.when() - asyncio.get_running_loop().time()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_one_is_woken_when_its_time_has_come_and_once(bench: Bench) -> None:
    sleeper = Sleeper("a")
    bench.wakes.set(sleeper, 10.0)
    assert sleeper.wake_at == 10.0
    bench.look(9)
    assert bench.woken == []
    bench.look(1)
    bench.look(100)
    assert bench.woken == [("a", 10.0)]
    assert sleeper.wake_at == NEVER


async def test_a_time_that_is_past_already_is_now(bench: Bench) -> None:
    bench.clock.advance(5_000)
    bench.wakes.set(Sleeper("a"), 1.0)
    assert bench.timer_in() == pytest.approx(0, abs=0.5)
    bench.look()
    assert bench.woken == [("a", 5.0)]


async def test_the_earliest_time_counts_and_what_it_overtook_wakes_nobody(bench: Bench) -> None:
    sleeper = Sleeper("a")
    for at in (30.0, 20.0, 20.0, 40.0):
        bench.wakes.set(sleeper, at)
    assert sleeper.wake_at == 20.0
    bench.look(20)
    for _ in range(3):
        bench.look(10)
    assert bench.woken == [("a", 20.0)]


async def test_never_is_no_time(bench: Bench) -> None:
    sleeper = Sleeper("a")
    bench.wakes.set(sleeper, NEVER)
    assert bench.timer_in() is None
    bench.look(1_000_000)
    assert bench.woken == []


async def test_who_was_woken_may_be_woken_again(bench: Bench) -> None:
    """Also at a time that an entry it has overtaken still stands for: then once."""
    sleeper = Sleeper("a")
    bench.wakes.set(sleeper, 30.0)
    bench.wakes.set(sleeper, 10.0)
    bench.look(10)
    bench.wakes.set(sleeper, 30.0)
    bench.look(20)
    bench.look(10)
    assert bench.woken == [("a", 10.0), ("a", 30.0)]


async def test_they_are_woken_in_the_order_of_their_times_and_then_in_which_they_asked(bench: Bench) -> None:
    for name, at in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("middle", 2.0)):
        bench.wakes.set(Sleeper(name), at)
    bench.look(10)
    assert [name for name, _ in bench.woken] == ["first", "second", "middle", "late"]


async def test_who_asks_again_while_it_is_woken_is_woken_at_that_time() -> None:
    """Not within the same look, unless that time has come."""
    clock = ManualClock()
    woken: list[float] = []
    sleeper = Sleeper("a")

    def wake(who: Sleeper) -> None:
        woken.append(clock.monotonic())
        wakes.set(who, clock.monotonic() + 5)

    wakes = Wakes(clock, wake)
    wakes.set(sleeper, 1.0)
    for _ in range(12):
        clock.advance(1_000)
        wakes.fire()
    wakes.close()
    assert woken == [1.0, 6.0, 11.0]


async def test_one_timer_goes_off_for_the_first_of_all(bench: Bench) -> None:
    """It is set anew for an earlier time, left alone for a later one, and again after each look."""
    bench.wakes.set(Sleeper("b"), 2_000.0)
    assert bench.timer_in() == pytest.approx(2_000, abs=100)
    before = bench.wakes._handle
    bench.wakes.set(Sleeper("c"), 3_000.0)
    assert bench.wakes._handle is before
    bench.wakes.set(Sleeper("a"), 1_000.0)
    assert bench.timer_in() == pytest.approx(1_000, abs=100)
    assert before is not None
    assert before.cancelled(), "there is one timer, not two"
    bench.look(1_000)
    assert bench.timer_in() == pytest.approx(1_000, abs=100)
    bench.look(2_000)
    assert [name for name, _ in bench.woken] == ["a", "b", "c"]
    assert bench.timer_in() is None, "nobody is left, so nothing turns"


async def test_a_timer_that_goes_off_early_wakes_nobody_and_is_set_again(bench: Bench) -> None:
    bench.wakes.set(Sleeper("a"), 1_000.0)
    bench.look(999)
    assert bench.woken == []
    assert bench.timer_in() == pytest.approx(1, abs=0.5)


async def test_the_loop_wakes_it_by_itself() -> None:
    woken = asyncio.Event()
    wakes: Wakes[Sleeper] = Wakes(ManualClock(), lambda _: woken.set())
    wakes.set(Sleeper("a"), 0.0)
    await woken.wait()
    wakes.close()


async def test_one_that_cannot_be_woken_keeps_no_other_asleep(bench: Bench) -> None:
    """Its own time is over all the same: it can ask for another one."""
    faulty, other, later = Sleeper("faulty", faulty=True), Sleeper("other"), Sleeper("later")
    for sleeper, at in ((faulty, 1.0), (other, 1.0), (later, 2_000.0)):
        bench.wakes.set(sleeper, at)
    with pytest.raises(RuntimeError):
        bench.look(1)
    assert bench.timer_in() == pytest.approx(0, abs=0.5), "it looks again at once"
    bench.look()
    assert [name for name, _ in bench.woken] == ["faulty", "other"]
    assert bench.timer_in() == pytest.approx(1_999, abs=100)
    bench.wakes.set(faulty, 5.0)
    with pytest.raises(RuntimeError):
        bench.look(4)
    assert bench.woken[-1] == ("faulty", 5.0)


async def test_after_the_close_nobody_is_woken(bench: Bench) -> None:
    bench.wakes.set(Sleeper("before"), 1.0)
    handle = bench.wakes._handle
    assert handle is not None
    bench.wakes.close()
    assert handle.cancelled()
    assert bench.timer_in() is None
    after = Sleeper("after")
    bench.wakes.set(after, 1.0)
    assert (bench.timer_in(), after.wake_at) == (None, NEVER)
    bench.look(10)
    bench.wakes.close()
    assert bench.woken == []
    assert bench.timer_in() is None


async def test_a_close_by_somebody_who_is_woken_ends_it() -> None:
    woken: list[str] = []

    def wake(sleeper: Sleeper) -> None:
        woken.append(sleeper.name)
        wakes.close()

    clock = ManualClock()
    wakes = Wakes(clock, wake)
    for name in ("a", "b"):
        wakes.set(Sleeper(name), 1.0)
    clock.advance(1_000)
    wakes.fire()
    wakes.fire()
    assert woken == ["a"]
    assert wakes._handle is None


async def test_looking_between_times_leaves_one_timer(bench: Bench) -> None:
    """Each timer that was left over would arm another one for ever."""
    bench.wakes.set(Sleeper("a"), 10.0)
    first = bench.wakes._handle
    for _ in range(3):
        bench.look()
    assert first is not None
    assert first.cancelled()
    assert bench.timer_in() == pytest.approx(10.0, abs=1.0)
    bench.wakes.close()
