import asyncio
import random
from collections.abc import Callable

import pytest

from posthouse.testing.simulation.loop import Crash, SimLoop, pass_time
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.trace import Trace


@pytest.fixture
def offload(loop: SimLoop) -> SimOffload:
    return SimOffload(loop, random.Random(1))


class Writer:
    """Its methods are the writer's calls."""

    def __init__(self) -> None:
        self.written: list[int] = []

    def write(self) -> int:
        self.written.append(len(self.written))
        return self.written[-1]


def test_a_call_takes_its_time_and_gives_its_result(loop: SimLoop, offload: SimOffload) -> None:
    async def main() -> None:
        for _ in range(100):
            ran: list[float] = []
            start = loop.time()
            await offload(lambda ran=ran: ran.append(loop.time()))  # type: ignore[misc]  # a default is no parameter
            assert 0.000_05 <= ran[0] - start <= 0.001
            assert ran[0] <= loop.time() <= ran[0] + 0.000_05
        with pytest.raises(ZeroDivisionError):
            await offload(lambda: 1 / 0)

    loop.simulate(main())
    assert offload.calls == 101
    assert offload.stalls == 0


def test_a_slow_disk_stalls(loop: SimLoop, offload: SimOffload) -> None:
    offload.pace.stall_chance = 0.2
    offload.pace.stall = (2, 3)

    async def main() -> None:
        for _ in range(100):
            await offload(lambda: None)

    loop.simulate(main())
    assert 5 < offload.stalls < 50
    assert loop.now - 1_000 > 2 * offload.stalls


def test_calls_of_the_writer_and_of_readers_overtake_each_other_but_never_their_own(
    loop: SimLoop, offload: SimOffload
) -> None:
    writer = Writer()
    offload.pace.stall_chance = 0.1
    order: list[str] = []
    reads: list[int] = []

    async def main() -> None:
        for i in range(50):
            read = offload(lambda i=i: reads.append(i))  # type: ignore[misc]  # a default is no parameter
            write = offload(writer.write)
            asyncio.ensure_future(read).add_done_callback(lambda _: order.append("read"))
            asyncio.ensure_future(write).add_done_callback(lambda _: order.append("write"))
        await pass_time(100)

    loop.simulate(main())
    assert reads == writer.written == list(range(50))
    assert order != ["read", "write"] * 50


def test_a_call_runs_also_if_nobody_waits_for_it_any_more(loop: SimLoop, offload: SimOffload) -> None:
    writer = Writer()

    async def main() -> None:
        call = asyncio.ensure_future(offload(writer.write))
        call.cancel()
        await pass_time(1)
        failing = asyncio.ensure_future(offload(lambda: 1 / 0))
        failing.cancel()
        await pass_time(1)

    loop.simulate(main())
    assert writer.written == [0]


def _kill_at(loop: SimLoop, offload: SimOffload, seconds: float) -> tuple[bool, bool]:
    """A life awaits a call and is killed after some time. Whether the call ran, and whether it was known."""
    writer, known = Writer(), []

    async def life() -> None:
        known.append(await offload(writer.write))

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(seconds)
        loop.kill(1)
        await pass_time(1)
        loop.bury(1)

    loop.simulate(main())
    return bool(writer.written), bool(known)


def test_a_crash_can_come_before_a_call_and_between_it_and_what_follows() -> None:
    outcomes: set[tuple[bool, bool]] = set()
    for microseconds in range(0, 1_100, 5):
        loop = SimLoop(1, shuffle=0, trace=Trace())
        outcomes.add(_kill_at(loop, SimOffload(loop, random.Random(1)), microseconds / 1e6))
        loop.close()
    assert outcomes == {(False, False), (True, False), (True, True)}


@pytest.mark.parametrize("place", ["function", "method"])
def test_a_crash_within_a_call_ends_the_life_there(loop: SimLoop, offload: SimOffload, place: str) -> None:
    class Dying:
        def crash(self) -> None:
            loop.kill(1)
            raise Crash

    known: list[BaseException] = []
    call: Callable[[], None] = Dying().crash if place == "method" else lambda: Dying().crash()

    async def life() -> None:
        try:
            await offload(call)
        except Exception as error:  # noqa: BLE001 - there must be none
            known.append(error)

    async def main() -> None:
        loop.start_life(1, life())
        await pass_time(1)
        assert loop.is_dead(1)
        loop.bury(1)

    loop.simulate(main())
    assert not known
