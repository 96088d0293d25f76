"""The wall clock is set forward and back: nobody waits for the clock, and nothing is attempted in a storm."""

from collections.abc import Awaitable, Callable

import pytest

from posthouse.core.delivery import State
from posthouse.core.limits import LEASE_MS
from posthouse.core.model import Lane
from posthouse.engine import sweeper as sweeper_module
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import answer

Start = Callable[..., Awaitable[House]]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SWEEP_MS = 5_000


async def sweep(house: House, ms: int = SWEEP_MS) -> None:
    house.clock.advance(ms)
    await house.node.engine.leases._take()
    await house.node.engine._sweeper.sweep()


@pytest.mark.parametrize("by_ms", [-HOUR_MS, -DAY_MS])
async def test_after_a_step_back_a_retry_waits_no_longer_than_its_own_delay(house: House, by_ms: int) -> None:
    endpoint = await house.endpoint(retry="custom:10s,1h")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.settled(1)
    house.clock.advance(4_000)
    house.clock.step(by_ms)
    await sweep(house)
    record = await house.delivery(event, endpoint)
    assert record.due_at is not None
    assert 10_000 <= record.due_at - house.clock.now_ms() <= 11_000, "what is shown is a time of this clock"
    await house.wake(9_999)
    assert len(house.transport.requests) == 1, "not at once either"
    house.transport.script = lambda _: answer()
    await house.wake(1_001)
    await house.settled(2)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def test_after_a_step_back_what_waits_in_the_store_is_due(house: House) -> None:
    """More than the window holds: the rest is in the store only, and due by the clock that was."""
    endpoint = await house.endpoint(active=False)
    for _ in range(5):
        await house.publish()
    house.clock.step(-HOUR_MS)
    await sweep(house)
    refill = await house.ports.store.work.fetch(
        endpoint.key, Lane.LIVE, now=house.clock.now_ms(), limit=10, bytes_max=1 << 20
    )
    assert len(refill.work) == 5


async def test_a_step_back_brings_no_attempt_forward_that_was_made_before_it(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:2h")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.settled(1)
    before = (await house.delivery(event, endpoint)).due_at
    await sweep(house, 2 * HOUR_MS - 60_000)
    house.clock.step(-HOUR_MS)
    await sweep(house)
    assert (await house.delivery(event, endpoint)).due_at == before
    assert len(house.transport.requests) == 1


@pytest.mark.parametrize("by_ms", [HOUR_MS, DAY_MS])
async def test_after_a_step_forward_each_delivery_is_attempted_early_once_at_most(house: House, by_ms: int) -> None:
    """What is due by the new time is attempted; what comes then follows the schedule."""
    for _ in range(5):
        await house.endpoint(retry="custom:10s,10s,10s")
    house.transport.script = lambda _: answer(500)
    await house.publish()
    await house.settled(5)
    house.clock.step(by_ms)
    await sweep(house, 0)
    await house.settled(10)
    await sweep(house, 0)
    await sweep(house, 9_000)
    assert len(house.transport.requests) == 10
    await sweep(house, 2_000)
    await house.settled(15)


async def test_many_steps_leave_the_schedule_alone(house: House) -> None:
    """A clock that swings does not spend a delivery's attempts."""
    endpoint = await house.endpoint(retry="custom:20s,20s,20s,20s,20s,20s,20s,20s")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.settled(1)
    for n in range(6):
        house.clock.step(-HOUR_MS if n % 2 else HOUR_MS)
        await sweep(house)
    assert (await house.delivery(event, endpoint)).attempts <= 1 + 3, "one for each step forward"


async def test_what_an_earlier_life_timed_by_a_clock_that_was_ahead_is_timed_anew(start: Start) -> None:
    """The leases tell at what time the store was in use; also where the node ended well."""
    ahead = ManualClock()
    house = await start(ahead)
    endpoint = await house.endpoint(retry="custom:10s")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.settled(1)
    await house.node.stop()
    ahead.step(-HOUR_MS)
    again = await start(ahead)

    async def due_in() -> int:
        record = await again.delivery(event, endpoint)
        assert record.due_at is not None
        return record.due_at - ahead.now_ms()

    while await due_in() > 11_000:
        pass
    assert await due_in() >= 10_000
    await again.wake(11_000)
    await again.settled(1)
    assert (await again.delivery(event, endpoint)).state is State.DELIVERED


async def test_a_start_without_a_step_times_nothing_anew(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read every open delivery."""
    house = await start()
    await house.node.stop()
    house.clock.advance(LEASE_MS // 2)
    again = await start(house.clock)
    read: list[object] = []
    monkeypatch.setattr(again.ports.store.work, "retime", read.append)
    await sweep(again)
    await sweep(again)
    assert read == []


async def test_a_retiming_that_failed_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = await house.endpoint(retry="custom:10s")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.settled(1)

    async def fail(**_: object) -> None:
        raise RuntimeError("not now")

    house.clock.step(-DAY_MS)
    with monkeypatch.context() as patch:
        patch.setattr(house.ports.store.work, "retime", fail)
        await sweep(house)
    await sweep(house)
    record = await house.delivery(event, endpoint)
    assert record.due_at is not None
    assert record.due_at - house.clock.now_ms() <= 11_000


async def test_steps_are_said_and_slow_drift_is_not(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sweeper_module, "log", lambda event, **fields: said.append((event.name, fields)))
    house.clock.step(HOUR_MS)
    await sweep(house)
    house.clock.step(20)
    await sweep(house)
    house.clock.step(-DAY_MS)
    await sweep(house)
    assert said == [("CLOCK_STEPPED", {"by_ms": HOUR_MS}), ("CLOCK_STEPPED", {"by_ms": -DAY_MS})]
