"""The engine over a real store and a scripted network: what it finds, what it counts, how it stops."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import LEASE_MS, STUCK_MS
from posthouse.core.model import Environment, Lane
from posthouse.engine import dispatcher as dispatcher_module
from posthouse.store.protocol import Work
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

pytestmark = pytest.mark.timeout(10)  # what never comes is a failure within seconds


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = await House.start(tmp_path / "data")
    yield house
    await house.node.stop(drain_seconds=0)


async def turns(count: int = 50) -> None:
    """Let everything that can run without time passing run."""
    for _ in range(count):
        await asyncio.sleep(0)


def gauge(house: House, name: str) -> float:
    """A gauge as ``/metrics`` shows it."""
    lines = house.node.metrics.render().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"posthouse_{name} "))


async def test_a_hint_that_was_lost_costs_time_but_no_delivery(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store holds the truth: the next sweep finds what nobody told the engine."""
    engine = house.node.engine
    await engine._sweeper.stop()
    endpoint = await house.endpoint()

    def lose(_work: Sequence[Work]) -> None:
        """Hear nothing."""

    monkeypatch.setattr(engine, "accepted", lose)
    accepted = await house.publish()
    await turns()
    assert house.transport.requests == []
    await engine.survey()
    await turns()
    assert len(house.transport.requests) == 1
    await house.settled(1)
    assert (await house.delivery(accepted, endpoint)).state is State.DELIVERED


async def test_what_only_memory_keeps_is_let_go(house: House) -> None:
    """A fault of the program that leaves a delivery in hand keeps it for seconds, not for ever."""
    engine = house.node.engine
    await engine._sweeper.stop()
    endpoint = await house.endpoint(active=False)
    accepted = await house.publish()
    desk = engine.board.desk(endpoint.key)
    assert desk is not None
    desk.in_hand[accepted.key] = False
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await turns()
    assert house.transport.requests == []
    for _ in range(5):
        house.clock.advance(STUCK_MS // 2)
        await engine.leases._take()
        await engine._sweeper.sweep()
        await turns()
    assert len(house.transport.requests) == 1


async def test_a_fault_inside_an_attempt_leaves_nothing_behind(house: House) -> None:
    """Neither in hand, so that it goes out again, nor among the requests on their way."""
    await house.endpoint()

    def fail(_: Request) -> Exchange:
        raise RuntimeError("a fault of the program")

    house.transport.script = fail
    accepted = await house.publish()
    await house.settled(1)
    (desk,) = house.node.engine.board._desks.values()
    assert (desk.in_flight, desk.in_hand) == (0, {})
    assert gauge(house, "in_flight") == 0
    house.transport.script = lambda _: answer()
    await house.wake(20_000)
    assert (await house.transport.sent(2))[1].headers["webhook-id"] == accepted.id
    await house.settled(2)


async def test_failures_leave_no_trace_in_what_is_on_its_way(house: House) -> None:
    await house.endpoint()
    house.transport.script = lambda _: broken(Failure.REFUSED)
    for _ in range(20):
        await house.publish()
    await house.until(lambda: gauge(house, "endpoints_down") == 1)
    await house.until(lambda: gauge(house, "in_flight") == gauge(house, "unsettled") == 0)


async def test_nothing_is_sent_on_a_lease_that_may_have_run_out(house: House) -> None:
    """Another node may be at it by now."""
    leases = house.node.engine.leases
    assert leases._task is not None
    leases._task.cancel()
    await house.endpoint()
    house.clock.advance(LEASE_MS)
    await house.publish()
    await turns()
    assert house.transport.requests == []
    await leases._take()
    await house.transport.sent(1)


async def test_a_process_that_stood_still_sends_nothing_that_it_chose_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped between the choice and the sending; whose the endpoint is has to be asked anew."""
    engine = house.node.engine
    assert engine.leases._task is not None
    engine.leases._task.cancel()
    await house.endpoint()
    dispatcher = engine._dispatcher
    spawn = dispatcher.spawn

    def stand_still(coroutine: Coroutine[None, None, None]) -> None:
        house.clock.advance(LEASE_MS)
        spawn(coroutine)

    with monkeypatch.context() as patch:
        patch.setattr(dispatcher, "spawn", stand_still)
        await house.publish()
        await turns()
    assert house.transport.requests == []
    await engine.leases._take()
    await house.transport.sent(1)


async def test_nothing_more_is_sent_while_too_many_outcomes_wait_for_their_commit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "UNSETTLED_MAX", 3)
    written = house.hold_outcomes()
    await house.endpoint()
    for _ in range(10):
        await house.publish()
    await turns()
    assert len(house.transport.requests) == 3
    written.set()
    await house.settled(10)
    assert len(house.transport.requests) == 10


async def test_a_delivery_stays_in_hand_until_its_outcome_is_durable(house: House) -> None:
    """Whoever looks into the store meanwhile finds it open there, and must not send it again."""
    written = house.hold_outcomes()
    endpoint = await house.endpoint()
    await house.publish()
    await house.transport.sent(1)
    await turns()
    for _ in range(3):
        house.node.engine.due(endpoint.key, Lane.LIVE)
        await turns()
    written.set()
    await house.settled(1)
    await turns()
    assert len(house.transport.requests) == 1


async def test_a_stop_lets_requests_on_their_way_end_and_settles_them(house: House) -> None:
    endpoint = await house.endpoint()
    gate: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: gate
    accepted = await house.publish()
    await house.transport.sent(1)
    stopping = asyncio.ensure_future(house.node.engine.stop(drain_seconds=30))
    await turns()
    assert not stopping.done(), "it waits for the answer"
    gate.set_result(answer())
    await stopping
    assert (await house.delivery(accepted, endpoint)).state is State.DELIVERED
