"""Order that an endpoint keeps: over failures, restarts, pauses, replays, and when it is changed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.core.rules import Batch, Order
from posthouse.core.waiting import Hold
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.store.protocol import Accepted
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.transport.protocol import Exchange

Start = Callable[..., Awaitable[House]]

KEYS, VERSIONS = 4, 12


class Receiver:
    """Takes events, failing every third request; remembers which version of each key came first, and when."""

    def __init__(self, every: int = 3) -> None:
        self.every = every
        self.requests = 0
        self.taken: dict[str, list[int]] = {}

    def __call__(self, request: Any) -> Exchange:
        self.requests += 1
        if self.every and self.requests % self.every == 0:
            return answer(500)
        body = json.loads(request.body)
        for item in body["data"] if body["type"] == "batch" else [body]:
            self.taken.setdefault(item["data"]["key"], []).append(item["data"]["version"])
        return answer()

    def inversions(self) -> int:
        """First arrivals that came after one of a later version."""
        count = 0
        for versions in self.taken.values():
            firsts = list(dict.fromkeys(versions))
            count += sum(late < early for early, late in pairwise(firsts))
        return count


async def publish_versions(house: House, first: int = 0) -> list[Accepted]:
    return [
        await house.publish(data={"key": f"k{key}", "version": version}, ordering_key=f"k{key}")
        for version in range(first, first + VERSIONS)
        for key in range(KEYS)
    ]


def name_of(endpoint: Endpoint) -> str:
    return make_id(ENDPOINT, endpoint.key)


async def test_no_inversion_over_failures_pauses_and_restarts(start: Start) -> None:
    house = await start()
    receiver = Receiver()
    house.transport.script = receiver
    endpoint = await house.endpoint(order=Order.FIFO, retry="custom:1s,1s,1s,1s,1s,1s,1s,1s", block_seconds=60)
    await publish_versions(house)
    await house.pass_time(3_000)
    await house.node.stop(drain_seconds=0)
    house = await start(house.clock)
    house.transport.script = receiver
    await house.node.gateway.endpoints.pause(Environment.LIVE, name_of(endpoint))
    await publish_versions(house, VERSIONS)
    await house.node.gateway.endpoints.resume(Environment.LIVE, name_of(endpoint))
    await house.pass_time(120_000)
    assert (await house.states())[State.DELIVERED] == 2 * KEYS * VERSIONS
    assert receiver.inversions() == 0
    assert all(len(versions) == 2 * VERSIONS for versions in receiver.taken.values())


async def test_batches_keep_it_too(start: Start) -> None:
    house = await start()
    receiver = Receiver()
    house.transport.script = receiver
    await house.endpoint(order=Order.FIFO, batch=Batch(10, 0), retry="custom:1s,1s,1s,1s,1s,1s,1s,1s")
    await publish_versions(house)
    await house.pass_time(2_000)
    await house.node.stop(drain_seconds=0)
    house = await start(house.clock)
    house.transport.script = receiver
    await house.pass_time(60_000)
    assert (await house.states())[State.DELIVERED] == KEYS * VERSIONS
    assert receiver.inversions() == 0


async def test_a_poison_event_blocks_its_key_for_as_long_as_its_rule_says_and_no_other(house: House) -> None:
    endpoint = await house.endpoint(order=Order.FIFO, retry="custom:2s,2s,2s,1h,1h", block_seconds=6)
    house.transport.script = lambda request: answer(500 if b"poison" in request.body else 200)
    poison = await house.publish(data="poison", ordering_key="a")
    behind = await house.publish(data="fine", ordering_key="a")
    other = await house.publish(data="fine", ordering_key="b")
    await house.quiet()
    assert (await house.delivery(other, endpoint)).state is State.DELIVERED
    record = await house.delivery(behind, endpoint)
    assert (record.state, record.behind_event) == (State.WAITING, poison.key)
    await house.pass_time(12_000)
    record = await house.delivery(poison, endpoint)
    assert (record.state, record.attempts, record.reason) == (State.EXHAUSTED, 4, "attempts_spent")
    assert (await house.delivery(behind, endpoint)).state is State.DELIVERED


async def test_what_is_replayed_stands_behind_what_is_open(house: House) -> None:
    endpoint = await house.endpoint(order=Order.FIFO)
    old = await house.publish(data="old", ordering_key="a")
    await house.settled(1)
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: answered
    new = await house.publish(data="new", ordering_key="a")
    await house.transport.sent(2)
    await house.node.gateway.deliveries.retry(Environment.LIVE, delivery_id(old.key, endpoint.key))
    await house.quiet(hanging=1)
    assert len(house.transport.requests) == 2
    assert (await house.delivery(old, endpoint)).behind_event == new.key
    answered.set_result(answer())
    await house.settled(3)
    assert [b"old" in r.body for r in house.transport.requests] == [True, False, True]


async def test_only_the_newest_state_of_a_key_is_sent_at_last(house: House) -> None:
    endpoint = await house.endpoint(order=Order.LATEST)
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: answered
    first = await house.publish(data=0, ordering_key="a")
    await house.transport.sent(1)
    events = [first, *[await house.publish(data=n, ordering_key="a") for n in range(1, 10)]]
    await house.quiet(hanging=1)
    assert len(house.transport.requests) == 1, "one at a time"
    answered.set_result(answer())
    await house.nothing_open()
    records = [await house.delivery(event, endpoint) for event in events]
    assert [record.state for record in records] == [State.DELIVERED, *[State.DISCARDED] * 8, State.DELIVERED]
    assert {record.reason for record in records[1:-1]} == {"superseded"}
    assert (await house.books()).imbalance == 0


async def test_a_state_that_failed_is_superseded_by_the_next_one(house: House) -> None:
    endpoint = await house.endpoint(order=Order.LATEST, retry="custom:1h")
    house.transport.script = lambda _: answer(500)
    old = await house.publish(data="old", ordering_key="a")
    await house.quiet()
    house.transport.script = lambda _: answer()
    new = await house.publish(data="new", ordering_key="a")
    await house.pass_time(2_000)
    assert (await house.delivery(old, endpoint)).reason == "superseded"
    assert (await house.delivery(new, endpoint)).state is State.DELIVERED
    assert len(house.transport.requests) == 2


async def test_order_is_changed_while_work_waits(house: House) -> None:
    receiver = Receiver(every=0)
    endpoint = await house.endpoint(active=False)
    house.transport.script = receiver
    await publish_versions(house)
    change = house.node.gateway.endpoints.update
    await change(Environment.LIVE, name_of(endpoint), EndpointChange(order=Order.FIFO))
    await house.node.gateway.endpoints.resume(Environment.LIVE, name_of(endpoint))
    await house.settled(KEYS * VERSIONS)
    assert receiver.inversions() == 0
    await change(Environment.LIVE, name_of(endpoint), EndpointChange(order=Order.LATEST, active=False))
    await publish_versions(house, VERSIONS)
    await change(Environment.LIVE, name_of(endpoint), EndpointChange(active=True))
    await house.nothing_open()
    assert [versions[-1] for versions in receiver.taken.values()] == [2 * VERSIONS - 1] * KEYS


async def test_after_an_unclean_end_an_endpoint_that_keeps_order_waits_for_what_may_be_on_its_way(
    start: Start,
) -> None:
    house = await start()
    ordered = await house.endpoint("ordered", order=Order.FIFO, timeout_ms=10_000, active=False)
    free = await house.endpoint("free", url="http://203.0.114.2/hook", active=False)
    first = await house.publish("ordered", ordering_key="a")
    await house.publish("free")
    house.node.engine.leases._task = None  # it ends without giving its slots back
    await house.node.stop(drain_seconds=0)
    house = await start(house.clock)
    for endpoint in (ordered, free):
        await house.node.gateway.endpoints.resume(Environment.LIVE, name_of(endpoint))
    await house.quiet()
    assert [request.url for request in house.transport.requests] == [free.url]
    holding = house.node.engine.holding(first.key, ordered.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.TAKEOVER
    await house.pass_time(9_000)
    assert len(house.transport.requests) == 1
    await house.pass_time(2_000)
    assert (await house.delivery(first, ordered)).state is State.DELIVERED
