"""What an endpoint's rules make of its deliveries, on a whole node."""

import json

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.model import Environment
from posthouse.core.rules import Batch, Format, Order, Payload
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.providers.index import preset_named
from posthouse.providers.preset import Item
from posthouse.providers.received import Received
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.transport.protocol import Exchange, Request


def data_of(request: Request) -> list[object]:
    """The data of each event of a request."""
    body = json.loads(request.body)
    return [item["data"] for item in body["data"]] if body["type"] == "batch" else [body["data"]]


async def test_a_changed_shape_holds_from_the_next_request_on(house: House) -> None:
    endpoint = await house.endpoint()
    name = make_id(ENDPOINT, endpoint.key)
    change = house.node.gateway.endpoints.update
    first = await house.publish(data={"n": 1})
    await house.settled(1)
    await change(Environment.LIVE, name, EndpointChange(transform='{"twice":"data.n * 2"}'))
    await house.publish(data={"n": 1})
    await house.settled(2)
    await change(Environment.LIVE, name, EndpointChange(transform=None, payload=Payload.THIN))
    third = await house.publish(data={"n": 1})
    await house.settled(3)
    assert [data_of(request) for request in house.transport.requests] == [
        [{"n": 1}],
        [{"twice": 2}],
        [{"id": third.id}],
    ]
    assert first.id != third.id


async def test_the_statuses_of_the_endpoint_decide(house: House) -> None:
    endpoint = await house.endpoint(success="409", retry="none")
    house.transport.script = lambda request: answer(409 if b"good" in request.body else 200)
    good, bad = await house.publish(data="good"), await house.publish(data="bad")
    await house.settled(2)
    assert (await house.delivery(good, endpoint)).state is State.DELIVERED
    record = await house.delivery(bad, endpoint)
    assert (record.state, record.last_outcome, record.last_status) == (State.EXHAUSTED, "status", 200)


async def test_an_expression_that_fails_parks_that_delivery_and_stops_no_other(house: House) -> None:
    endpoint = await house.endpoint(transform='{"n":"data.n"}')
    bad = await house.publish(data={"m": 1})
    good = await house.publish(data={"n": 1})
    await house.settled(2)
    record = await house.delivery(bad, endpoint)
    assert (record.state, record.reason, record.attempts) == (State.EXHAUSTED, "transform_error", 0)
    assert (await house.delivery(good, endpoint)).state is State.DELIVERED
    assert (await house.books()).imbalance == 0

    name = make_id(ENDPOINT, endpoint.key)
    await house.node.gateway.endpoints.update(Environment.LIVE, name, EndpointChange(transform=None))
    await house.node.gateway.deliveries.retry(Environment.LIVE, delivery_id(bad.key, endpoint.key))
    await house.settled(3)
    assert (await house.delivery(bad, endpoint)).state is State.DELIVERED, "once the rule is another one"


@pytest.mark.parametrize("order", [Order.NONE, Order.FIFO])
async def test_one_bad_event_of_many_is_settled_alone(house: House, order: Order) -> None:
    """The batch is taken apart at once: the others are delivered, and only the bad one spends an attempt."""
    endpoint = await house.endpoint(batch=Batch(50, 0), retry="none", order=order, active=False)
    events = [await house.publish(data=number, ordering_key=f"k{number}") for number in range(50)]

    def script(request: Request) -> Exchange:
        return answer(422 if 17 in data_of(request) else 200)

    house.transport.script = script
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(50)
    records = [await house.delivery(event, endpoint) for event in events]
    assert [number for number, record in enumerate(records) if record.state is State.EXHAUSTED] == [17]
    assert {record.attempts for record in records} == {1}
    assert len({request.headers["webhook-id"] for request in house.transport.requests}) == len(house.transport.requests)
    assert (await house.books()).imbalance == 0


async def test_an_event_that_the_answer_names_is_attempted_again(house: House) -> None:
    endpoint = await house.endpoint(batch=Batch(10, 0), retry="custom:10s", active=False)
    events = [await house.publish(data=number) for number in range(3)]
    named = json.dumps({"failed": [{"id": events[1].id, "error": "busy"}]}).encode()
    house.transport.script = lambda _: answer(200, body=named)
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(3)
    states = [(await house.delivery(event, endpoint)).state for event in events]
    assert states == [State.DELIVERED, State.RETRYING, State.DELIVERED]
    house.transport.script = lambda _: answer(200)
    await house.wake(11_000)
    await house.settled(4)
    record = await house.delivery(events[1], endpoint)
    assert (record.state, record.attempts) == (State.DELIVERED, 2)
    assert data_of(house.transport.requests[-1]) == [1]


async def test_in_the_format_of_another_system_even_a_refused_batch_is_that_systems(house: House) -> None:
    """Who receives from GoCardless can verify and split each request, also those into which a refused one is halved."""
    preset = preset_named("gocardless")
    endpoint = await house.endpoint(format=Format.GOCARDLESS, batch=Batch(4, 0), retry="none", active=False)
    secret = endpoint.secrets[0].value
    items: list[Item] = []

    def receive(request: Request) -> Exchange:
        received = Received.of("POST", request.url, tuple(request.headers.items()), request.body, house.clock.now_ms())
        preset.scheme.verify(received, [secret], now_s=0)
        found = preset.read(received, request.body).items
        if any(item.identity == "EV2" for item in found):
            return answer(422)
        items.extend(found)
        return answer(204)

    house.transport.script = receive
    events = [
        await house.publish("payments.confirmed", {"id": f"EV{n}", "resource_type": "payments", "action": "confirmed"})
        for n in range(4)
    ]
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(4)
    assert [item.identity for item in items] == ["EV0", "EV1", "EV3"]
    assert {item.type for item in items} == {"payments.confirmed"}
    states = [(await house.delivery(event, endpoint)).state for event in events]
    assert states == [State.DELIVERED, State.DELIVERED, State.EXHAUSTED, State.DELIVERED]
