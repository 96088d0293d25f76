"""Two nodes with a copy of the catalogue each: what one changes the other has, and neither undoes the other's."""

import asyncio
import json

import pytest

from posthouse.core.errors import Conflict, NotFound
from posthouse.core.ids import API_KEY, ENDPOINT, SOURCE, make_id
from posthouse.core.inbound import SourceState
from posthouse.core.limits import CATALOGUE_LOOK_MS
from posthouse.core.model import EndpointState, Environment, Scope
from posthouse.core.rules import TenantRules
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.gateway.source_input import SourceChange
from posthouse.gateway.tenants import TenantChange
from posthouse.testing.house import House
from posthouse.testing.quiet_house import QuietHouse

LIVE = Environment.LIVE


@pytest.fixture
async def other(house: House) -> QuietHouse:
    """The gateway of another node on the store of the house; its copy of the catalogue is as old as the test."""
    store = house.ports.store
    quiet = QuietHouse(store, house.clock, key_floor=await store.admin.key_floor() + (1 << 30))
    await quiet.gateway.catalogue.refresh()
    return quiet


def published(**fields: object) -> bytes:
    return json.dumps({"type": "a", "data": 1, **fields}).encode()


async def test_a_pause_at_one_node_holds_deliveries_at_another_within_a_second(house: House, other: QuietHouse) -> None:
    """Nobody tells the node: it asks."""
    assert 2 * CATALOGUE_LOOK_MS <= 1_000
    endpoint = await house.endpoint()
    await other.gateway.catalogue.refresh()
    desk = house.node.engine.board.desk(endpoint.key)
    assert desk is not None
    assert not desk.is_held
    heard = asyncio.Event()
    changed = house.node.engine.endpoint_changed
    house.node.engine.endpoint_changed = lambda e: (changed(e), heard.set())  # type: ignore[assignment, func-returns-value, method-assign]  # this node is the test's own
    await other.gateway.endpoints.pause(LIVE, make_id(ENDPOINT, endpoint.key))
    async with asyncio.timeout(10):  # a busy machine
        await heard.wait()
    assert desk.is_held
    assert desk.endpoint.state is EndpointState.PAUSED


async def test_what_two_nodes_change_about_an_endpoint_is_both_in_it(house: House, other: QuietHouse) -> None:
    """A secret that one rotated is not undone by a URL that the other changes."""
    endpoint = await house.endpoint()
    name = make_id(ENDPOINT, endpoint.key)
    issued = await house.node.gateway.endpoints.rotate_secret(LIVE, name)
    changed = await other.gateway.endpoints.update(LIVE, name, EndpointChange(description="new"))
    assert (changed.secrets, changed.description) == (issued.endpoint.secrets, "new")
    paused = await house.node.gateway.endpoints.pause(LIVE, name)
    assert (paused.state, paused.description) == (EndpointState.PAUSED, "new")
    assert await house.ports.store.catalogue.endpoint(endpoint.key) == paused
    resumed = await other.gateway.endpoints.resume(LIVE, name)  # it was active when this node wrote it
    assert resumed.state is EndpointState.ACTIVE
    assert await house.ports.store.catalogue.endpoint(endpoint.key) == resumed
    await house.node.gateway.endpoints.delete(LIVE, name)
    with pytest.raises(NotFound):
        await other.gateway.endpoints.resume(LIVE, name)


async def test_what_two_nodes_change_about_a_source_is_both_in_it(house: House, other: QuietHouse) -> None:
    source = await house.source("github", "one secret")
    await other.gateway.catalogue.refresh()
    name = make_id(SOURCE, source.key)
    await house.node.gateway.sources.rotate_secret(LIVE, name, secret="another secret")
    await other.gateway.sources.update(LIVE, name, SourceChange(description="new"))
    both = await house.node.gateway.sources.pause(LIVE, name)
    assert ([s.value for s in both.secrets], both.description) == (["another secret", "one secret"], "new")
    await other.gateway.catalogue.refresh()
    assert other.inbox.sources[-1] == both
    assert both.state is SourceState.PAUSED


async def test_what_two_nodes_change_about_a_tenant_is_both_in_it(house: House, other: QuietHouse) -> None:
    """Also where an event made it, or where both make it."""
    await house.node.gateway.publisher.publish(LIVE, published(tenant="acme"), None)
    made = await other.gateway.tenants.create(LIVE, "acme")
    assert made.revision > 0
    await house.node.gateway.tenants.update(LIVE, "acme", TenantChange(name="Acme Inc."))
    await other.gateway.tenants.update(LIVE, "acme", TenantChange(weight=5))
    await house.node.gateway.catalogue.refresh()
    tenant = house.node.gateway.tenants.get(LIVE, "acme")
    assert (tenant.name, tenant.rules) == ("Acme Inc.", TenantRules(weight=5))


async def test_an_event_goes_to_an_endpoint_that_another_node_made_before(house: House, other: QuietHouse) -> None:
    """However old the copy is that it was routed by first."""
    endpoint = await house.endpoint()
    accepted = await other.gateway.publisher.publish(LIVE, published(), None)
    assert accepted.owed == 1
    assert [work.obligation.endpoint_key for work in other.hints.work] == [endpoint.key]


async def test_the_last_admin_key_is_the_last_of_all_nodes(house: House, other: QuietHouse) -> None:
    keys = house.node.gateway.keys
    (first,) = keys.page(LIVE, after=None, limit=9)
    second = (await keys.create_key(LIVE, Scope.ADMIN, "second", before_stored=lambda _: None)).api_key
    await other.gateway.catalogue.refresh()
    await keys.revoke(LIVE, make_id(API_KEY, first.key))
    with pytest.raises(Conflict):
        await other.gateway.keys.revoke(LIVE, make_id(API_KEY, second.key))
    assert other.gateway.keys.page(LIVE, after=None, limit=9) == [second]


async def test_of_two_nodes_on_a_new_store_one_makes_the_first_key(house: House, other: QuietHouse) -> None:
    """The other has found none either, and finds it before its own counts."""
    keys = house.node.gateway.keys
    (only,) = keys.page(LIVE, after=None, limit=9)
    await house.ports.store.catalogue.put_api_key(
        type(only)(**{**{n: getattr(only, n) for n in only.__struct_fields__}, "revoked_at": 1}), seen=only.revision
    )
    for node in (house.node.gateway, other.gateway):
        await node.catalogue.refresh()
    texts: list[str] = []
    made = await asyncio.gather(
        *(node.keys.create_first("first", before_stored=texts.append) for node in (house.node.gateway, other.gateway))
    )
    (issued,) = (one for one in made if one is not None)
    assert len(texts) == 2
    for node in (house.node.gateway, other.gateway):
        assert node.keys.page(LIVE, after=None, limit=9) == [issued.api_key]
