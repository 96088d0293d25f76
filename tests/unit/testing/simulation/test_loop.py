"""Time, order, chance, and what a simulated loop refuses."""

import asyncio
import contextlib
import gc
import random
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from posthouse.testing.simulation.loop import Deadlock, NotSimulated, SimLoop, StepsExceeded, pass_time
from posthouse.testing.simulation.trace import Trace

# -- time -----------------------------------------------------------------------------------------


def test_time_jumps_to_the_next_timer_and_stands_still_otherwise(loop: SimLoop) -> None:
    async def main() -> list[float]:
        start = loop.time()
        times = [loop.time() - start]
        for _ in range(100):
            await asyncio.sleep(0)
        times.append(loop.time() - start)
        await pass_time(86_400)
        times.append(loop.time() - start)
        return times

    assert loop.simulate(main()) == [0, 0, 86_400]


def test_timers_go_off_in_the_order_of_their_times_and_then_of_their_making(loop: SimLoop) -> None:
    seen: list[str] = []

    async def main() -> None:
        for name, delay in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0), ("late", -5.0)):
            loop.call_later(delay, seen.append, name)
        loop.call_later(1.0, seen.append, "cancelled").cancel()
        await pass_time(3)

    loop.simulate(main())
    assert seen == ["late", "a", "b", "c", "d"]


def test_time_never_goes_back(loop: SimLoop) -> None:
    async def main() -> tuple[float, float]:
        await pass_time(5)
        before = loop.time()
        event = asyncio.Event()
        loop.call_at(before - 3, event.set)
        await event.wait()
        return before, loop.time()

    before, after = loop.simulate(main())
    assert before == after


def test_many_cancelled_timers_are_swept_out(loop: SimLoop) -> None:
    async def main() -> None:
        kept = [loop.call_later(2 + i, lambda: None) for i in range(10)]
        for i in range(5_000):
            loop.call_later(1 + i, lambda: None).cancel()
        assert len(loop._timers) < 1_100
        await pass_time(20)
        assert not any(handle.cancelled() for handle in kept)

    loop.simulate(main())
    assert loop.now == 1_020


# -- order ----------------------------------------------------------------------------------------


def test_callbacks_keep_their_order_whatever_the_shuffle() -> None:
    for seed in range(20):
        loop = SimLoop(seed, shuffle=1.0, trace=Trace())
        seen: list[int] = []

        async def noise() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        async def main(loop: SimLoop = loop, seen: list[int] = seen) -> None:
            tasks = [asyncio.create_task(noise()) for _ in range(5)]
            for i in range(200):
                loop.call_soon(seen.append, i)
                if i % 7 == 0:
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks)

        loop.simulate(main())
        assert seen == list(range(200))
        loop.close()


def _order_of_tasks(seed: int, shuffle: float) -> list[int]:
    """In which order ten tasks that are ready together take their steps; each takes two."""
    loop = SimLoop(seed, shuffle=shuffle, trace=Trace())
    seen: list[int] = []

    async def one(number: int) -> None:
        seen.append(number)
        await asyncio.sleep(0)
        seen.append(number + 100)

    async def main() -> None:
        await asyncio.gather(*(one(i) for i in range(10)))

    loop.simulate(main())
    loop.close()
    return seen


def test_without_shuffle_tasks_keep_their_order() -> None:
    assert _order_of_tasks(1, 0) == [*range(10), *range(100, 110)]


def test_with_shuffle_tasks_overtake_each_other_and_keep_their_own_order() -> None:
    orders = [_order_of_tasks(seed, 0.3) for seed in range(50)]
    assert len({tuple(order) for order in orders}) == 50
    for order in orders:
        assert sorted(order) == [*range(10), *range(100, 110)]
        assert all(order.index(i) < order.index(i + 100) for i in range(10))
    firsts = {order[0] for order in orders}
    assert len(firsts) > 2, "somebody else can be first"
    assert _order_of_tasks(7, 0.3) == _order_of_tasks(7, 0.3)


def test_a_late_task_is_never_late_forever() -> None:
    assert sorted(_order_of_tasks(3, 1.0)) == [*range(10), *range(100, 110)]


def test_a_task_never_runs_before_a_callback_that_was_ready_before_it() -> None:
    """What asyncio's own parts rely on: a future's callbacks run before whoever awaits it goes on."""
    for seed in range(30):
        loop = SimLoop(seed, shuffle=0.8, trace=Trace())

        async def one(loop: SimLoop = loop) -> None:
            future = loop.create_future()
            told: list[bool] = []
            future.add_done_callback(lambda _: told.append(True))
            loop.call_later(0.1, future.set_result, None)
            await future
            assert told

        async def main() -> None:
            await asyncio.gather(*(one() for _ in range(20)))

        loop.simulate(main())
        loop.close()


def test_cancelling_by_a_timer_is_no_step_of_the_task() -> None:
    loop = SimLoop(1, shuffle=1.0, trace=Trace())

    async def main() -> None:
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await pass_time(1)
        assert loop.time() == 1_050

    loop.simulate(main())
    loop.close()


def test_other_methods_of_a_task_keep_their_order_as_callbacks() -> None:
    """Only its steps may be late; what is called on it is a callback like any other."""
    loop = SimLoop(1, shuffle=1.0, trace=Trace())
    seen: list[str] = []

    async def main() -> None:
        others = [asyncio.create_task(pass_time(1)) for _ in range(5)]
        named = asyncio.create_task(pass_time(1))
        for i in range(50):
            loop.call_soon(named.set_name, str(i))
            loop.call_soon(lambda: seen.append(named.get_name()))
        await asyncio.gather(named, *others)

    loop.simulate(main())
    loop.close()
    assert seen == [str(i) for i in range(50)]


def test_sets_of_tasks_and_futures_have_the_same_order_in_every_run() -> None:
    def order(ballast: int) -> list[int]:
        loop = SimLoop(1, shuffle=0, trace=Trace())
        kept = [object() for _ in range(ballast)]  # moves what is made next to other places in memory

        async def main() -> list[int]:
            tasks = [asyncio.create_task(pass_time(1)) for _ in range(50)]
            waited, _ = await asyncio.wait(tasks)
            futures = {loop.create_future() for _ in range(50)}
            return [*map(hash, waited), *map(hash, futures)]

        result = loop.simulate(main())
        loop.close()
        assert len(kept) == ballast
        return result

    assert order(0) == order(1_001)


# -- the end --------------------------------------------------------------------------------------


def test_waiting_for_nothing_is_a_deadlock(loop: SimLoop) -> None:
    async def main() -> None:
        await loop.create_future()

    with pytest.raises(Deadlock):
        loop.simulate(main())


def test_running_in_circles_is_noticed() -> None:
    loop = SimLoop(1, shuffle=0, trace=Trace(), steps_max=1_000)

    async def main() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    with pytest.raises(StepsExceeded):
        loop.simulate(main())
    loop.close()


def test_the_result_and_the_error_of_main_come_out(loop: SimLoop) -> None:
    async def good() -> int:
        return 7

    async def bad() -> None:
        raise LookupError("bad")

    assert loop.simulate(good()) == 7
    with pytest.raises(LookupError):
        loop.simulate(bad())


def test_the_garbage_collector_rests_meanwhile(loop: SimLoop) -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert loop.simulate(main()) is False
    assert gc.isenabled()


# -- complaints -----------------------------------------------------------------------------------


def test_an_error_in_a_callback_is_a_complaint(loop: SimLoop) -> None:
    async def main() -> None:
        loop.call_soon(lambda: 1 / 0)
        await pass_time(1)

    loop.simulate(main())
    [complaint] = loop.complaints
    assert "ZeroDivisionError" in complaint
    loop.complaints.clear()


def test_an_error_that_nobody_took_is_a_complaint_also_in_a_cycle(loop: SimLoop) -> None:
    async def fail() -> None:
        error = LookupError("nobody")
        error.__cause__ = error  # keeps itself
        raise error

    async def main() -> None:
        task = asyncio.create_task(fail())
        await pass_time(1)
        del task

    loop.simulate(main())
    [complaint] = loop.complaints
    assert "never retrieved" in complaint
    assert "LookupError" in complaint
    loop.complaints.clear()


def test_a_task_that_was_forgotten_is_a_complaint(loop: SimLoop) -> None:
    async def wait() -> None:
        await loop.create_future()

    async def main() -> None:
        asyncio.create_task(wait())  # noqa: RUF006 - it is to be forgotten
        await pass_time(1)

    loop.simulate(main())
    [complaint] = loop.complaints
    assert "destroyed but it is pending" in complaint
    loop.complaints.clear()


# -- what asyncio offers ---------------------------------------------------------------------------


def test_asyncio_works_on_it(loop: SimLoop) -> None:
    async def main() -> None:
        start = loop.time()
        queue: asyncio.Queue[int] = asyncio.Queue(2)

        async def produce() -> None:
            for i in range(10):
                await queue.put(i)
                await pass_time(1)

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            assert [await queue.get() for _ in range(10)] == [*range(10)]
        assert loop.time() - start == 10
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        done, pending = await asyncio.wait(
            [asyncio.create_task(pass_time(i)) for i in (1, 5)], return_when=asyncio.FIRST_COMPLETED
        )
        assert (len(done), len(pending)) == (1, 1)
        await asyncio.gather(*pending)
        assert loop.time() - start == 20
        lock = asyncio.Lock()
        async with lock:
            waiter = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
        assert await waiter

    loop.simulate(main())


def test_a_generator_that_is_left_behind_is_closed(loop: SimLoop) -> None:
    closed: list[float] = []

    async def main() -> None:
        async def numbers() -> AsyncGenerator[int, None]:
            try:
                yield 1
                yield 2
            finally:
                await pass_time(1)
                closed.append(loop.time())

        async for _ in numbers():
            break
        await pass_time(5)

    loop.simulate(main())
    assert closed == [1_001]


@pytest.mark.parametrize(
    "leave",
    [
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_writer(0, print),
        lambda loop: loop.add_signal_handler(1, print),
        lambda loop: loop.getaddrinfo("localhost", 80),
        lambda loop: loop.getnameinfo(("127.0.0.1", 80)),
        lambda loop: loop.create_connection(asyncio.Protocol, "localhost", 80),
        lambda loop: loop.create_server(asyncio.Protocol, "localhost", 80),
        lambda loop: loop.create_connection(asyncio.Protocol, "localhost", 80, ssl=True),
        lambda loop: loop.create_server(asyncio.Protocol, "localhost", 80, ssl=True),
    ],
)
def test_what_leaves_the_simulation_is_refused(loop: SimLoop, leave: Callable[[SimLoop], Awaitable[None]]) -> None:
    async def main() -> None:
        await leave(loop)

    with pytest.raises(NotSimulated):
        loop.simulate(main())


def test_only_its_own_thread_may_call_soon_threadsafe(loop: SimLoop) -> None:
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except NotSimulated as error:
            refused.append(error)

    async def main() -> None:
        event = asyncio.Event()
        loop.call_soon_threadsafe(event.set)
        await event.wait()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert refused
    loop.simulate(main())


# -- the trace -------------------------------------------------------------------------------------


def _history(seed: int, naps: int) -> str:
    trace = Trace()
    loop = SimLoop(seed, shuffle=0.3, trace=trace)

    async def main() -> None:
        chance = random.Random(seed)

        async def one() -> None:
            for _ in range(naps):
                await pass_time(chance.random())

        await asyncio.gather(*(one() for _ in range(20)))

    loop.simulate(main())
    loop.close()
    return trace.digest


def test_the_trace_tells_histories_apart() -> None:
    assert _history(1, 10) == _history(1, 10)
    assert len({_history(1, 10), _history(2, 10), _history(1, 11)}) == 3
