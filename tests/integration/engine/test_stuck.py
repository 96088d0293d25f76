"""What is due and does not move: found by the sweep, healed where forgetting heals, and said where it does not."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from posthouse.core import limits
from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.engine import dispatcher as dispatcher_module
from posthouse.store.protocol import Accepted, Work
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

SWEEP_MS = 5_000


@pytest.fixture
async def house(house: House) -> AsyncIterator[House]:
    """A node whose first sweep is over, and which sweeps when the test says so."""
    await house.node.engine._sweeper.stop()
    house.node.engine._sweeper.start(set_back=False)
    await turns(house)
    yield house
    house.transport.script = lambda _: answer()


async def turns(house: House, count: int = 20) -> None:
    """Let everything that can run without time passing run."""
    for _ in range(count):
        await house.ports.store.admin.stats()  # a turn of the store's threads too


async def sweep(house: House, *, times: int = 1) -> None:
    """Let time pass as a node sees it: leases are renewed, queues are swept."""
    for _ in range(times):
        house.clock.advance(SWEEP_MS)
        await house.node.engine.leases._take()
        await house.node.engine._sweeper.sweep()
        await turns(house)


def number(house: House, name: str) -> float:
    """A number as ``/metrics`` shows it."""
    lines = house.node.metrics.render().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"posthouse_{name} "))


async def waits_for(house: House, event: Accepted, endpoint: Endpoint) -> str | None:
    detail = await house.node.gateway.deliveries.get(Environment.LIVE, delivery_id(event.key, endpoint.key))
    return None if detail.waits_for is None else detail.waits_for.code


async def lose(house: House, monkeypatch: pytest.MonkeyPatch) -> Accepted:
    """Publish an event of which the engine hears nothing."""

    def hear_nothing(_work: Sequence[Work]) -> None:
        """Not a word."""

    with monkeypatch.context() as patch:
        patch.setattr(house.node.engine, "accepted", hear_nothing)
        accepted = await house.publish()
        await turns(house)
    assert house.transport.requests == []
    return accepted


# -- healed -----------------------------------------------------------------------------------


async def test_one_sweep_heals_a_lost_hint_and_counts_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = await house.endpoint()
    accepted = await lose(house, monkeypatch)
    await sweep(house)
    await house.settled(1)
    assert (await house.delivery(accepted, endpoint)).state is State.DELIVERED
    assert number(house, "deliveries_swept_total") == 1
    assert number(house, "stuck_queues") == 0


async def test_a_lost_hint_behind_others_is_found_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer is not empty, but what the store names first is not in it."""
    await house.endpoint()
    accepted = await lose(house, monkeypatch)
    house.clock.advance(1)
    gates: list[asyncio.Future[Exchange]] = []

    def hold(_: Request) -> asyncio.Future[Exchange]:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    house.transport.script = hold
    for _ in range(limits.IN_FLIGHT_PER_ENDPOINT + 5):
        await house.publish()
    await house.transport.sent(limits.IN_FLIGHT_PER_ENDPOINT)
    await sweep(house)
    assert house.node.engine.board.items == 6, "five and the lost one"
    assert number(house, "deliveries_swept_total") == 1
    house.transport.script = lambda _: answer()
    for gate in gates:
        gate.set_result(answer())
    await house.settled(limits.IN_FLIGHT_PER_ENDPOINT + 6)
    sent = [request.headers["webhook-id"] for request in house.transport.requests]
    assert sent.count(accepted.id) == 1


async def test_what_was_told_is_not_counted_as_swept(house: House) -> None:
    await house.endpoint(retry="custom:1s,1s,1s,1s")
    numbers = itertools.count()
    house.transport.script = lambda _: answer() if next(numbers) % 3 else broken(Failure.REFUSED)
    for _ in range(20):
        await house.publish()
        await sweep(house)
    await house.settled(20)
    assert number(house, "deliveries_swept_total") == 0


def leak(house: House, desk: Any, event: Accepted) -> None:
    """It counts as in hand, and nobody has it."""
    desk.in_hand[event.key] = False


def hang(house: House, desk: Any, event: Accepted) -> None:
    """A read that nobody makes counts as being under way."""
    desk.window(Lane.LIVE).refilling = True


@pytest.mark.parametrize("damage", [leak, hang])
async def test_what_only_memory_keeps_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch, damage: Callable[[House, Any, Accepted], None]
) -> None:
    """Whatever a bug left behind in memory, the store has it all: the node starts anew with that endpoint."""
    endpoint = await house.endpoint()
    accepted = await lose(house, monkeypatch)
    damage(house, house.node.engine.board.desk(endpoint.key), accepted)
    await sweep(house, times=2)
    assert house.transport.requests == [], "the damage has to matter"
    await sweep(house)
    await house.settled(1)
    await sweep(house)
    assert number(house, "stuck_queues") == 0
    assert len(house.transport.requests) == 1


async def test_a_window_that_fell_out_of_its_ring_is_put_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.endpoint()
    with monkeypatch.context() as patch:
        patch.setattr(house.node.engine.board.turns, "enlist", lambda _: None)
        await house.publish()
        await turns(house)
        assert house.transport.requests == []
    await sweep(house)
    await house.settled(1)


# -- said -------------------------------------------------------------------------------------


def fetch_fails(house: House, patch: pytest.MonkeyPatch) -> None:
    async def fail(*_args: object, **_bounds: object) -> None:
        raise RuntimeError("a fault of the program")

    patch.setattr(house.ports.store.work, "fetch", fail)


def adopting_fails(house: House, patch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("a fault of the program")

    patch.setattr(house.node.engine.board, "push", fail)


def desks_cannot_be_made(house: House, patch: pytest.MonkeyPatch) -> None:
    def fail(_key: int) -> None:
        raise RuntimeError("a fault of the program")

    patch.setattr(house.node.engine.board, "desk", fail)


def nothing_is_looked_at(house: House, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(house.node.engine._refills, "want", lambda _: None)


@pytest.mark.parametrize("break_it", [fetch_fails, adopting_fails, desks_cannot_be_made, nothing_is_looked_at])
async def test_where_healing_does_not_help_the_queue_is_called_stuck(
    house: House, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[House, pytest.MonkeyPatch], None]
) -> None:
    """By what the store says: none of the engine's own paths to the delivery works."""
    endpoint = await house.endpoint()
    accepted = await lose(house, monkeypatch)
    with monkeypatch.context() as patch:
        break_it(house, patch)
        await sweep(house, times=2)
        assert (number(house, "stuck_queues"), await waits_for(house, accepted, endpoint)) == (0, "queued")
        await sweep(house)
        assert (number(house, "stuck_queues"), await waits_for(house, accepted, endpoint)) == (1, "stuck")
        assert number(house, "stuck_seconds") == pytest.approx(10)
        await sweep(house)
        assert number(house, "stuck_seconds") == pytest.approx(15)
        assert house.transport.requests == []
    await sweep(house)
    await house.settled(1)
    await sweep(house)
    assert (number(house, "stuck_queues"), number(house, "stuck_seconds")) == (0, 0)
    assert await waits_for(house, accepted, endpoint) is None


class Hanging:
    """Answers at once, but for the requests that it is told to keep."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.gates: list[asyncio.Future[Exchange]] = []
        self.keep = 0
        house.transport.script = self.script

    def script(self, _: Request) -> Exchange | asyncio.Future[Exchange]:
        if not self.keep:
            return answer()
        self.keep -= 1
        self.gates.append(asyncio.get_running_loop().create_future())
        return self.gates[-1]

    async def publish(self, count: int) -> None:
        """Publish events whose requests are kept without an answer."""
        self.keep = count
        sent = len(self.house.transport.requests)
        for _ in range(count):
            await self.house.publish()
        await self.house.transport.sent(sent + count)

    def release(self, count: int) -> None:
        """Answer the oldest of them."""
        for gate in self.gates[:count]:
            gate.set_result(answer())
        del self.gates[:count]


async def test_traffic_of_the_same_endpoint_hides_no_stuck_delivery(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It receives what is told to the engine, at each look something is on its way, and one delivery is left behind."""
    endpoint = await house.endpoint()
    hanging = Hanging(house)
    stuck: list[float] = []
    with monkeypatch.context() as patch:
        fetch_fails(house, patch)
        lost = await lose(house, monkeypatch)
        for count in range(1, 7):
            await hanging.publish(1)
            for _ in range(9):
                await house.publish()
            await house.settled(10 * count - 1)
            await sweep(house)
            stuck.append(number(house, "stuck_queues"))
            assert len(hanging.gates) == 1, "on its way during the look"
            hanging.release(1)
            await house.settled(10 * count)
        assert stuck == [0, 0, 1, 1, 1, 1], "within ten seconds and two looks, and for as long as it lasts"
        assert await waits_for(house, lost, endpoint) == "stuck"
    await hanging.publish(1)
    await sweep(house)
    await house.settled(61)
    assert (await house.delivery(lost, endpoint)).state is State.DELIVERED
    await sweep(house)
    assert number(house, "stuck_queues") == 0
    hanging.release(1)
    await house.settled(62)
    sent = [request.headers["webhook-id"] for request in house.transport.requests]
    assert len(sent) == len(set(sent)) == 62, "nothing went out twice"


async def test_nothing_is_forgotten_of_an_endpoint_while_some_of_it_is_on_its_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only memory keeps is let go as soon as that harms nothing else."""
    endpoint = await house.endpoint()
    lost = await lose(house, monkeypatch)
    desk = house.node.engine.board.desk(endpoint.key)
    leak(house, desk, lost)
    hanging = Hanging(house)
    await hanging.publish(1)
    await sweep(house, times=4)
    assert number(house, "stuck_queues") == 1
    assert house.node.engine.board.find(endpoint.key) is desk
    assert len(house.transport.requests) == 1
    hanging.release(1)
    await house.settled(1)
    await sweep(house)
    await house.settled(2)
    await sweep(house)
    assert number(house, "stuck_queues") == 0
    assert [request.headers["webhook-id"] for request in house.transport.requests].count(lost.id) == 1


async def test_an_endpoint_at_its_cap_holds_all_that_waits_for_it_and_one_below_it_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.endpoint()
    hanging = Hanging(house)
    with monkeypatch.context() as patch:
        fetch_fails(house, patch)
        await lose(house, monkeypatch)
        await hanging.publish(limits.IN_FLIGHT_PER_ENDPOINT)
        await sweep(house, times=5)
        assert number(house, "stuck_queues") == 0
        hanging.release(1)
        await house.settled(1)
        await sweep(house, times=2)
        assert number(house, "stuck_queues") == 0
        await sweep(house)
        assert number(house, "stuck_queues") == 1
    hanging.release(limits.IN_FLIGHT_PER_ENDPOINT - 1)
    await sweep(house)
    await house.settled(limits.IN_FLIGHT_PER_ENDPOINT + 1)


async def test_one_endpoint_that_cannot_be_looked_at_hides_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await house.endpoint(), await house.endpoint()
    await lose(house, monkeypatch)
    board = house.node.engine.board
    desk = board.desk

    def fail(key: int) -> Any:
        if key == first.key:
            raise RuntimeError("a fault of the program")
        return desk(key)

    monkeypatch.setattr(board, "desk", fail)
    await sweep(house)
    await house.settled(1)
    assert {request.url for request in house.transport.requests} == {second.url}
    await sweep(house, times=2)
    assert number(house, "stuck_queues") == 1


async def test_a_survey_that_fails_is_told_by_its_age(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_args: object, **_bounds: object) -> None:
        raise RuntimeError("a fault of the program")

    assert number(house, "survey_age_seconds") == 0
    monkeypatch.setattr(house.ports.store.work, "survey", fail)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await sweep(house)
    assert number(house, "survey_age_seconds") == 15


# -- not said ---------------------------------------------------------------------------------


async def test_a_slow_endpoint_is_not_stuck(house: House) -> None:
    endpoint = await house.endpoint()
    gate: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: gate
    accepted = [await house.publish() for _ in range(20)]
    await house.transport.sent(limits.IN_FLIGHT_PER_ENDPOINT)
    await sweep(house, times=5)
    assert number(house, "stuck_queues") == 0
    assert await waits_for(house, accepted[-1], endpoint) == "endpoint_cap"
    gate.set_result(answer())
    await house.settled(20)


async def test_a_slow_delivery_that_others_pass_is_not_stuck(house: House) -> None:
    """It stands first all the time, and is on its way."""
    await house.endpoint()
    hanging = Hanging(house)
    await hanging.publish(1)
    for _ in range(5):
        await house.publish()
        await sweep(house)
        assert number(house, "stuck_queues") == 0
    await house.settled(5)
    hanging.release(1)
    await house.settled(6)


async def test_what_waits_first_for_a_slow_endpoint_is_not_stuck(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in memory, has its turn next, and no request is free for it."""
    await house.endpoint()
    lost = await lose(house, monkeypatch)
    hanging = Hanging(house)
    await hanging.publish(limits.IN_FLIGHT_PER_ENDPOINT)
    await sweep(house, times=5)
    assert house.node.engine.board.items == 1
    assert number(house, "stuck_queues") == 0
    hanging.release(1)
    await house.settled(2)
    assert house.transport.requests[-1].headers["webhook-id"] == lost.id
    hanging.release(limits.IN_FLIGHT_PER_ENDPOINT - 1)
    await house.settled(limits.IN_FLIGHT_PER_ENDPOINT + 1)


async def test_a_backlog_that_live_work_outruns_fairly_is_not_stuck(house: House) -> None:
    """Its share moves it although its endpoint never has a free request for long."""
    endpoint = await house.endpoint()
    hanging = Hanging(house)
    retried = [await house.publish() for _ in range(8)]
    await house.settled(8)
    await hanging.publish(limits.IN_FLIGHT_PER_ENDPOINT)
    for event in retried:
        await house.node.gateway.deliveries.retry(Environment.LIVE, delivery_id(event.key, endpoint.key))
    hanging.keep = 1_000
    for _ in range(8):
        for _ in range(6):
            await house.publish()
        await sweep(house)
        assert number(house, "stuck_queues") == 0
        assert len(hanging.gates) == limits.IN_FLIGHT_PER_ENDPOINT
        hanging.release(6)
        await house.transport.sent(len(house.transport.requests) + 6)
    hanging.keep = 0
    hanging.release(limits.IN_FLIGHT_PER_ENDPOINT)
    await house.settled(8 + 8 + 8 + 48)


async def test_held_endpoints_and_retries_that_are_not_due_are_not_stuck(house: House) -> None:
    paused = await house.endpoint(active=False)
    disabled = await house.endpoint()
    await house.endpoint("later", retry="custom:1d")
    house.transport.script = lambda request: answer(410 if request.url == disabled.url else 500)
    await house.publish()
    await house.publish("later")
    await house.settled(2)
    await sweep(house, times=5)
    assert number(house, "stuck_queues") == 0
    assert (await house.delivery(await house.publish(), paused)).state is State.WAITING


async def test_a_node_that_is_full_has_no_stuck_queues(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work waits for the node, as it has to; and the moment between two requests is no proof of room."""
    endpoints = [await house.endpoint(f"type.{n}", url=f"http://203.0.114.1/{n}") for n in range(6)]
    turns = house.node.engine.board.turns
    monkeypatch.setattr(turns, "_max", 2)
    gates: list[asyncio.Future[Exchange]] = []

    def hold(_: Request) -> asyncio.Future[Exchange]:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    house.transport.script = hold
    for n in range(6):
        await house.publish(f"type.{n}")
    await house.transport.sent(2)
    await sweep(house, times=4)
    assert number(house, "stuck_queues") == 0
    engine = house.node.engine
    for _ in range(4):
        monkeypatch.setattr(turns, "_max", 3)  # as if one had just come back
        await engine._sweeper.sweep()
        monkeypatch.setattr(turns, "_max", 2)
        engine._dispatcher._tick()
        house.clock.advance(SWEEP_MS)
        await engine.leases._take()
    assert number(house, "stuck_queues") == 0
    house.transport.script = lambda _: answer()
    for gate in gates:
        gate.set_result(answer())
    await house.settled(len(endpoints))


async def test_outcomes_that_wait_for_their_commit_are_not_stuck(house: House) -> None:
    written = house.hold_outcomes()
    await house.endpoint()
    await house.publish()
    await house.transport.sent(1)
    await sweep(house, times=5)
    assert number(house, "stuck_queues") == 0
    written.set()
    await house.settled(1)
    assert len(house.transport.requests) == 1


async def test_back_pressure_of_the_settler_makes_nothing_stuck(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.endpoint("one", url="http://203.0.114.1/1")
    await house.endpoint("two", url="http://203.0.114.1/2")
    monkeypatch.setattr(dispatcher_module, "UNSETTLED_MAX", 1)
    written = house.hold_outcomes()
    await house.publish("one")
    await house.transport.sent(1)
    await turns(house)
    await house.publish("two")
    await sweep(house, times=5)
    assert len(house.transport.requests) == 1
    assert number(house, "stuck_queues") == 0
    written.set()
    await house.settled(2)


async def test_a_node_without_a_valid_lease_has_no_stuck_queues(house: House) -> None:
    leases = house.node.engine.leases
    assert leases._task is not None
    leases._task.cancel()
    await house.endpoint()
    house.clock.advance(limits.LEASE_MS)
    await house.publish()
    for _ in range(5):
        house.clock.advance(SWEEP_MS)
        await house.node.engine._sweeper.sweep()
    assert house.transport.requests == []
    assert number(house, "stuck_queues") == 0
    await leases._take()
    await house.settled(1)


async def test_a_node_that_was_just_started_on_a_backlog_has_no_stuck_queues(house: House) -> None:
    """Everything is overdue by hours when it starts, and leaves at once."""
    endpoints = [await house.endpoint(f"type.{n}", active=False) for n in range(20)]
    for n in range(20):
        await house.publish(f"type.{n}")
    house.clock.advance(8 * 3_600_000)
    await house.node.engine.leases._take()
    for endpoint in endpoints:
        await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    for _ in range(3):
        await house.node.engine._sweeper.sweep()
        assert number(house, "stuck_queues") == 0
    await house.settled(20)


async def test_a_draining_node_has_no_stuck_queues(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.endpoint()
    await lose(house, monkeypatch)
    with monkeypatch.context() as patch:
        fetch_fails(house, patch)
        await sweep(house, times=3)
        assert number(house, "stuck_queues") == 1
        await house.node.engine.stop(drain_seconds=0)
    assert number(house, "stuck_queues") == 0
    house.clock.advance(60_000)
    assert number(house, "survey_age_seconds") == 0
