"""An endpoint that answers again gets what waited: all of it, in order, and not all at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, EVENT, make_id
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.core.waiting import Hold
from posthouse.engine.refills import FAR_FUTURE
from posthouse.store.protocol import Accepted
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.transport.protocol import Exchange, Failure

Start = Callable[..., Awaitable[House]]

RAMP = 50.0  #: requests a second to an endpoint of which nothing else is known
FAILED, NEW = 12, 60


class Watch:
    """When each request went out, by the clock in hand."""

    def __init__(self, house: House) -> None:
        self.times: list[float] = []
        self.ids: list[str] = []
        house.transport.script = self._answer
        self._house = house

    def _answer(self, request: Any) -> Any:
        self.times.append(self._house.clock.monotonic())
        self.ids.append(request.headers["webhook-id"])
        return answer()


async def wait_for_it(house: House, **fields: Any) -> tuple[Endpoint, list[Accepted], list[Accepted]]:
    """An endpoint that is down, events that failed there and are due in hours, and events that it has not seen."""
    endpoint = await house.endpoint(retry="custom:5h,5h,5h", active=False, **fields)
    failed = [await house.publish(data=n) for n in range(FAILED)]
    house.transport.script = lambda _: answer(500)
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.pass_time(600, step_ms=100)
    assert house.node.engine.condition(endpoint.key).state == "down"
    new = [await house.publish(data=n) for n in range(NEW)]
    await house.quiet()
    return endpoint, failed, new


def check_ramp(times: list[float], rate: float = RAMP) -> None:
    """In no span more than the rate allows, but for what makes up for late timers and the first one."""
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= rate * (times[last] - start + 0.05) + 2


async def test_all_that_waited_is_pulled_forward_in_order_and_with_a_ramp(house: House) -> None:
    endpoint, failed, new = await wait_for_it(house)
    dues = await house.ports.store.work.fetch(
        endpoint.key, Lane.RETRY, now=FAR_FUTURE, limit=1_000, bytes_max=1 << 20, after=None
    )
    retries = [work.event.id for work in dues.work]
    watch = Watch(house)
    await house.pass_time(1_200, step_ms=1_200)
    assert house.node.engine.condition(endpoint.key).state == "recovering"
    holding = house.node.engine.holding(new[-1].key, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.RECOVERING
    assert house.node.engine.condition(endpoint.key).rate_now == RAMP
    await house.pass_time(3_000, step_ms=10)
    assert (await house.states())[State.DELIVERED] == len(failed) + len(new), "hours before they were due"
    assert len(watch.ids) == len(set(watch.ids)), "each once"
    assert [name for name in watch.ids if name in retries] == [name for name in retries if name in watch.ids]
    fresh = [event.id for event in new]
    assert [name for name in watch.ids if name in fresh] == fresh
    check_ramp(watch.times)
    assert watch.times[-1] - watch.times[0] < 2 * (len(failed) + len(new)) / RAMP, "and it is used"
    await house.pass_time(1_000)
    assert house.node.engine.condition(endpoint.key).state == "ok"


async def test_a_request_that_fails_after_another_one_went_well_waits_no_longer_than_the_rest(house: House) -> None:
    """It was in hand when the others were pulled forward, and its own next attempt is due in hours."""
    endpoint = await house.endpoint(retry="custom:5h,5h,5h", timeout_ms=30_000)
    late: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: late
    slow = await house.publish(data="slow")
    await house.transport.sent(1)
    house.transport.script = lambda _: broken(Failure.REFUSED)
    failed = [await house.publish(data=n) for n in range(FAILED)]
    await house.pass_time(100, step_ms=100, hanging=1)
    assert house.node.engine.condition(endpoint.key).state == "down"
    Watch(house)
    await house.pass_time(2_500, step_ms=100, hanging=1)
    assert (await house.states())[State.DELIVERED] == len(failed)
    assert house.node.engine.condition(endpoint.key).state == "recovering"
    late.set_result(broken(Failure.READ_TIMEOUT))
    await house.pass_time(1_000, step_ms=100)
    assert (await house.delivery(slow, endpoint)).state is State.DELIVERED
    await house.pass_time(1_000)
    assert house.node.engine.condition(endpoint.key).state == "ok"


async def test_its_own_rate_is_never_exceeded_by_the_ramp(house: House) -> None:
    await wait_for_it(house, rate="10/s")
    watch = Watch(house)
    await house.pass_time(9_000, step_ms=20)
    assert (await house.states())[State.DELIVERED] == FAILED + NEW
    check_ramp(watch.times, 10)


async def test_a_recovery_is_finished_by_the_next_life(start: Start) -> None:
    house = await start()
    endpoint, failed, new = await wait_for_it(house)
    Watch(house)
    await house.pass_time(1_200, step_ms=1_200)
    await house.pass_time(200, step_ms=20)
    done = (await house.states())[State.DELIVERED]
    assert 0 < done < len(failed) + len(new)
    await house.node.stop(drain_seconds=0)
    house = await start(house.clock)
    watch = Watch(house)
    assert house.node.engine.condition(endpoint.key).state == "recovering"
    await house.pass_time(3_000, step_ms=10)
    assert (await house.states())[State.DELIVERED] == len(failed) + len(new)
    check_ramp(watch.times)


async def test_one_that_goes_down_again_waits_for_the_next_probe(house: House) -> None:
    endpoint, failed, new = await wait_for_it(house)
    Watch(house)
    await house.pass_time(1_200, step_ms=1_200)
    await house.pass_time(200, step_ms=20)
    house.transport.script = lambda _: broken(Failure.REFUSED)
    await house.pass_time(1_000, step_ms=20)
    assert house.node.engine.condition(endpoint.key).state == "down"
    assert house.node.engine.board.items == 0
    watch = Watch(house)
    await house.pass_time(2_000, step_ms=500)
    await house.pass_time(3_000, step_ms=10)
    assert (await house.states())[State.DELIVERED] == len(failed) + len(new)
    assert make_id(EVENT, new[-1].key) in watch.ids
