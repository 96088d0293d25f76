"""Faults of the program: seen as attempts, bounded, and the business of one delivery only."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import delivery_id
from posthouse.core.model import Attempt, Endpoint, Environment, Lane
from posthouse.core.retry import FAULT, POISON
from posthouse.engine import dispatcher as dispatcher_module
from posthouse.store.protocol import Accepted, Settled, Settlement
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.transport.protocol import Exchange, Request

Start = Callable[..., Awaitable[House]]

SECRET = "4111-1111-1111-1111"
RETRY = "custom:1s,1s,1s,1s,1s,1s"


def poisoned_by(event: str) -> Callable[[Request], Exchange]:
    """A transport with a bug that one event meets."""

    def send(request: Request) -> Exchange:
        if request.headers["webhook-id"] == event:
            raise ValueError(f"cannot digest {SECRET}")
        return answer()

    return send


async def attempts(house: House, event: Accepted, endpoint: Endpoint) -> Sequence[Attempt]:
    return await house.ports.store.ledger.attempts(event.key, endpoint.key)


async def wake(house: House, settled: int) -> None:
    """Let the next attempt become due, and wait until so many outcomes are durable."""
    await house.wake(1_200)
    await house.settled(settled)


async def test_the_third_fault_in_a_row_parks_the_delivery_and_no_other(house: House) -> None:
    endpoint, other = await house.endpoint(retry=RETRY), await house.endpoint(url="http://203.0.114.2/", retry=RETRY)
    house.transport.script = poisoned_by("bad")
    good = [await house.publish(id=f"good-{n}") for n in range(3)]
    bad = await house.publish(id="bad", data=SECRET)
    good += [await house.publish(id=f"good-{n}") for n in range(3, 6)]
    await house.settled(14)
    assert (await house.states())[State.DELIVERED] == 12, "all others, of this endpoint and of the other"
    for settled in (16, 18):
        await wake(house, settled)
    for target in (endpoint, other):
        record = await house.delivery(bad, target)
        assert (record.state, record.reason, record.attempts) == (State.EXHAUSTED, POISON, 3)
        assert (record.last_outcome, record.last_status) == (FAULT, None)
    await house.wake(3_600_000)
    assert sum(request.headers["webhook-id"] == "bad" for request in house.transport.requests) == 6
    assert (await house.books()).imbalance == 0
    assert len(good) == 6


async def test_a_fault_is_shown_by_its_type_and_nothing_else(house: House) -> None:
    endpoint = await house.endpoint(retry=RETRY)
    house.transport.script = poisoned_by("bad")
    bad = await house.publish(id="bad", data=SECRET)
    await house.settled(1)
    (made,) = await attempts(house, bad, endpoint)
    assert (made.number, made.outcome, made.status) == (1, FAULT, None)
    assert made.error == "Posthouse itself failed: ValueError."
    assert (made.response_headers, made.response_body, made.peer) == ("", b"", None)


async def test_faults_are_spaced_by_the_schedule(house: House) -> None:
    """However often the queue is looked at."""
    endpoint = await house.endpoint(retry=RETRY)
    house.transport.script = poisoned_by("bad")
    bad = await house.publish(id="bad")
    await house.settled(1)
    for n in range(20):
        await house.publish(id=f"good-{n}")
        await house.wake(49)
        house.node.engine.due(endpoint.key, Lane.RETRY)
    await house.settled(21)
    assert (await house.delivery(bad, endpoint)).attempts == 1
    await wake(house, 22)
    assert (await house.delivery(bad, endpoint)).attempts == 2


async def test_an_answer_in_between_starts_the_count_anew(house: House) -> None:
    endpoint = await house.endpoint(retry=RETRY)
    bad = poisoned_by("bad")
    scripts = [bad, bad, lambda _: answer(500), bad, bad, lambda _: answer()]
    house.transport.script = scripts[0]
    event = await house.publish(id="bad")
    await house.settled(1)
    for settled, script in enumerate(scripts[1:], 2):
        house.transport.script = script
        await wake(house, settled)
    assert [a.outcome for a in await attempts(house, event, endpoint)] == [FAULT] * 2 + ["status"] + [FAULT] * 2 + [
        "success"
    ]
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def test_a_restart_does_not_forget_the_faults_before_it(start: Start) -> None:
    house = await start()
    endpoint = await house.endpoint(retry=RETRY)
    house.transport.script = poisoned_by("bad")
    event = await house.publish(id="bad")
    await house.settled(1)
    await wake(house, 2)
    await house.node.stop(drain_seconds=0)
    again = await start(house.clock)
    again.transport.script = poisoned_by("bad")
    await wake(again, 1)
    record = await again.delivery(event, endpoint)
    assert (record.state, record.reason, record.attempts) == (State.EXHAUSTED, POISON, 3)


async def test_an_operator_can_retry_what_was_parked_with_all_its_chances(house: House) -> None:
    endpoint = await house.endpoint(retry=RETRY)
    house.transport.script = poisoned_by("bad")
    event = await house.publish(id="bad")
    await house.settled(1)
    for settled in (2, 3):
        await wake(house, settled)
    await house.node.gateway.deliveries.retry(Environment.LIVE, delivery_id(event.key, endpoint.key))
    await house.settled(4)
    record = await house.delivery(event, endpoint)
    assert (record.state, record.round, record.attempts) == (State.RETRYING, 2, 4), "faults of a round that is over"
    house.transport.script = lambda _: answer()
    await wake(house, 5)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def test_a_cancellation_from_within_is_a_fault_too(house: House) -> None:
    """A future that several requests share and one of them cancelled: nobody stopped the node."""
    endpoint = await house.endpoint(retry=RETRY)

    def cancelled(_: Request) -> asyncio.Future[Exchange]:
        future: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        future.cancel()
        return future

    house.transport.script = cancelled
    event = await house.publish()
    await house.settled(1)
    assert [a.outcome for a in await attempts(house, event, endpoint)] == [FAULT]


async def test_a_stop_is_no_fault(start: Start) -> None:
    house = await start()
    endpoint = await house.endpoint()
    house.transport.script = lambda _: asyncio.get_running_loop().create_future()
    event = await house.publish()
    await house.transport.sent(1)
    await house.node.stop(drain_seconds=0)
    again = await start(house.clock)
    await again.settled(1)
    assert [a.outcome for a in await attempts(again, event, endpoint)] == ["success"]


async def test_an_outcome_that_cannot_be_written_is_a_fault_of_that_delivery_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer holds something that the database refuses; the batch that it came in does not suffer from it."""
    endpoint = await house.endpoint(retry=RETRY)

    def script(request: Request) -> Exchange:
        if request.headers["webhook-id"] != "bad":
            return answer()
        return Exchange(failure=None, timings=answer().timings, status=200, headers=(("x", "\ud800"),))

    house.transport.script = script
    events = await asyncio.gather(*(house.publish(id=name) for name in ("a", "b", "bad", "c", "d")))
    await house.settled(5)
    assert (await house.states())[State.DELIVERED] == 4
    for settled in (6, 7):
        await wake(house, settled)
    record = await house.delivery(events[2], endpoint)
    assert (record.state, record.reason) == (State.EXHAUSTED, POISON)
    assert house.node.engine.settler.unsettled == 0


async def test_where_not_even_the_fault_can_be_written_the_delivery_stays_open(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is tried again after a pause, while the others of its endpoint go on."""
    monkeypatch.setattr(dispatcher_module, "FAULT_PAUSE_SECONDS", 0.05)
    endpoint = await house.endpoint(retry=RETRY)
    store = house.ports.store.work
    settle = store.settle
    broken = True

    async def refuse(settlements: Sequence[Settlement]) -> Settled:
        if broken and any(s.attempt is not None and s.attempt.outcome == FAULT for s in settlements):
            raise RuntimeError("a fault of the program")
        return await settle(settlements)

    monkeypatch.setattr(store, "settle", refuse)
    house.transport.script = poisoned_by("bad")
    bad = await house.publish(id="bad")
    for n in range(5):
        await house.publish(id=f"good-{n}")
    await house.settled(5)
    await house.until(lambda: sum(r.headers["webhook-id"] == "bad" for r in house.transport.requests) >= 3)
    assert (await house.delivery(bad, endpoint)).state is State.WAITING
    broken = False
    house.transport.script = lambda _: answer()
    await house.settled(6)
    assert (await house.delivery(bad, endpoint)).state is State.DELIVERED
    assert house.node.engine.settler.unsettled == 0
