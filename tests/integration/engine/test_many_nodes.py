"""Several nodes on one store: who works for what, what happens when one comes or goes, and what they show."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.inbox import senders

from posthouse.core.delivery import State
from posthouse.core.errors import NotAccepting
from posthouse.core.ids import ENDPOINT, JOB, delivery_id, make_id
from posthouse.core.jobs import UNFINISHED, Job, JobKind, JobState
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.core.model import SLOTS, Endpoint, EndpointState, Environment, Lane, Scope, slot_of
from posthouse.core.nodes import Role
from posthouse.core.rate import CATCH_UP_SECONDS
from posthouse.core.rules import Order
from posthouse.core.waiting import Hold
from posthouse.gateway.job_input import JobSpec
from posthouse.gateway.principal import Principal
from posthouse.gateway.tenants import TenantChange
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.testing.seats import Seat
from posthouse.testing.town import Town, open_town
from posthouse.transport.protocol import Exchange, Request

OPERATOR = Principal(Environment.LIVE, Scope.ADMIN, 1)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(tmp_path / "data") as town:
        yield town


async def ended(house: House, job: Job) -> Job:
    """Wait until the job has ended."""
    while True:
        found = await house.ports.store.jobs.job(job.key)
        assert found is not None
        if found.state not in UNFINISHED:
            return found
        await asyncio.sleep(0)


async def three(town: Town) -> list[House]:
    """Three nodes that have shared the slots among them."""
    for _ in range(3):
        await town.settle_in()
    await town.share_out()
    return town.houses


async def endpoints(town: Town, house: House, count: int, **fields: Any) -> list[Endpoint]:
    """So many endpoints that every node knows."""
    made = [await house.endpoint(url=f"http://203.0.114.1/{number}", **fields) for number in range(count)]
    for other in town.houses:
        await other.node.gateway.catalogue.refresh()
    return made


async def test_the_slots_are_shared_out_evenly_and_a_few_at_a_time(town: Town) -> None:
    first = await town.settle_in()
    assert town.slots() == [SLOTS]
    second = await town.settle_in()
    await town.beat()
    assert 0 < len(second.node.engine.leases.epochs) <= 32, "not all at once"
    await town.share_out()
    assert town.slots() == [SLOTS // 2, SLOTS // 2]
    await town.settle_in()
    await town.share_out()
    assert sorted(town.slots()) == [85, 85, 86]
    moved = sum(epoch for house in town.houses for epoch in house.node.engine.leases.epochs.values())
    assert moved <= SLOTS + SLOTS // 2 + SLOTS // 3 + 1, "no slot moves without need"
    assert first.node.engine.leases.unquiet == {}, "what was given up is quiet"


async def test_what_is_published_anywhere_is_sent_once_by_whoever_works_for_the_endpoint(town: Town) -> None:
    houses = await three(town)
    made = await endpoints(town, houses[0], 30)
    for number in range(30):
        await houses[number % 3].publish(data=number)
    await houses[0].until(lambda: len(town.sent) >= 900)
    for house in houses:
        await house.quiet()
    owners = {endpoint.url: town.owner(endpoint) for endpoint in made}
    assert all(owners[request.url] is house for house, request in town.sent)
    assert set(Counter((r.url, r.headers["webhook-id"]) for _, r in town.sent).values()) == {1}
    assert (await houses[0].states())[State.DELIVERED] == 900
    assert sum(house.node.metrics.fenced for house in houses) == 0


async def test_what_is_accepted_or_changed_for_another_node_is_told_to_it(town: Town) -> None:
    houses = await three(town)
    (endpoint,) = await endpoints(town, houses[0], 1)
    owner = town.owner(endpoint)
    other = next(house for house in houses if house is not owner)
    seat = other.ports.store
    assert isinstance(seat, Seat)
    seat.told.clear()
    event = await other.publish()
    assert [told.work for told in seat.told] == [frozenset({(endpoint.key, 0)})]
    seat.told.clear()
    name = make_id(ENDPOINT, endpoint.key)
    await other.node.gateway.endpoints.pause(Environment.LIVE, name)
    assert any(told.catalogue for told in seat.told)
    other.node.engine.relay.withdrawn(event.key, endpoint.key)
    assert seat.told[-1].withdrawn == {(event.key, endpoint.key)}


async def test_what_nobody_tells_is_found_all_the_same(town: Town) -> None:
    houses = await three(town)
    for house in houses:
        house.ports.store.deaf = True  # type: ignore[attr-defined]  # it is a seat
    (endpoint,) = await endpoints(town, houses[0], 1)
    other = next(house for house in houses if house is not town.owner(endpoint))
    await other.publish()
    await asyncio.sleep(0)
    assert town.sent == []
    await town.pass_time(1_000)
    assert [house for house, _ in town.sent] == [town.owner(endpoint)]


async def test_a_node_that_stops_gives_its_slots_up_at_once_and_nothing_is_sent_twice(town: Town) -> None:
    houses = await three(town)
    made = await endpoints(town, houses[0], 30)
    leaver = houses[1]
    hanging: list[asyncio.Future[Exchange]] = []
    slow = next(endpoint for endpoint in made if town.owner(endpoint) is leaver)

    def script(request: Request) -> "Exchange | asyncio.Future[Exchange]":
        if request.url == slow.url and not hanging:
            hanging.append(asyncio.get_running_loop().create_future())
            return hanging[0]
        return answer()

    town.script = script
    await houses[0].publish(data=0)
    await houses[0].until(lambda: len(town.sent) == 30)
    stopping = asyncio.ensure_future(town.move_out(leaver))
    others = [house for house in houses if house is not leaver]
    # One endpoint answers slowly: its slot waits for it, all others are taken meanwhile without any time passing.
    await others[0].until(lambda: sum(len(house.node.engine.leases.epochs) for house in others) == SLOTS - 1)
    assert not stopping.done()
    await others[0].publish(data=1)
    await others[0].until(lambda: len(town.sent) == 59)
    hanging[0].set_result(answer())
    await stopping
    await others[0].until(lambda: sum(len(house.node.engine.leases.epochs) for house in others) == SLOTS)
    await others[0].until(lambda: len(town.sent) == 60)
    for house in others:
        await house.quiet()
    assert set(Counter((r.url, r.headers["webhook-id"]) for _, r in town.sent).values()) == {1}
    assert (await others[0].states())[State.DELIVERED] == 60
    assert all(house.node.engine.leases.unquiet == {} for house in others)


async def test_the_work_of_a_node_that_died_goes_on(town: Town) -> None:
    houses = await three(town)
    made = await endpoints(town, houses[0], 30)
    dead = houses[2]
    orphans = {endpoint.url for endpoint in made if town.owner(endpoint) is dead}
    await town.die(dead)
    await houses[0].publish()
    await town.pass_time(LEASE_MS - 1_000)
    assert orphans.isdisjoint(request.url for _, request in town.sent), "it may live"
    await town.pass_time(2 * LEASE_RENEW_MS)
    assert {request.url for _, request in town.sent} == {endpoint.url for endpoint in made}
    assert sum(town.slots()) == SLOTS
    assert [record.name for record in await houses[0].ports.store.ownership.nodes()] == sorted(
        house.node.name for house in town.houses
    )


async def test_a_node_that_stood_still_settles_nothing_and_begins_anew(town: Town) -> None:
    """Others took it for dead meanwhile; what it had on its way went out again from them."""
    one, two = await town.settle_in(), await town.settle_in()
    await town.share_out()
    made = await endpoints(town, one, 8)
    zombies: list[asyncio.Future[Exchange]] = []

    def hang(_: Request) -> "asyncio.Future[Exchange]":
        zombies.append(asyncio.get_running_loop().create_future())
        return zombies[-1]

    town.script = hang
    await one.publish()
    await one.until(lambda: len(town.sent) == len(made))
    mine = {request.url for house, request in town.sent if house is one}
    former = one.node.name
    town.script = lambda _: answer()
    town.houses.remove(one)  # it stands still: time passes for the others only
    for zombie in zombies[:]:
        if town.sent[zombies.index(zombie)][0] is two:
            zombie.set_result(answer())
    await town.pass_time(LEASE_MS + 2 * LEASE_RENEW_MS)
    assert {request.url for house, request in town.sent[len(made) :] if house is two} == mine
    for zombie in zombies:
        if not zombie.done():
            zombie.set_result(answer(500))
    await one.until(lambda: one.node.metrics.fenced == len(mine))
    assert (await two.states())[State.DELIVERED] == len(made)
    town.houses.append(one)
    await town.share_out()
    assert one.node.name != former
    assert sorted(town.slots()) == [SLOTS // 2, SLOTS // 2]


async def test_order_is_kept_through_twenty_takeovers(town: Town) -> None:
    await town.settle_in()
    house = await town.settle_in()
    await town.share_out()
    (endpoint,) = await endpoints(town, house, 1, order=Order.FIFO, timeout_ms=5_000)
    published = 0
    for takeover in range(20):
        for _ in range(3):
            await town.houses[0].publish(data=published, ordering_key="k")
            published += 1
        await town.settle_in()
        owner = town.owner(endpoint)
        if owner is not None:
            await (town.die(owner) if takeover % 2 else town.move_out(owner))
        await town.pass_time(LEASE_MS + 5_000 + 2 * LEASE_RENEW_MS)
    await town.houses[0].nothing_open()
    taken = [int(request.body.rpartition(b'"data":')[2].rstrip(b"}")) for _, request in town.sent]
    assert taken == sorted(taken)
    assert set(taken) == set(range(published))


async def test_after_a_death_an_endpoint_that_keeps_order_waits_for_what_may_be_on_its_way(town: Town) -> None:
    one, two = await town.settle_in(), await town.settle_in()
    await town.share_out()
    made = await endpoints(town, one, 8, order=Order.FIFO, timeout_ms=20_000)
    endpoint = next(endpoint for endpoint in made if town.owner(endpoint) is one)
    event = await two.publish(ordering_key="k")
    await two.quiet()
    await town.die(one)
    event = await two.publish(ordering_key="k")
    await town.pass_time(LEASE_MS + 2 * LEASE_RENEW_MS)
    assert town.owner(endpoint) is two
    holding = two.node.engine.holding(event.key, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.TAKEOVER
    await town.pass_time(20_000)
    assert (await two.delivery(event, endpoint)).state is State.DELIVERED


async def test_an_edge_accepts_and_delivers_nothing(town: Town) -> None:
    edge = await town.settle_in(role="edge")
    assert edge.node.engine.is_ready
    (endpoint,) = await endpoints(town, edge, 1)
    event = await edge.publish()
    await town.pass_time(5_000)
    assert (town.sent, town.slots()) == ([], [0])
    holding = edge.node.engine.holding(event.key, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.NO_OWNER
    engine = await town.settle_in(role="engine")
    await town.pass_time(2_000)
    assert [house for house, _ in town.sent] == [engine]
    late = await edge.publish()
    await engine.until(lambda: len(town.sent) == 2)
    assert (await edge.delivery(late, endpoint)).event_key == late.key


async def test_who_does_not_work_for_an_endpoint_tells_who_does_and_how_it_is(town: Town) -> None:
    houses = await three(town)
    (endpoint,) = await endpoints(town, houses[0], 1)
    owner = town.owner(endpoint)
    assert owner is not None
    other = next(house for house in houses if house is not owner)
    town.script = lambda _: answer(500)
    for number in range(6):
        event = await other.publish(data=number)
    await owner.until(lambda: owner.node.engine.condition(endpoint.key).state == "down")
    await town.pass_time(2_000)
    condition = other.node.engine.condition(endpoint.key)
    assert (condition.state, condition.node) == ("down", owner.node.name)
    wait = (await other.node.gateway.deliveries.get(Environment.LIVE, delivery_id(event.key, endpoint.key))).waits_for
    assert wait is not None
    assert wait.code is Hold.BREAKER_OPEN


async def test_a_rate_is_kept_when_its_endpoint_changes_hands(town: Town) -> None:
    """Nobody knows when the node before sent last, so it counts as just then."""
    one = await town.settle_in()
    (endpoint,) = await endpoints(town, one, 1, rate="6/m")
    for number in range(20):
        await one.publish(data=number)
    await one.quiet()
    sent_at = [town.clock.monotonic()] * len(town.sent)
    owner = one
    for takeover in range(6):
        await town.settle_in()
        await (town.die(owner) if takeover % 2 else town.move_out(owner))
        for _ in range(30):
            await town.pass_time(1_000)
            sent_at += [town.clock.monotonic()] * (len(town.sent) - len(sent_at))
        found = town.owner(endpoint)
        assert found is not None
        owner = found
    pauses = [after - before for before, after in itertools.pairwise(sent_at)]
    assert len(sent_at) > 6
    assert min(pauses) >= 10 - CATCH_UP_SECONDS


async def test_a_tenants_rate_and_cap_are_those_of_all_nodes_together(town: Town) -> None:
    houses = await three(town)
    tenants = houses[0].node.gateway.tenants
    await tenants.ensure(Environment.LIVE, "acme")
    await tenants.update(Environment.LIVE, "acme", TenantChange(rate="12/s", in_flight_max=6))
    made = await endpoints(town, houses[0], 24, tenant="acme")
    await town.beat()
    hanging: list[asyncio.Future[Exchange]] = []

    def hang(_: Request) -> "asyncio.Future[Exchange]":
        hanging.append(asyncio.get_running_loop().create_future())
        return hanging[-1]

    town.script = hang
    await houses[0].publish(tenant="acme")
    for _ in range(20):
        await town.beat()
        await houses[0].until(lambda: True)
    assert 3 <= len(town.sent) <= 6, "each node has some of the cap"
    town.script = lambda _: answer()
    for future in hanging:
        future.set_result(answer())
    for number in range(10):
        await houses[number % 3].publish(tenant="acme", data=number)
    for house in houses:
        await house.quiet()
    before = len(town.sent)
    await town.pass_time(10_000, step_ms=50)
    assert 100 <= len(town.sent) - before <= 121
    assert {town.owner(endpoint) for endpoint in made} == set(houses)


async def test_a_job_goes_on_when_its_node_dies(town: Town) -> None:
    houses = await three(town)
    (endpoint,) = await endpoints(town, houses[0], 1, active=False)
    for number in range(6):
        await houses[0].publish(data=number)
    spec = JobSpec(kind=JobKind.PARK, rate="1/m", endpoint_id=make_id(ENDPOINT, endpoint.key))
    job = (await houses[0].node.gateway.jobs.create(OPERATOR, spec)).job
    worker = next(house for house in houses if house.node.engine.works_for(job.key))
    await worker.until(lambda: worker.node.metrics.job_deliveries[job.kind] > 0)
    for house in houses:
        await house.until(lambda house=house: job.key in house.node.engine._jobs._holding)  # type: ignore[misc]
    await town.die(worker)
    await town.pass_time(LEASE_MS + 2 * LEASE_RENEW_MS)
    heir = next(house for house in town.houses if house.node.engine.works_for(job.key))
    await heir.until(lambda: job.key in heir.node.engine._jobs._runs)
    await heir.node.gateway.jobs.set_rate(OPERATOR, make_id(JOB, job.key), None)
    found = await ended(heir, job)
    assert (found.state, found.done, found.total) == (JobState.COMPLETED, 6, 6)
    for house in town.houses:
        await house.until(lambda house=house: job.key not in house.node.engine._jobs._holding)  # type: ignore[misc]


async def test_a_deletion_that_a_node_left_half_done_is_finished_by_the_others(town: Town) -> None:
    houses = await three(town)
    (endpoint,) = await endpoints(town, houses[0], 1, active=False)
    event = await houses[0].publish()
    store = houses[0].ports.store
    await store.catalogue.set_endpoint_state(
        endpoint.key, EndpointState.DELETED, seen=endpoint.revision, reason=None, now=town.clock.now_ms()
    )
    for house in houses:
        await house.node.gateway.catalogue.refresh()
    await town.die(houses[0])
    await town.pass_time(LEASE_MS + 2 * LEASE_RENEW_MS)
    await town.houses[0].nothing_open()
    assert (await town.houses[0].delivery(event, endpoint)).state is State.DISCARDED


async def test_the_register_is_shown(town: Town) -> None:
    one = await town.settle_in()
    await one.node.listens_at("http://one.test:8400")
    two = await town.settle_in(role="engine")
    await town.share_out()
    shown = {detail.record.name: detail for detail in await one.node.gateway.nodes.all()}
    mine, other = shown[one.node.name], shown[two.node.name]
    assert (mine.is_this, mine.lives, mine.record.url, mine.record.slots) == (True, True, "http://one.test:8400", 128)
    assert (other.is_this, other.lives, other.record.role, other.record.slots) == (False, True, Role.ENGINE, 128)
    await town.die(two)
    town.clock.advance(LEASE_RENEW_MS)
    (_, silent) = sorted(detail.silent_seconds or 0.0 for detail in await one.node.gateway.nodes.all())
    assert silent >= LEASE_RENEW_MS / 1_000


async def test_a_node_that_only_delivers_takes_no_events(town: Town) -> None:
    engine = await town.settle_in(role="engine")
    with pytest.raises(NotAccepting):
        await engine.publish()
    with pytest.raises(NotAccepting):
        await engine.node.gateway.publisher.publish_batch(Environment.LIVE, b'{"events": []}', None)
    source = await engine.source("stripe", "whsec_test")
    refused = await engine.post(source, b"{}")
    assert refused.status_code >= 500
    assert refused.json()["code"] == "not_accepting"
    assert engine.node.metrics.requests_turned_away["not_accepting"] == 1


async def test_who_gives_a_slot_up_probes_nobody(town: Town) -> None:
    one = await town.settle_in()
    (endpoint,) = await endpoints(town, one, 1)
    town.script = lambda _: answer(500)
    for number in range(6):
        await one.publish(data=number)
    await one.until(lambda: one.node.engine.condition(endpoint.key).state == "down")
    await one.quiet()
    leases, sent, probes = one.node.engine.leases, len(town.sent), one.node.metrics.probes
    leases.begin_leaving([slot_of(endpoint.key)])
    for _ in range(5):
        town.clock.advance(LEASE_RENEW_MS)
        await leases._take()
        one.node.engine.board.turns.look()
        await one.quiet()
    assert (len(town.sent), one.node.metrics.probes) == (sent, probes)
    leases.go_on([slot_of(endpoint.key)])
    await one.pass_time(60_000, step_ms=2_000)
    assert len(town.sent) > sent


async def test_one_node_says_that_a_source_is_silent_and_hears_what_the_others_have_heard(town: Town) -> None:
    houses = await three(town)
    source = await houses[0].source("cornerstone", senders.SECRET)
    for house in houses:
        await house.node.gateway.catalogue.refresh()
    owner = next(house for house in houses if house.node.engine.works_for(source.key))
    other = next(house for house in houses if house is not owner)
    town.clock.advance(500_000)
    for house in houses:
        await house.look_after()
    await other.post(source, *senders.cornerstone())
    await other.node._keeper._write()
    town.clock.advance(300_000)
    for house in houses:
        await house.look_after()
    assert await owner.incidents() == [], "another node has heard of it"
    town.clock.advance(300_001)
    for house in houses:
        await house.look_after()
    assert [incident.source_key for incident in await owner.incidents()] == [source.key]
    assert [house for house in houses if house.node._keeper._silent] == [owner]
