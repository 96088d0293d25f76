"""From publish to settled, through retries, holds, commands and restarts, on a real store."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, WINDOW_ITEMS_MAX
from posthouse.core.model import EndpointState, Environment, Lane
from posthouse.core.signature import verify
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import ScriptedTransport, answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

Start = Callable[..., Awaitable[House]]


async def test_a_published_event_arrives_signed_at_every_endpoint_that_subscribed(house: House) -> None:
    endpoint = await house.endpoint("order.*")
    await house.endpoint("other")
    accepted = await house.publish("order.paid", {"n": 1}, occurred_at="2027-01-15T08:00:00.5Z")
    (request,) = await house.transport.sent(1)
    assert json.loads(request.body) == {"type": "order.paid", "timestamp": "2027-01-15T08:00:00.500Z", "data": {"n": 1}}
    assert request.headers["webhook-id"] == accepted.id
    verify([endpoint.secrets[0].value], request.headers, request.body, now_s=house.clock.now_ms() // 1000)
    await house.settled(1)
    record = await house.delivery(accepted, endpoint)
    assert (record.state, record.attempts, record.last_status) == (State.DELIVERED, 1, 200)


async def test_a_failed_attempt_is_made_again_when_it_is_due_and_never_before(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:10s,1h")
    house.transport.script = lambda _: answer(500)
    accepted = await house.publish()
    await house.settled(1)
    record = await house.delivery(accepted, endpoint)
    assert record.state is State.RETRYING
    assert record.lane is Lane.RETRY
    assert record.due_at is not None
    assert 10_000 <= record.due_at - house.clock.now_ms() <= 11_000
    await house.wake(9_999)
    assert len(house.transport.requests) == 1
    house.transport.script = lambda _: answer(204)
    await house.wake(2_000)
    await house.settled(2)
    record = await house.delivery(accepted, endpoint)
    assert (record.state, record.attempts) == (State.DELIVERED, 2)
    attempts = await house.ports.store.ledger.attempts(accepted.key, endpoint.key)
    assert [(a.number, a.outcome, a.status) for a in attempts] == [(1, "status", 500), (2, "success", 204)]


async def test_when_all_attempts_are_spent_the_delivery_is_exhausted_and_a_retry_reopens_it(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:1s")
    house.transport.script = lambda _: broken(Failure.REFUSED)
    accepted = await house.publish()
    await house.settled(1)
    await house.wake(2_000)
    await house.settled(2)
    assert (await house.delivery(accepted, endpoint)).state is State.EXHAUSTED
    house.transport.script = lambda _: answer()
    await house.node.gateway.deliveries.retry(Environment.LIVE, delivery_id(accepted.key, endpoint.key))
    await house.settled(3)
    record = await house.delivery(accepted, endpoint)
    assert (record.state, record.round, record.attempts) == (State.DELIVERED, 2, 3)
    assert (await house.books()).imbalance == 0


async def test_an_endpoint_never_has_more_than_its_cap_in_flight(house: House) -> None:
    await house.endpoint()
    gates: list[asyncio.Future[Exchange]] = []

    def hold(_: Request) -> asyncio.Future[Exchange]:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    house.transport.script = hold
    for _ in range(20):
        await house.publish()
    await house.transport.sent(IN_FLIGHT_PER_ENDPOINT)
    assert len(gates) == IN_FLIGHT_PER_ENDPOINT
    for number in range(20):
        await house.transport.sent(number + 1)
        gates[number].set_result(answer())
        assert len([gate for gate in gates if not gate.done()]) <= IN_FLIGHT_PER_ENDPOINT
    await house.settled(20)


async def test_a_paused_endpoint_gets_nothing_and_loses_nothing(house: House) -> None:
    endpoint = await house.endpoint(active=False)
    for _ in range(5):
        await house.publish()
    await house.wake(60_000)
    assert house.transport.requests == []
    assert (await house.states())[State.WAITING] == 5
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(5)
    assert (await house.states())[State.DELIVERED] == 5


async def test_more_work_than_a_window_holds_is_delivered_from_the_store_in_order(house: House) -> None:
    endpoint = await house.endpoint(active=False)
    count = 3 * WINDOW_ITEMS_MAX + 7
    for start in range(0, count, 100):
        events = [{"type": "t", "data": n} for n in range(start, min(start + 100, count))]
        await house.node.gateway.publisher.publish_batch(
            Environment.LIVE, json.dumps({"events": events}).encode(), None
        )
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(count)
    sent = [json.loads(request.body)["data"] for request in house.transport.requests]
    assert sorted(sent) == list(range(count)), "each exactly once"
    assert max(abs(n - place) for place, n in enumerate(sent)) <= 2 * IN_FLIGHT_PER_ENDPOINT
    assert (await house.books()).imbalance == 0


async def test_an_endpoint_that_is_gone_is_disabled_and_what_it_is_owed_is_held(house: House) -> None:
    endpoint = await house.endpoint()
    house.transport.script = lambda _: answer(410)
    accepted = await house.publish()
    await house.settled(1)

    def is_disabled() -> bool:
        now = house.node.gateway.catalogue.endpoint(endpoint.key)
        return now is not None and now.state is EndpointState.DISABLED

    await house.until(is_disabled)
    assert (await house.delivery(accepted, endpoint)).state is State.RETRYING
    await house.publish()
    await house.wake(3_600_000)
    assert len(house.transport.requests) == 1


async def test_a_deleted_endpoint_discards_what_it_was_owed_and_the_books_say_why(house: House) -> None:
    endpoint = await house.endpoint(active=False)
    await house.publish()
    await house.node.gateway.endpoints.delete(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    total = await house.books()
    assert dict(total.discarded) == {"endpoint_deleted": 1}
    assert total.imbalance == 0


async def test_what_was_open_at_a_stop_is_delivered_after_the_restart(start: Start) -> None:
    house = await start()
    await house.endpoint(retry="custom:5s")
    house.transport.script = lambda _: broken(Failure.CONNECT_TIMEOUT)
    for _ in range(4):
        await house.publish()
    await house.settled(4)
    await house.node.stop()
    again = await start(house.clock)
    again.clock.advance(60_000)
    await again.wake(0)
    await again.settled(4)
    assert (await again.states())[State.DELIVERED] == 4


async def test_a_stop_drains_what_is_on_its_way_and_settles_it(start: Start) -> None:
    house = await start()
    endpoint = await house.endpoint()
    gate: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: gate
    accepted = await house.publish()
    await house.transport.sent(1)
    stopping = asyncio.ensure_future(house.node.stop(drain_seconds=30))
    await asyncio.sleep(0)
    gate.set_result(answer())
    await stopping
    again = await start(house.clock)
    assert (await again.delivery(accepted, endpoint)).state is State.DELIVERED
    assert again.transport.requests == []


async def test_a_stop_that_will_not_wait_leaves_the_delivery_owed(start: Start) -> None:
    house = await start()
    endpoint = await house.endpoint()
    house.transport.script = lambda _: asyncio.get_running_loop().create_future()
    accepted = await house.publish()
    await house.transport.sent(1)
    await house.node.stop(drain_seconds=0)
    again = await start(house.clock)
    await again.settled(1)
    record = await again.delivery(accepted, endpoint)
    assert record.state is State.DELIVERED


async def test_a_repeat_is_recognised_and_delivered_once(house: House) -> None:
    await house.endpoint()
    first = await house.publish(id="order-1")
    second = await house.publish(id="order-1")
    assert (first.id, first.duplicate, second.id, second.duplicate) == ("order-1", False, "order-1", True)
    await house.settled(1)
    assert len(house.transport.requests) == 1


async def test_a_fault_in_sending_delays_a_delivery_but_never_loses_it(house: House) -> None:
    """Whatever raises inside an attempt, the store still owes the delivery."""
    endpoint = await house.endpoint()
    transport: ScriptedTransport = house.transport

    def fail(_: Request) -> Exchange:
        raise RuntimeError("a fault of the program")

    transport.script = fail
    accepted = await house.publish()
    await house.settled(1)
    transport.script = lambda _: answer()
    await house.wake(20_000)
    await house.settled(2)
    assert (await house.delivery(accepted, endpoint)).state is State.DELIVERED


async def test_looking_into_the_store_at_any_moment_never_sends_twice(house: House) -> None:
    """Surveys and refills run beside accepts and settlements; each delivery still goes out exactly once."""
    for _ in range(3):
        await house.endpoint()
    chance = random.Random(7)
    events = 200

    async def look() -> None:
        while True:
            await house.node.engine.survey()

    async def publish(count: int) -> None:
        for _ in range(count):
            await house.publish()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    await asyncio.gather(*(publish(events // 4) for _ in range(4)))
    await house.settled(3 * events)
    looking.cancel()
    sent = Counter(request.headers["webhook-id"] for request in house.transport.requests)
    assert set(sent.values()) == {3}
    assert len(sent) == events
    assert house.node.metrics.superseded == 0
