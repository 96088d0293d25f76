"""What an open delivery is said to wait for, on a whole node: the rule that holds it, and when that rule lets it go."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.jobs import JobKind, JobState
from posthouse.core.model import Endpoint, Environment, Scope
from posthouse.core.rules import Batch, Order
from posthouse.core.waiting import Hold, Wait
from posthouse.engine import dispatcher as dispatcher_module
from posthouse.gateway.job_input import JobSpec
from posthouse.gateway.principal import Principal
from posthouse.gateway.tenants import TenantChange
from posthouse.store.protocol import Accepted
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer
from posthouse.testing.seizing import seize
from posthouse.transport.protocol import Exchange, Request

Start = Callable[..., Awaitable[House]]

OPERATOR = Principal(Environment.LIVE, Scope.ADMIN, 1)
DAY = "2026-12-01T00:00:00Z"  #: weeks before the clock in hand


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[House]:
    """A node with room for two requests."""
    house = await House.start(tmp_path / "data", in_flight_max=2, in_flight_per_endpoint=2)
    yield house
    await house.node.stop(drain_seconds=0)


class Hanging:
    """Answers no request before it is told to."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._open: list[asyncio.Future[Exchange]] = []
        house.transport.script = self._keep

    def _keep(self, _: Request) -> asyncio.Future[Exchange]:
        self._open.append(asyncio.get_running_loop().create_future())
        return self._open[-1]

    def release(self) -> None:
        """Answer the oldest request."""
        self._open.pop(0).set_result(answer())

    def release_all(self) -> None:
        """Answer every request, from now on at once."""
        self._house.transport.script = lambda _: answer()
        while self._open:
            self.release()


async def wait_of(house: House, event: Accepted, endpoint: Endpoint) -> Wait | None:
    """What the gateway says of that delivery, as it tells everybody who asks."""
    detail = await house.node.gateway.deliveries.get(Environment.LIVE, delivery_id(event.key, endpoint.key))
    return detail.waits_for


async def is_held(house: House, event: Accepted, endpoint: Endpoint, hold: Hold, *, says: str = "") -> None:
    """It waits for this, which ends when something happens and at no time that anybody knows."""
    wait = await wait_of(house, event, endpoint)
    assert wait is not None
    assert (wait.code, wait.until) == (hold, None)
    assert says in wait.message


async def is_held_until(house: House, event: Accepted, endpoint: Endpoint, hold: Hold, *, ms: int) -> None:
    """It waits for this, so many milliseconds more: a millisecond earlier it has not gone, then it is delivered."""
    wait = await wait_of(house, event, endpoint)
    assert wait is not None
    assert (wait.code, wait.until) == (hold, house.clock.now_ms() + ms)
    sent = len(house.transport.requests)
    await house.pass_time(ms - 1, step_ms=ms - 1)
    again = await wait_of(house, event, endpoint)
    assert again is not None
    assert (again.code, again.until, len(house.transport.requests)) == (hold, wait.until, sent)
    await house.pass_time(1)
    await is_delivered(house, event, endpoint)


async def is_delivered(house: House, event: Accepted, endpoint: Endpoint) -> None:
    assert await wait_of(house, event, endpoint) is None
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def limit_tenant(house: House, change: TenantChange) -> None:
    await house.node.gateway.tenants.ensure(Environment.LIVE, "acme")
    await house.node.gateway.tenants.update(Environment.LIVE, "acme", change)


# -- rates and caps -----------------------------------------------------------------------------


async def test_the_rate_of_its_endpoint(house: House) -> None:
    endpoint = await house.endpoint(rate="6/m")
    await house.publish()
    await house.quiet()
    await is_held_until(house, await house.publish(), endpoint, Hold.RATE, ms=10_000)


async def test_the_rate_of_its_tenant_over_all_its_endpoints(house: House) -> None:
    await limit_tenant(house, TenantChange(rate="6/m"))
    await house.endpoint("first", tenant="acme")
    endpoint = await house.endpoint("second", tenant="acme", url="http://203.0.114.2/hook")
    await house.publish("first", tenant="acme")
    await house.quiet()
    event = await house.publish("second", tenant="acme")
    await is_held_until(house, event, endpoint, Hold.TENANT_RATE, ms=10_000)


async def test_the_cap_of_its_endpoint(house: House) -> None:
    endpoint = await house.endpoint(in_flight_max=1)
    hanging = Hanging(house)
    first, second = await house.publish(), await house.publish()
    await house.quiet(hanging=1)
    await is_held(house, first, endpoint, Hold.IN_FLIGHT)
    await is_held(house, second, endpoint, Hold.ENDPOINT_CAP, says="(1) are on their way to the endpoint")
    hanging.release()
    await house.settled(1)
    await house.transport.sent(2)
    await is_delivered(house, first, endpoint)
    await is_held(house, second, endpoint, Hold.IN_FLIGHT)
    hanging.release_all()
    await house.settled(2)
    await is_delivered(house, second, endpoint)


async def test_the_cap_of_its_tenant_over_all_its_endpoints(house: House) -> None:
    await limit_tenant(house, TenantChange(in_flight_max=1))
    await house.endpoint("first", tenant="acme")
    endpoint = await house.endpoint("second", tenant="acme", url="http://203.0.114.2/hook")
    hanging = Hanging(house)
    await house.publish("first", tenant="acme")
    await house.transport.sent(1)
    event = await house.publish("second", tenant="acme")
    await house.quiet(hanging=1)
    await is_held(house, event, endpoint, Hold.TENANT_CAP, says="the endpoints of its tenant")
    hanging.release_all()
    await house.settled(2)
    await is_delivered(house, event, endpoint)


async def test_the_room_of_the_node(small: House) -> None:
    await small.endpoint("first")
    endpoint = await small.endpoint("second", url="http://203.0.114.2/hook")
    hanging = Hanging(small)
    for _ in range(2):
        await small.publish("first")
    await small.transport.sent(2)
    event = await small.publish("second")
    await small.quiet(hanging=2)
    await is_held(small, event, endpoint, Hold.NODE_CAP)
    hanging.release_all()
    await small.settled(3)
    await is_delivered(small, event, endpoint)


async def test_the_room_that_the_node_has_for_those_who_do_not_answer(small: House) -> None:
    """Half of it; a proven endpoint is sent to meanwhile."""
    silent = await small.endpoint("silent", proven=False)
    proven = await small.endpoint("proven", url="http://203.0.114.2/hook")
    hanging = Hanging(small)
    await small.publish("silent")
    await small.transport.sent(1)
    small.transport.script = lambda _: answer()
    held, free = await small.publish("silent"), await small.publish("proven")
    await small.settled(1)
    await is_delivered(small, free, proven)
    await is_held(small, held, silent, Hold.NODE_CAP)
    hanging.release_all()
    await small.settled(3)
    await is_delivered(small, held, silent)


# -- the shape and the order of an endpoint -----------------------------------------------------


async def test_a_batch_that_fills_for_as_long_as_its_rule_says(house: House) -> None:
    """From its first event on, also for one that came later."""
    endpoint = await house.endpoint(batch=Batch(10, 4_000))
    first = await house.publish()
    await house.pass_time(1_000)
    later = await house.publish()
    await house.quiet()
    wait = await wait_of(house, first, endpoint)
    assert wait is not None
    assert (wait.code, wait.until) == (Hold.BATCH, house.clock.now_ms() + 3_000)
    await is_held_until(house, later, endpoint, Hold.BATCH, ms=3_000)
    await is_delivered(house, first, endpoint)
    assert len(house.transport.requests) == 1


async def test_a_batch_that_is_full_waits_for_nothing(house: House) -> None:
    endpoint = await house.endpoint(batch=Batch(2, 4_000))
    first = await house.publish()
    await house.quiet()
    assert house.transport.requests == []
    second = await house.publish()
    await house.settled(2)
    await is_delivered(house, first, endpoint)
    await is_delivered(house, second, endpoint)


@pytest.mark.parametrize("order", [Order.FIFO, Order.LATEST])
async def test_an_earlier_event_of_its_ordering_key(house: House, order: Order) -> None:
    endpoint = await house.endpoint(order=order)
    hanging = Hanging(house)
    first = await house.publish(ordering_key="a")
    await house.transport.sent(1)
    second, other = await house.publish(ordering_key="a"), await house.publish(ordering_key="b")
    await house.quiet(hanging=2)
    await is_held(house, other, endpoint, Hold.IN_FLIGHT)
    await is_held(house, second, endpoint, Hold.ORDER, says=delivery_id(first.key, endpoint.key))
    hanging.release()
    await house.transport.sent(3)
    await is_held(house, second, endpoint, Hold.IN_FLIGHT)
    hanging.release_all()
    await house.settled(3)
    await is_delivered(house, second, endpoint)


# -- time, people, and the node -----------------------------------------------------------------


async def test_its_next_attempt(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:1m")
    house.transport.script = lambda _: answer(500)
    event = await house.publish()
    await house.quiet()
    house.transport.script = lambda _: answer()
    due_at = (await house.delivery(event, endpoint)).due_at
    assert due_at is not None
    await is_held_until(house, event, endpoint, Hold.DUE_AT, ms=due_at - house.clock.now_ms())


async def test_somebody_who_paused_its_endpoint(house: House) -> None:
    endpoint = await house.endpoint(active=False)
    event = await house.publish()
    await house.quiet()
    await is_held(house, event, endpoint, Hold.ENDPOINT_PAUSED)
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(1)
    await is_delivered(house, event, endpoint)


async def run_job(house: House, kind: JobKind) -> None:
    """A job for everything, from its beginning to its end."""
    ended = house.node.metrics.jobs_ended
    before = ended[JobState.COMPLETED]
    await house.node.gateway.jobs.create(OPERATOR, JobSpec(kind=kind, everything=True))
    await house.until(lambda: ended[JobState.COMPLETED] > before)


async def test_somebody_who_put_it_aside(house: House) -> None:
    endpoint = await house.endpoint(active=False)
    event = await house.publish()
    await run_job(house, JobKind.PARK)
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.pass_time(60_000, step_ms=10_000)
    await is_held(house, event, endpoint, Hold.PARKED)
    assert house.transport.requests == []
    await run_job(house, JobKind.DRAIN)
    await house.settled(1)
    await is_delivered(house, event, endpoint)


async def test_live_work_while_the_node_can_start_no_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts none while too many outcomes wait for their commit."""
    monkeypatch.setattr(dispatcher_module, "UNSETTLED_MAX", 1)
    endpoint = await house.endpoint()
    written = house.hold_outcomes()
    await house.publish()
    await house.until(lambda: house.node.engine.settler.unsettled == 1)
    live, backlog = await house.publish(), await house.publish(occurred_at=DAY)
    await is_held(house, live, endpoint, Hold.QUEUED)
    await is_held(house, backlog, endpoint, Hold.LANE)
    assert len(house.transport.requests) == 1
    written.set()
    await house.settled(3)
    await is_delivered(house, live, endpoint)
    await is_delivered(house, backlog, endpoint)


async def test_a_node_that_works_for_its_endpoint(start: Start) -> None:
    house = await start(alone=False)
    endpoint = await house.endpoint()
    ownership = house.ports.store.ownership
    await seize(ownership, "rival", now=house.clock.now_ms())
    await house.pass_time(1_000)
    event = await house.publish()
    await is_held(house, event, endpoint, Hold.ELSEWHERE)
    assert house.transport.requests == []
    await ownership.leave("rival")
    await house.pass_time(1_000)
    await is_delivered(house, event, endpoint)


async def test_its_outcome_that_is_not_written_yet(house: House) -> None:
    endpoint = await house.endpoint()
    written = house.hold_outcomes()
    event = await house.publish()
    await house.until(lambda: house.node.engine.settler.unsettled == 1)
    await is_held(house, event, endpoint, Hold.SETTLING)
    written.set()
    await house.settled(1)
    await is_delivered(house, event, endpoint)


async def test_the_rate_also_when_its_batch_was_refused_and_it_goes_alone(house: House) -> None:
    """Meanwhile it takes nobody's room."""
    endpoint = await house.endpoint(batch=Batch(2, 0), rate="4/h", in_flight_max=1, active=False)
    events = [await house.publish(data=n) for n in range(2)]
    house.transport.script = lambda request: answer(422 if json.loads(request.body)["type"] == "batch" else 200)
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.transport.sent(1)
    await house.until(lambda: not house.node.engine.board.turns.in_flight)
    for event in events:
        wait = await wait_of(house, event, endpoint)
        assert wait is not None
        assert (wait.code, wait.until) == (Hold.RATE, house.clock.now_ms() + 900_000)
