"""How fast requests go: by the owner's rule, exactly, and by what the endpoint asks for."""

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.core.waiting import Hold
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.gateway.tenants import TenantChange
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer

CHANGE_MS = 2_000


async def flood(house: House, endpoint: Endpoint, count: int) -> None:
    """So many events at once."""
    endpoints = house.node.gateway.endpoints
    name = make_id(ENDPOINT, endpoint.key)
    await endpoints.pause(Environment.LIVE, name)
    for number in range(count):
        await house.publish(data=number, tenant=endpoint.tenant)
    await endpoints.resume(Environment.LIVE, name)
    await house.quiet()


async def sent_in(house: House, ms: int, *, step_ms: int = 10) -> int:
    """Requests that go out in that time."""
    before = len(house.transport.requests)
    await house.pass_time(ms, step_ms=step_ms)
    return len(house.transport.requests) - before


async def test_the_rate_of_an_endpoint_is_exact_and_changes_while_it_runs(house: House) -> None:
    endpoint = await house.endpoint(rate="20/s")
    await flood(house, endpoint, 200)
    assert len(house.transport.requests) == 1
    assert await sent_in(house, CHANGE_MS) in {39, 40}
    holding = house.node.engine.holding(0, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.RATE

    change = house.node.gateway.endpoints.update
    await change(Environment.LIVE, make_id(ENDPOINT, endpoint.key), EndpointChange(rate="50/s"))
    assert await sent_in(house, CHANGE_MS) in {100, 101}
    await change(Environment.LIVE, make_id(ENDPOINT, endpoint.key), EndpointChange(rate="1/h"))
    assert await sent_in(house, CHANGE_MS) <= 1
    await change(Environment.LIVE, make_id(ENDPOINT, endpoint.key), EndpointChange(rate=None))
    await house.quiet()
    assert (await house.states())[State.DELIVERED] == 200


async def test_the_rate_of_a_tenant_is_for_all_its_endpoints_together(house: House) -> None:
    tenants = house.node.gateway.tenants
    await tenants.ensure(Environment.LIVE, "acme")
    await tenants.update(Environment.LIVE, "acme", TenantChange(rate="20/s"))
    for number in range(2):
        await house.endpoint(url=f"http://203.0.114.{number}/hook", tenant="acme")
    for _ in range(60):
        await house.publish(tenant="acme")
    await house.quiet()
    assert await sent_in(house, CHANGE_MS) in {39, 40}
    assert {request.url[-6] for request in house.transport.requests} == {"0", "1"}
    await tenants.update(Environment.LIVE, "acme", TenantChange(rate="10/s"))
    assert await sent_in(house, CHANGE_MS) in {20, 21}
    await tenants.update(Environment.LIVE, "acme", TenantChange(rate=None))
    await house.quiet()
    assert (await house.states())[State.DELIVERED] == 120


async def test_another_tenant_is_not_slowed_by_it(house: House) -> None:
    tenants = house.node.gateway.tenants
    await tenants.ensure(Environment.LIVE, "acme")
    await tenants.update(Environment.LIVE, "acme", TenantChange(rate="1/h"))
    await house.endpoint(tenant="acme")
    await house.endpoint(url="http://203.0.114.9/hook")
    for _ in range(20):
        await house.publish(tenant="acme")
        await house.publish()
    await house.quiet()
    assert (await house.states())[State.DELIVERED] == 21


@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_that_the_endpoint_asks_for_holds_all_that_it_is_owed(house: House, status: int) -> None:
    endpoint = await house.endpoint(retry="custom:1s,1s,1s")
    house.transport.script = lambda _: answer(status, retry_after="20")
    await house.publish()
    await house.quiet()
    events = [await house.publish() for _ in range(10)]
    house.transport.script = lambda _: answer()
    assert await sent_in(house, 19_000, step_ms=500) == 0
    holding = house.node.engine.holding(events[0].key, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert (holding.code, holding.until) == (Hold.THROTTLED, house.clock.now_ms() + 1_000)
    assert house.node.engine.condition(endpoint.key).state == "failing"
    await house.pass_time(40_000, step_ms=100)
    assert (await house.states())[State.DELIVERED] == 11


async def test_the_rate_falls_by_half_and_comes_back(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:1s,1s,1s")

    async def steady(seconds: int) -> None:
        for _ in range(seconds * 10):
            await house.publish()
            await house.pass_time(100, step_ms=100)

    await steady(30)
    house.transport.script = lambda _: answer(429)
    await house.publish()
    await house.quiet()
    limit = house.node.engine.condition(endpoint.key).rate_now
    assert limit is not None
    assert 4 < limit < 6, "half of the ten a second that it is used to"
    house.transport.script = lambda _: answer()
    await steady(40)
    assert house.node.engine.condition(endpoint.key).rate_now is None
    await house.pass_time(5_000)
    assert (await house.states())[State.DELIVERED] == 701


async def test_a_rate_survives_a_flood_of_hints(house: House) -> None:
    """Nothing that looks at the queues lets more through."""
    endpoint = await house.endpoint(rate="1/m")
    await flood(house, endpoint, 20)
    for _ in range(50):
        house.node.engine.due(endpoint.key, Lane.LIVE)
        await house.quiet()
    assert len(house.transport.requests) == 1
