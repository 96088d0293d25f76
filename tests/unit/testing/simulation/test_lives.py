"""What it means to kill, bury, freeze and thaw a process."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator

import pytest

from posthouse.testing.simulation.loop import LIFE, Crash, Killed, SimLoop, pass_time


def test_what_a_life_starts_belongs_to_it(loop: SimLoop) -> None:
    seen: list[int] = []

    async def inner() -> None:
        seen.append(LIFE.get())

    async def life() -> None:
        loop.call_soon(lambda: seen.append(LIFE.get()))
        loop.call_later(1, lambda: seen.append(LIFE.get()))
        await asyncio.create_task(inner())
        await pass_time(2)

    async def main() -> None:
        await loop.in_life(3, life())
        seen.append(LIFE.get())

    loop.simulate(main())
    assert seen == [3, 3, 3, 0]


def test_in_life_returns_and_raises_what_the_coroutine_does(loop: SimLoop) -> None:
    async def good() -> int:
        return LIFE.get()

    async def bad() -> None:
        raise LookupError("bad")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        assert await loop.in_life(2, good()) == 2
        with pytest.raises(LookupError):
            await loop.in_life(2, bad())
        with pytest.raises(asyncio.CancelledError):
            await loop.in_life(2, cancelled())

    loop.simulate(main())


def test_cancelling_whoever_waits_for_a_life_cancels_what_it_waits_for(loop: SimLoop) -> None:
    ended: list[str] = []

    async def life() -> None:
        try:
            await pass_time(100)
        finally:
            ended.append("cancelled")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.in_life(1, life()), 1)
        await asyncio.sleep(0)

    loop.simulate(main())
    assert ended == ["cancelled"]


class Beats:
    """A life that beats once a second by every means that there is: a task, a timer, callbacks."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.heard: list[str] = []

    async def run(self) -> None:
        self.loop.call_later(1, self.tick)
        try:
            while True:
                await pass_time(1)
                self.heard.append("task")
                self.loop.call_soon(self.heard.append, "soon")
        finally:
            self.heard.append("finally")
            self.loop.call_soon(self.heard.append, "after death")
            self.loop.call_later(1, self.heard.append, "after death")
            asyncio.create_task(asyncio.sleep(0))  # noqa: RUF006 - the dead wait for nothing

    def tick(self) -> None:
        self.heard.append("timer")
        self.loop.call_later(1, self.tick)


def test_a_killed_life_never_runs_again(loop: SimLoop) -> None:
    beats = Beats(loop)

    async def main() -> None:
        loop.start_life(1, beats.run())
        await pass_time(3.5)
        assert sorted(beats.heard) == ["soon"] * 3 + ["task"] * 3 + ["timer"] * 3
        beats.heard.clear()
        loop.kill(1)
        await pass_time(10)
        assert beats.heard == []
        loop.bury(1)
        await pass_time(10)

    loop.simulate(main())
    assert beats.heard == ["finally"]


def test_other_lives_go_on(loop: SimLoop) -> None:
    one, other = Beats(loop), Beats(loop)

    async def main() -> None:
        loop.start_life(1, one.run())
        other_task = loop.start_life(2, other.run())
        await pass_time(1.5)
        loop.kill(1)
        loop.bury(1)
        await pass_time(2)
        assert other.heard.count("task") == 3
        other_task.cancel()
        await pass_time(2)

    loop.simulate(main())
    assert one.heard.count("task") == 1
    assert "after death" in other.heard, "whoever is only cancelled may still act"


@pytest.mark.parametrize("place", ["task", "callback", "timer", "inner task"])
def test_a_life_is_killed_in_the_middle_of_a_callback(loop: SimLoop, place: str) -> None:
    seen: list[str] = []

    def crash() -> None:
        seen.append("crash")
        loop.kill(1)
        raise Crash

    async def crash_in_task() -> None:
        try:
            crash()
        finally:
            loop.call_soon(seen.append, "after death")
            with contextlib.suppress(ZeroDivisionError):
                seen.append("unwound")

    async def life() -> None:
        loop.call_later(1, seen.append, "after death")
        if place == "callback":
            loop.call_soon(crash)
        elif place == "timer":
            loop.call_later(0.5, crash)
        elif place == "inner task":
            await asyncio.create_task(crash_in_task())
        else:
            await crash_in_task()
        await pass_time(100)
        seen.append("after death")

    async def main() -> None:
        with pytest.raises(Killed):
            await loop.in_life(1, life())
        await pass_time(10)
        loop.bury(1)
        await pass_time(10)

    loop.simulate(main())
    assert seen == ["crash"] + ["unwound"] * ("task" in place)


def test_code_that_swallows_the_crash_gets_no_further_than_its_next_await(loop: SimLoop) -> None:
    seen: list[str] = []

    def crash() -> None:
        loop.kill(1)
        raise Crash

    async def life() -> None:
        try:
            crash()
        except BaseException:  # noqa: BLE001 - as some code does
            seen.append("swallowed")
        await asyncio.sleep(0)
        seen.append("after death")

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(5)
        loop.bury(1)

    loop.simulate(main())
    assert seen == ["swallowed"]


def test_asking_for_a_callback_in_a_dead_life_gives_a_cancelled_handle(loop: SimLoop) -> None:
    handles: list[asyncio.Handle] = []

    async def life() -> None:
        try:
            loop.kill(1)
            raise Crash
        finally:
            handles.extend((loop.call_soon(print), loop.call_later(1, print), loop.call_at(1, print)))

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(5)

    loop.simulate(main())
    assert len(handles) == 3
    assert all(handle.cancelled() for handle in handles)


def test_a_crash_outside_of_the_dead_leaves_the_loop_running(loop: SimLoop) -> None:
    def crash() -> None:
        raise Crash

    async def main() -> int:
        loop.call_soon(crash)
        await pass_time(1)
        return 1

    assert loop.simulate(main()) == 1


def test_the_dead_do_not_complain(loop: SimLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("lost with its life")

    async def stubborn() -> None:
        for _ in range(5):
            with contextlib.suppress(GeneratorExit):
                await pass_time(100)
            logging.getLogger("node").error("closing")

    async def twice() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_time(100))
            await pass_time(100)

    async def life() -> None:
        kept: list[asyncio.Future[None]] = [asyncio.create_task(stubborn()), asyncio.create_task(twice())]
        gathered = asyncio.gather(fail(), pass_time(100))
        await asyncio.sleep(0)
        kept += [asyncio.create_task(fail()), asyncio.create_task(twice()), loop.create_future()]
        kept[-1].set_exception(LookupError("nobody took it"))
        await asyncio.sleep(0)
        loop.kill(1)
        assert len(kept) == 5
        assert gathered.done()
        raise Crash

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(5)
        loop.bury(1)
        gc.collect()
        await pass_time(500)

    loop.simulate(main())
    gc.collect()
    assert not caplog.records
    assert logging.root.manager.disable == logging.NOTSET


def test_a_generator_of_the_dead_never_goes_on(loop: SimLoop) -> None:
    seen: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            seen.append("closed")
            await asyncio.sleep(0)
            seen.append("after death")

    async def life() -> None:
        async for _ in numbers():
            await pass_time(100)

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(1)
        loop.kill(1)
        loop.bury(1)
        await pass_time(100)

    loop.simulate(main())
    assert "after death" not in seen


def test_the_world_cannot_be_killed_and_nobody_dies_twice(loop: SimLoop) -> None:
    loop.kill(1)
    for life in (0, 1):
        with pytest.raises(AssertionError):
            loop.kill(life)
    with pytest.raises(AssertionError):
        loop.bury(2)


def test_a_frozen_life_waits_and_then_catches_up(loop: SimLoop) -> None:
    """Timers that are overdue go off at once, in their order; those that are not keep their times."""
    heard: list[tuple[str, float]] = []

    def hear(name: str) -> None:
        heard.append((name, loop.time() - 1_000))

    async def life() -> None:
        loop.call_later(2, hear, "two")
        loop.call_later(3, hear, "three")
        loop.call_later(3.5, hear, "cancelled").cancel()
        loop.call_later(9, hear, "nine")
        while True:
            await pass_time(1)
            hear("task")

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(1.5)
        loop.freeze(1)
        await pass_time(5)
        assert heard == [("task", 1)]
        loop.thaw(1)
        await pass_time(4)
        loop.kill(1)
        loop.bury(1)

    loop.simulate(main())
    assert heard == [
        ("task", 1),
        ("two", 6.5),
        ("three", 6.5),
        ("task", 6.5),
        ("task", 7.5),
        ("task", 8.5),
        ("nine", 9),
        ("task", 9.5),
    ]


def test_what_others_ask_of_a_frozen_life_waits_too(loop: SimLoop) -> None:
    """A future that is set from outside wakes its waiter after the thaw, once."""
    woken: list[float] = []

    async def main() -> None:
        future = loop.create_future()

        async def life() -> None:
            await future
            woken.append(loop.time())

        task = loop.start_life(1, life())
        await pass_time(1)
        loop.freeze(1)
        future.set_result(None)
        await pass_time(1)
        assert not woken
        loop.thaw(1)
        await task

    loop.simulate(main())
    assert woken == [1_002]


def test_a_frozen_life_can_be_killed(loop: SimLoop) -> None:
    beats = Beats(loop)

    async def main() -> None:
        loop.start_life(1, beats.run())
        await pass_time(1.5)
        loop.freeze(1)
        await pass_time(1)
        loop.kill(1)
        loop.bury(1)
        await pass_time(5)

    loop.simulate(main())
    assert beats.heard.count("task") == 1


def test_frozen_timers_do_not_move_time(loop: SimLoop) -> None:
    async def main() -> None:
        task = loop.start_life(1, pass_time(1))
        await asyncio.sleep(0)
        loop.freeze(1)
        await pass_time(0.5)
        loop.thaw(1)
        await task

    loop.simulate(main())
    assert loop.now == 1_001
