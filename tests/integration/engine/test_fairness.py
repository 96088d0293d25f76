"""Who gets the room of a node: tenants by weight and cap, lanes by their part, jobs by leave."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.jobs import JobFilter
from posthouse.core.model import Environment, Lane
from posthouse.core.waiting import Hold
from posthouse.gateway.tenants import TenantChange
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.transport.protocol import Exchange, Request

DAY = "2026-12-01T00:00:00Z"  #: weeks before the clock in hand


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[House]:
    """A node with room for one request."""
    house = await House.start(tmp_path / "data", in_flight_max=1, in_flight_per_endpoint=1)
    yield house
    await house.node.stop(drain_seconds=0)


async def paused(house: House, *tenants: str) -> list[str]:
    """One paused endpoint for each tenant; their names."""
    names = []
    for number, tenant in enumerate(tenants):
        endpoint = await house.endpoint(url=f"http://203.0.114.{number}/hook", tenant=tenant, active=False)
        names.append(make_id(ENDPOINT, endpoint.key))
    return names


async def resume(house: House, names: list[str]) -> None:
    for name in names:
        await house.node.gateway.endpoints.resume(Environment.LIVE, name)


async def test_tenants_get_turns_by_their_weights(small: House) -> None:
    tenants = small.node.gateway.tenants
    await tenants.ensure(Environment.LIVE, "gold")
    await tenants.update(Environment.LIVE, "gold", TenantChange(weight=4))
    names = await paused(small, *["gold"] * 5, *["plain"] * 5)
    for _ in range(12):
        await small.publish(tenant="gold")
        await small.publish(tenant="plain")
    first: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    small.transport.script = lambda _: first
    await resume(small, names)
    await small.quiet(hanging=1)
    small.transport.script = lambda _: answer()
    first.set_result(answer())
    await small.settled(120)
    busy = Counter(request.url[-6] < "5" for request in small.transport.requests[1:51])
    assert busy[True] == pytest.approx(4 * busy[False], abs=4)


async def test_a_tenant_has_its_cap_over_all_its_endpoints(house: House) -> None:
    tenants = house.node.gateway.tenants
    await tenants.ensure(Environment.LIVE, "acme")
    await tenants.update(Environment.LIVE, "acme", TenantChange(in_flight_max=3))
    open_now: list[asyncio.Future[Exchange]] = []

    def hang(_: Request) -> asyncio.Future[Exchange]:
        open_now.append(asyncio.get_running_loop().create_future())
        return open_now[-1]

    house.transport.script = hang
    endpoints = [await house.endpoint(url=f"http://203.0.114.{n}/hook", tenant="acme") for n in range(3)]
    events = [await house.publish(tenant="acme") for _ in range(4)]
    await house.quiet(hanging=3)
    assert len(open_now) == 3
    holding = house.node.engine.holding(events[-1].key, endpoints[-1].key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.TENANT_CAP
    await tenants.update(Environment.LIVE, "acme", TenantChange(in_flight_max=5))
    await house.quiet(hanging=5)
    assert len(open_now) == 5
    house.transport.script = lambda _: answer()
    for future in open_now:
        future.set_result(answer())
    await house.settled(12)


async def test_live_goes_first_and_leaves_the_backlog_its_fifth(small: House) -> None:
    names = await paused(small, "fresh", "old")
    for number in range(40):
        await small.publish(data=number, tenant="fresh")
        await small.publish(data=number, tenant="old", occurred_at=DAY)
    first: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    small.transport.script = lambda _: first
    await resume(small, names)
    await small.quiet(hanging=1)
    small.transport.script = lambda _: answer()
    first.set_result(answer())
    await small.settled(80)
    lanes = [request.url[-6] for request in small.transport.requests[1:41]]
    assert lanes.count("1") == pytest.approx(8, abs=1)


async def test_who_does_not_answer_leaves_half_of_the_node_to_the_others(tmp_path: Path) -> None:
    house = await House.start(tmp_path / "data", in_flight_max=8)
    hung: list[asyncio.Future[Exchange]] = []

    def script(request: Request) -> Exchange | asyncio.Future[Exchange]:
        if b'"good"' in request.body:
            return answer()
        hung.append(asyncio.get_running_loop().create_future())
        return hung[-1]

    house.transport.script = script
    for number in range(8):
        await house.endpoint("bad", url=f"http://203.0.114.{number}/hook", proven=False)
    good = await house.endpoint("good", url="http://203.0.114.9/hook", proven=False)
    for _ in range(5):
        await house.publish("bad")
    await house.quiet(hanging=4)
    assert len(hung) == 4
    desk = house.node.engine.board.find(good.key)
    assert desk is not None
    desk.prove(proven=True)
    for _ in range(20):
        await house.publish("good")
    await house.settled(20)
    for future in hung:
        future.set_result(answer())
    await house.node.stop(drain_seconds=0)


async def test_a_job_holds_the_backlog_of_its_scope_until_it_lets_go(house: House) -> None:
    endpoint = await house.endpoint(tenant="acme")
    other = await house.endpoint(url="http://203.0.114.2/hook", tenant="other")
    house.node.engine.hold_backlog(1, JobFilter(newest=1 << 62, tenant="acme"))
    held = await house.publish(tenant="acme", occurred_at=DAY)
    live = await house.publish(tenant="acme")
    free = await house.publish(tenant="other", occurred_at=DAY)
    await house.settled(2)
    assert (await house.delivery(live, endpoint)).state is State.DELIVERED
    assert (await house.delivery(free, other)).state is State.DELIVERED
    holding = house.node.engine.holding(held.key, endpoint.key, Lane.BACKLOG)
    assert holding is not None
    assert holding.code == Hold.JOB
    house.node.engine.release_backlog(1)
    house.node.engine.release_backlog(1)
    await house.settled(3)
    assert (await house.delivery(held, endpoint)).state is State.DELIVERED
