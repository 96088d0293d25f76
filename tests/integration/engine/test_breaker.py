"""An endpoint that is down: what is sent to it, what that costs its deliveries, and what people are told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from posthouse.core.delivery import State
from posthouse.core.health import FAILURES_IN_A_ROW
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.model import SLOTS, Endpoint, EndpointState, Environment, Lane, Obligation
from posthouse.core.waiting import Hold
from posthouse.engine.refills import FAR_FUTURE
from posthouse.store.protocol import Accepted
from posthouse.telemetry import Log
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.testing.seizing import seize
from posthouse.transport.protocol import Exchange, Failure

Start = Callable[..., Awaitable[House]]

DAY_MS = 86_400_000


def refuse(house: House) -> None:
    house.transport.script = lambda _: broken(Failure.REFUSED)


async def go_down(house: House, count: int = FAILURES_IN_A_ROW, **fields: Any) -> tuple[Endpoint, list[Accepted]]:
    """An endpoint that refused so many events, one after the other."""
    refuse(house)
    endpoint = await house.endpoint(**fields)
    events = []
    for _ in range(count):
        events.append(await house.publish())
        await house.quiet()
    return endpoint, events


def state_of(house: House, endpoint: Endpoint) -> str:
    return house.node.engine.condition(endpoint.key).state


async def open_of(house: House, endpoint: Endpoint) -> list[Obligation]:
    """What is owed in the retry lane, in its order."""
    head = await house.ports.store.work.fetch(endpoint.key, Lane.RETRY, now=FAR_FUTURE, limit=1_000, bytes_max=1 << 20)
    return [work.obligation for work in head.work]


async def test_failures_of_several_events_open_it_and_nothing_but_probes_goes_out(house: House) -> None:
    endpoint, _ = await go_down(house)
    assert state_of(house, endpoint) == "down"
    waiting = [await house.publish() for _ in range(20)]
    await house.quiet()
    assert len(house.transport.requests) == FAILURES_IN_A_ROW
    holding = house.node.engine.holding(waiting[0].key, endpoint.key, Lane.LIVE)
    assert holding is not None
    assert holding.code == Hold.BREAKER_OPEN
    assert holding.until is not None
    assert holding.until > house.clock.now_ms()
    await house.pass_time(60_000)
    assert len(house.transport.requests) - FAILURES_IN_A_ROW == 5, "after 1, 2, 4, 8 and 16 seconds, then after 30"
    assert (await house.books()).imbalance == 0


async def test_other_endpoints_are_not_touched(house: House) -> None:
    refuse(house)
    await house.endpoint("bad")
    good = await house.endpoint("good", url="http://203.0.114.2/hook")
    house.transport.script = lambda request: answer() if request.url == good.url else broken(Failure.REFUSED)
    for _ in range(FAILURES_IN_A_ROW):
        await house.publish("bad")
    events = [await house.publish("good") for _ in range(10)]
    await house.quiet()
    assert {(await house.delivery(event, good)).state for event in events} == {State.DELIVERED}


async def test_one_probe_at_a_time(house: House) -> None:
    endpoint, _ = await go_down(house)
    for _ in range(10):
        await house.publish()
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: answered
    await house.pass_time(50_000, hanging=1)
    assert len(house.transport.requests) == FAILURES_IN_A_ROW + 1
    assert house.node.engine.condition(endpoint.key).in_flight == 1
    answered.set_result(broken(Failure.READ_TIMEOUT))
    await house.quiet()
    assert state_of(house, endpoint) == "down"


async def test_a_failed_probe_spends_nothing_of_what_is_not_due(house: House) -> None:
    endpoint, events = await go_down(house, retry="custom:1h,1h")
    before = await open_of(house, endpoint)
    await house.pass_time(120_000)
    probes = len(house.transport.requests) - FAILURES_IN_A_ROW
    assert probes >= 5
    after = await open_of(house, endpoint)
    assert [(o.event_key, o.attempts, o.due_at) for o in after] == [(o.event_key, o.attempts, o.due_at) for o in before]
    records = [await house.delivery(event, endpoint) for event in events]
    assert sum(record.attempts for record in records) == FAILURES_IN_A_ROW + probes, "each has its row all the same"
    assert max(record.attempts for record in records) - min(record.attempts for record in records) <= 2, "each in turn"


async def test_a_probe_that_is_due_is_an_attempt(house: House) -> None:
    endpoint, events = await go_down(house, retry="none")
    last = await house.publish()
    await house.pass_time(1_200)
    assert [(await house.delivery(event, endpoint)).state for event in events] == [State.EXHAUSTED] * len(events)
    record = await house.delivery(last, endpoint)
    assert (record.state, record.attempts) == (State.EXHAUSTED, 1)


async def test_an_open_breaker_stays_open_over_a_restart(start: Start) -> None:
    house = await start()
    endpoint, _ = await go_down(house)
    since = house.node.engine.condition(endpoint.key).failing_since
    await house.node.stop(drain_seconds=0)
    house.clock.advance(DAY_MS)
    house = await start(house.clock)
    refuse(house)
    condition = house.node.engine.condition(endpoint.key)
    assert (condition.state, condition.failing_since) == ("down", since)
    for _ in range(10):
        await house.publish()
    await house.quiet()
    assert len(house.transport.requests) == 1, "a probe"


async def test_what_a_stop_learns_of_an_endpoint_is_known_in_the_next_life(start: Start) -> None:
    """Its requests end while the node ends."""
    house = await start()
    endpoint = await house.endpoint()
    answers: list[asyncio.Future[Exchange]] = []

    def hang(_: object) -> asyncio.Future[Exchange]:
        answers.append(asyncio.get_running_loop().create_future())
        return answers[-1]

    house.transport.script = hang
    for _ in range(FAILURES_IN_A_ROW):
        await house.publish()
    await house.transport.sent(FAILURES_IN_A_ROW)
    stopping = asyncio.ensure_future(house.node.stop(drain_seconds=30))
    await house.until(lambda: not house.node.engine._dispatcher.is_running)
    for pending in answers:
        pending.set_result(broken(Failure.REFUSED))
    await stopping
    house = await start(house.clock)
    assert state_of(house, endpoint) == "down"


async def test_an_open_breaker_stays_open_when_another_node_had_the_endpoint_in_between(start: Start) -> None:
    """Whoever works for an endpoint begins with what the one before knew."""
    house = await start(alone=False)
    endpoint, _ = await go_down(house)
    await house.pass_time(40_000)
    ownership, engine = house.ports.store.ownership, house.node.engine
    await seize(ownership, "rival", now=house.clock.now_ms())
    await house.pass_time(1_000)
    assert engine.leases.epochs == {}
    await ownership.leave("rival")
    sent = len(house.transport.requests)
    await house.pass_time(1_000)
    assert len(engine.leases.epochs) == SLOTS
    assert state_of(house, endpoint) == "down"
    for _ in range(FAILURES_IN_A_ROW):
        await house.publish()
    await house.quiet()
    assert len(house.transport.requests) - sent <= 1, "a probe"


async def test_one_poison_event_never_closes_the_endpoint_for_others(house: House) -> None:
    endpoint = await house.endpoint(retry="custom:" + ",".join(["1s"] * 30))
    house.transport.script = lambda request: answer(500 if b"poison" in request.body else 200)
    poison = await house.publish(data="poison")
    for _ in range(40):
        await house.pass_time(2_000, step_ms=2_000)
        assert state_of(house, endpoint) != "down"
    record = await house.delivery(poison, endpoint)
    assert (record.state, record.attempts) == (State.EXHAUSTED, 31)
    good = await house.publish()
    await house.quiet()
    assert (await house.delivery(good, endpoint)).state is State.DELIVERED


# -- the rule that disables ---------------------------------------------------------------------


async def test_warnings_come_before_a_rule_disables_and_nothing_is_deleted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    passed = 0
    monkeypatch.setattr(
        "posthouse.engine.warden.log",
        lambda name, **_: told.append(f"{round(passed / DAY_MS, 2)}") if name is Log.ENDPOINT_FAILING else None,
    )
    endpoint, events = await go_down(house, disable_after_days=10)
    step = DAY_MS // 4
    while passed < 10 * DAY_MS:
        passed += step
        await house.pass_time(step, step_ms=step)
        found = house.node.gateway.endpoints.get(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
        assert found.state is (EndpointState.ACTIVE if passed < 10 * DAY_MS else EndpointState.DISABLED)
    assert told == ["5.0", "7.5", "9.0"]
    assert found.state_reason == "failing"
    assert (await house.states())[State.RETRYING] == len(events)

    house.transport.script = lambda _: answer()
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.quiet()
    assert state_of(house, endpoint) == "recovering"
    await house.pass_time(1_000, step_ms=20)
    assert (await house.states())[State.DELIVERED] == len(events), "although they were due later"


async def test_who_resumes_a_disabled_endpoint_gives_it_all_its_days_again(start: Start) -> None:
    """Also in a life that began while it was disabled, and when it was owed nothing then."""
    house = await start()
    endpoint, _ = await go_down(house, disable_after_days=1, retry="none")
    await house.pass_time(DAY_MS, step_ms=DAY_MS // 8)
    await house.node.stop(drain_seconds=0)
    house = await start(house.clock)
    refuse(house)
    name = make_id(ENDPOINT, endpoint.key)
    assert house.node.gateway.endpoints.get(Environment.LIVE, name).state is EndpointState.DISABLED
    await house.node.gateway.endpoints.resume(Environment.LIVE, name)
    await house.publish()
    await house.pass_time(60_000, step_ms=5_000)
    assert house.node.gateway.endpoints.get(Environment.LIVE, name).state is EndpointState.ACTIVE
