"""Handshakes and heartbeats of endpoints in the format of Asana, on a whole node."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.model import Endpoint, Environment
from posthouse.core.rules import Format
from posthouse.core.signature import generate_secret
from posthouse.core.waiting import Hold
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.store.protocol import Accepted
from posthouse.testing.house import House
from posthouse.testing.scripted_transport import answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

Start = Callable[..., Awaitable[House]]

HOUR_MS = 3_600_000
ELSEWHERE = "http://203.0.114.2/hook"
HEARTBEAT = b'{"events":[]}'
SECRET = "X-Hook-Secret"  # the name of a header


def good(request: Request) -> Exchange:
    """Answer as a receiver does that knows Asana."""
    secret = request.headers.get(SECRET)
    headers = () if secret is None else ((SECRET, secret),)
    return msgspec.structs.replace(answer(200), headers=headers)


def silent(_: Request) -> Exchange:
    """Answer well, and send no secret back."""
    return answer(200)


async def asana(house: House, script: Callable[[Request], Exchange] = good, **fields: Any) -> Endpoint:
    """An endpoint in the format of Asana, with all that its first moment brings."""
    house.transport.script = script
    endpoint = await house.endpoint(format=Format.ASANA, success="200,204", **fields)
    await house.quiet()
    return endpoint


async def pass_time(house: House, ms: int, *, step_ms: int = 1_000) -> None:
    """Let time pass step by step, also for what is sent besides deliveries."""
    for passed in range(0, ms, step_ms):
        await house.pass_time(min(step_ms, ms - passed), step_ms=step_ms)
        house.node.engine._greeter.look()
        await house.quiet()


def handshakes(house: House) -> list[Request]:
    return [request for request in house.transport.requests if SECRET in request.headers]


def heartbeats(house: House) -> list[Request]:
    return [request for request in house.transport.requests if request.body == HEARTBEAT]


def deliveries(house: House) -> list[Request]:
    return [r for r in house.transport.requests if SECRET not in r.headers and r.body != HEARTBEAT]


async def change(house: House, endpoint: Endpoint, **fields: Any) -> None:
    name = make_id(ENDPOINT, endpoint.key)
    await house.node.gateway.endpoints.update(Environment.LIVE, name, EndpointChange(**fields))
    await house.quiet()


async def waits_for(house: House, event: Accepted, endpoint: Endpoint) -> tuple[str, int | None]:
    detail = await house.node.gateway.deliveries.get(Environment.LIVE, delivery_id(event.key, endpoint.key))
    assert detail.waits_for is not None
    return detail.waits_for.code, detail.waits_for.until


# -- the handshake --------------------------------------------------------------------------


async def test_nothing_goes_out_before_the_handshake_is_answered(house: House) -> None:
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda request: answered if SECRET in request.headers else answer()
    endpoint = await house.endpoint(format=Format.ASANA)
    events = [await house.publish() for _ in range(3)]
    (request,) = await house.transport.sent(1)
    assert (request.url, request.body) == (endpoint.url, b"{}")
    assert request.headers[SECRET] == endpoint.secrets[0].value
    await house.pass_time(5_000, hanging=1)
    assert house.transport.requests == [request], "one at a time, and nothing beside it"
    assert await waits_for(house, events[0], endpoint) == (Hold.HANDSHAKE, None)
    assert house.node.engine.condition(endpoint.key).state == "ok"
    answered.set_result(good(request))
    await house.settled(3)
    assert len(handshakes(house)) == 1
    for event in events:
        assert (await house.delivery(event, endpoint)).state is State.DELIVERED
    assert (await house.books()).imbalance == 0


@pytest.mark.parametrize(
    "script",
    [
        silent,
        lambda _: msgspec.structs.replace(answer(200), headers=((SECRET, "whsec_another"),)),
        lambda request: msgspec.structs.replace(good(request), status=201),
        lambda request: msgspec.structs.replace(answer(500), headers=good(request).headers),
        lambda _: answer(410),
        lambda _: broken(Failure.REFUSED),
    ],
    ids=["no echo", "another secret", "another status", "a failure", "gone", "no answer"],
)
async def test_a_wrong_answer_is_asked_again_with_growing_waits(
    house: House, script: Callable[[Request], Exchange]
) -> None:
    endpoint = await asana(house, script)
    event = await house.publish()
    began = house.clock.now_ms()
    at = [0]
    while len(at) < 9:
        code, until = await waits_for(house, event, endpoint)
        assert code == Hold.HANDSHAKE
        assert until is not None
        await pass_time(house, until - house.clock.now_ms() - 1, step_ms=HOUR_MS)
        assert len(handshakes(house)) == len(at)
        await pass_time(house, 1)
        at.append(house.clock.now_ms() - began)
        assert len(handshakes(house)) == len(at)
    assert [(b - a) // 1_000 for a, b in pairwise(at)] == [10, 20, 40, 80, 160, 320, 600, 600]
    assert deliveries(house) == []
    condition = house.node.engine.condition(endpoint.key)
    assert (condition.state, condition.failing_since, condition.disables_at) == ("failing", began, None)
    record = await house.delivery(event, endpoint)
    assert (record.state, record.attempts) == (State.WAITING, 0)

    house.transport.script = good
    await pass_time(house, 600_000, step_ms=60_000)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED
    assert house.node.engine.condition(endpoint.key).state == "ok"
    assert (await house.books()).imbalance == 0


async def test_what_is_held_for_it_is_never_stuck(house: House) -> None:
    await asana(house, silent)
    await house.publish()
    await pass_time(house, 60_000, step_ms=5_000)
    assert house.node.engine._sweeper._watchdog.stuck == {}


async def test_another_url_has_to_answer_for_itself(house: House) -> None:
    endpoint = await asana(house)
    await house.publish()
    await house.settled(1)
    house.transport.script = lambda request: silent(request) if request.url == ELSEWHERE else good(request)
    await change(house, endpoint, url=ELSEWHERE)
    event = await house.publish()
    await house.quiet()
    assert [request.url for request in handshakes(house)] == [endpoint.url, ELSEWHERE]
    assert [request.url for request in deliveries(house)] == [endpoint.url]
    assert await waits_for(house, event, endpoint) == (Hold.HANDSHAKE, house.clock.now_ms() + 10_000)
    detail = await house.node.gateway.deliveries.get(Environment.LIVE, delivery_id(event.key, endpoint.key))
    assert detail.waits_for is not None
    assert detail.waits_for.message == (
        "The endpoint is to answer the handshake of its format first; "
        "the next handshake goes out at 2027-01-15T08:00:10.000Z."
    )
    house.transport.script = good
    await pass_time(house, 10_000)
    assert [request.url for request in deliveries(house)] == [endpoint.url, ELSEWHERE]


async def test_a_url_that_changes_while_one_is_asked_is_not_taken_to_have_agreed(house: House) -> None:
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda request: silent(request) if request.url == ELSEWHERE else answered
    endpoint = await house.endpoint(format=Format.ASANA)
    (first,) = await house.transport.sent(1)
    name = make_id(ENDPOINT, endpoint.key)
    await house.node.gateway.endpoints.update(Environment.LIVE, name, EndpointChange(url=ELSEWHERE))
    await house.transport.sent(2)
    answered.set_result(good(first))
    event = await house.publish()
    await house.quiet()
    assert len(house.transport.requests) == 2
    assert (await waits_for(house, event, endpoint))[0] == Hold.HANDSHAKE


async def test_a_secret_that_changes_while_the_other_is_asked_is_asked_for_too(house: House) -> None:
    answered: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    house.transport.script = lambda _: answered
    endpoint = await house.endpoint(format=Format.ASANA)
    (first,) = await house.transport.sent(1)
    issued = await house.node.gateway.endpoints.rotate_secret(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    house.transport.script = good
    answered.set_result(good(first))
    event = await house.publish()
    await house.quiet()
    assert (await waits_for(house, event, endpoint))[0] == Hold.HANDSHAKE
    await pass_time(house, 10_000)
    assert [request.headers[SECRET] for request in handshakes(house)] == [endpoint.secrets[0].value, issued.secret]
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def test_a_new_secret_signs_without_another_handshake(house: House) -> None:
    endpoint = await asana(house)
    new = generate_secret(b"n" * 32)
    await house.node.gateway.endpoints.rotate_secret(Environment.LIVE, make_id(ENDPOINT, endpoint.key), secret=new)
    await house.publish()
    await house.settled(1)
    (delivery,) = deliveries(house)
    assert delivery.headers["X-Hook-Signature"] == hmac.digest(new.encode(), delivery.body, "sha256").hex()
    assert len(handshakes(house)) == 1


async def test_an_endpoint_that_gets_the_format_is_asked_and_one_that_leaves_it_goes_on(house: House) -> None:
    house.transport.script = silent
    endpoint = await house.endpoint()
    await house.publish()
    await house.settled(1)
    await change(house, endpoint, format=Format.ASANA)
    event = await house.publish()
    await house.quiet()
    assert (len(handshakes(house)), len(deliveries(house))) == (1, 1)
    await change(house, endpoint, format=Format.RAW)
    await house.settled(2)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED
    await pass_time(house, 60_000, step_ms=5_000)
    assert len(handshakes(house)) == 1


async def test_an_endpoint_that_gets_the_format_once_more_is_asked_once_more(house: House) -> None:
    endpoint = await asana(house)
    await change(house, endpoint, format=Format.RAW)
    await change(house, endpoint, format=Format.ASANA)
    assert len(handshakes(house)) == 2


async def test_nothing_that_was_chosen_goes_to_a_url_that_was_set_in_that_moment(house: House) -> None:
    """A request that has its turn begins a moment later, and what it goes to may be another receiver by then."""
    endpoint = await asana(house)
    house.transport.script = lambda request: silent(request) if request.url == ELSEWHERE else good(request)
    desk = house.node.engine.board.find(endpoint.key)
    assert desk is not None
    event = await house.publish()
    while not desk.in_flight:  # noqa: ASYNC110 - the very turn of the loop counts
        await asyncio.sleep(0)
    (request,) = house.transport.requests
    elsewhere = msgspec.structs.replace(desk.endpoint, url=ELSEWHERE)
    house.node.gateway.catalogue.apply_endpoint(elsewhere, house.node.gateway.catalogue.version)
    house.node.engine.endpoint_changed(elsewhere)
    await house.quiet()
    assert [r.url for r in house.transport.requests] == [request.url, ELSEWHERE]
    assert [SECRET in r.headers for r in house.transport.requests] == [True, True]
    record = await house.delivery(event, endpoint)
    assert (record.state, record.attempts) == (State.WAITING, 0)


async def test_any_other_change_keeps_what_was_agreed(house: House) -> None:
    endpoint = await asana(house)
    await change(house, endpoint, rate="50/s", headers=(("X-Own", "1"),), description="d")
    await house.publish()
    await house.settled(1)
    assert (len(handshakes(house)), len(deliveries(house))) == (1, 1)
    assert deliveries(house)[0].headers["X-Own"] == "1"


async def test_a_paused_endpoint_is_not_asked_before_it_is_resumed(house: House) -> None:
    endpoint = await asana(house, active=False)
    event = await house.publish()
    await pass_time(house, 60_000, step_ms=5_000)
    assert house.transport.requests == []
    assert (await waits_for(house, event, endpoint))[0] == Hold.ENDPOINT_PAUSED
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await house.settled(1)
    assert [SECRET in request.headers for request in house.transport.requests] == [True, False]


async def test_a_deleted_endpoint_is_asked_no_more(house: House) -> None:
    endpoint = await asana(house, silent)
    await house.node.gateway.endpoints.delete(Environment.LIVE, make_id(ENDPOINT, endpoint.key))
    await pass_time(house, 60_000, step_ms=5_000)
    assert len(house.transport.requests) == 1


async def test_a_restart_keeps_that_it_was_answered(start: Start) -> None:
    house = await start()
    endpoint = await asana(house)
    await house.node.stop()
    again = await start(house.clock)
    again.transport.script = silent
    event = await again.publish()
    await again.settled(1)
    assert handshakes(again) == []
    assert (await again.delivery(event, endpoint)).state is State.DELIVERED


async def test_a_restart_asks_again_whoever_has_not_answered(start: Start) -> None:
    """Also an endpoint that is owed nothing yet."""
    house = await start()
    endpoint = await asana(house, silent)
    await house.node.stop()
    again = await start(house.clock)
    again.transport.script = good
    await again.transport.sent(1)
    await again.quiet()
    event = await again.publish()
    await again.settled(1)
    assert len(handshakes(again)) == 1
    assert (await again.delivery(event, endpoint)).state is State.DELIVERED


async def test_an_answer_that_cannot_be_kept_is_asked_for_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.transport.script = silent
    endpoint = await house.endpoint(format=Format.ASANA)
    await house.quiet()
    event = await house.publish()

    async def refuse(*_args: object, **_fields: object) -> int:
        raise StoreUnavailable("not now")

    house.transport.script = good
    with monkeypatch.context() as patch:
        patch.setattr(house.ports.store.catalogue, "put_endpoint", refuse)
        await pass_time(house, 10_000)
    assert (len(handshakes(house)), len(deliveries(house))) == (2, 0)
    await pass_time(house, 20_000)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED


async def test_an_endpoint_that_was_down_elsewhere_gets_what_waited_once_it_is_greeted(house: House) -> None:
    endpoint = await asana(house, retry="custom:1h,1h")
    house.transport.script = lambda _: broken(Failure.REFUSED)
    for _ in range(5):
        await house.publish()
        await house.quiet()
    assert house.node.engine.condition(endpoint.key).state == "down"
    house.transport.script = good
    await change(house, endpoint, url=ELSEWHERE)
    await pass_time(house, 2_000, step_ms=100)
    assert (await house.states())[State.DELIVERED] == 5
    assert house.node.engine.condition(endpoint.key).state == "ok"


async def test_handshakes_take_part_in_the_bounds_of_the_node(house: House) -> None:
    """Many endpoints that do not answer in time leave room to others."""
    open_ones: list[asyncio.Future[Exchange]] = []

    def hang(request: Request) -> Exchange | asyncio.Future[Exchange]:
        if SECRET not in request.headers:
            return answer()
        open_ones.append(asyncio.get_running_loop().create_future())
        return open_ones[-1]

    house.transport.script = hang
    house.node.engine.board.turns._slow_max = 4
    for number in range(10):
        await house.endpoint("never", url=f"http://203.0.114.{number + 1}/hook", format=Format.ASANA, proven=False)
    await house.transport.sent(4)
    house.node.engine._greeter.look()
    await asyncio.sleep(0)
    assert len(house.transport.requests) == 4
    assert house.node.engine.board.turns.in_flight == 4
    while open_ones:
        open_ones.pop().set_result(broken(Failure.READ_TIMEOUT))
        await house.quiet(hanging=len(open_ones))
    assert house.node.engine.board.turns.in_flight == 0


# -- heartbeats -----------------------------------------------------------------------------


async def test_the_heart_beats_every_eight_hours_from_the_handshake_on(house: House) -> None:
    endpoint = await asana(house)
    await pass_time(house, 8 * HOUR_MS - 1_000, step_ms=HOUR_MS)
    assert heartbeats(house) == []
    await pass_time(house, 1_000)
    (beat,) = heartbeats(house)
    key = endpoint.secrets[0].value.encode()
    assert beat.headers["X-Hook-Signature"] == hmac.digest(key, HEARTBEAT, "sha256").hex()
    await pass_time(house, 16 * HOUR_MS, step_ms=HOUR_MS)
    assert len(heartbeats(house)) == 3
    assert len(handshakes(house)) == 1
    assert (await house.books()).owed == 0, "it is no delivery"


async def test_after_a_restart_the_first_heartbeat_comes_within_eight_hours(start: Start) -> None:
    """Also of an endpoint that is owed nothing."""
    house = await start()
    await asana(house)
    await house.node.stop()
    again = await start(house.clock)
    await pass_time(again, 8 * HOUR_MS, step_ms=HOUR_MS // 4)
    assert len(heartbeats(again)) == 1
    assert handshakes(again) == []


async def test_an_idle_endpoint_is_not_forgotten_while_its_heart_is_to_beat(house: House) -> None:
    await asana(house)
    house.node.engine.board._forget_idle()
    await pass_time(house, 8 * HOUR_MS, step_ms=HOUR_MS)
    assert len(heartbeats(house)) == 1


async def test_a_paused_endpoint_gets_no_heartbeat_and_other_formats_never_do(house: House) -> None:
    endpoint = await asana(house)
    await house.endpoint(url=ELSEWHERE)
    name = make_id(ENDPOINT, endpoint.key)
    await house.node.gateway.endpoints.pause(Environment.LIVE, name)
    await pass_time(house, 24 * HOUR_MS, step_ms=HOUR_MS)
    assert heartbeats(house) == []
    await house.node.gateway.endpoints.resume(Environment.LIVE, name)
    await house.quiet()
    assert [request.url for request in heartbeats(house)] == [endpoint.url]
    await house.node.gateway.endpoints.delete(Environment.LIVE, name)
    await pass_time(house, 24 * HOUR_MS, step_ms=HOUR_MS)
    assert len(heartbeats(house)) == 1


async def test_heartbeats_that_fail_count_for_the_endpoint_which_gets_none_while_it_is_down(house: House) -> None:
    endpoint = await asana(house, disable_after_days=None)
    house.transport.script = lambda _: answer(500)
    await pass_time(house, 8 * HOUR_MS, step_ms=HOUR_MS)
    condition = house.node.engine.condition(endpoint.key)
    assert (condition.state, condition.failing_since) == ("failing", house.clock.now_ms())
    await pass_time(house, 8 * 9 * HOUR_MS, step_ms=HOUR_MS)
    assert house.node.engine.condition(endpoint.key).state == "down"
    assert len(heartbeats(house)) == 5, "then only probes look whether it is up, and there is nothing to send"
    house.transport.script = good
    event = await house.publish()
    await pass_time(house, 2_000)
    assert (await house.delivery(event, endpoint)).state is State.DELIVERED
    await pass_time(house, 8 * HOUR_MS, step_ms=HOUR_MS)
    assert len(heartbeats(house)) == 6


async def test_a_heartbeat_waits_until_an_endpoint_takes_requests_again(house: House) -> None:
    endpoint = await asana(house)
    await pass_time(house, 8 * HOUR_MS - 60_000, step_ms=HOUR_MS)
    house.transport.script = lambda _: answer(429, retry_after="120")
    await house.publish()
    await house.quiet()
    house.transport.script = good
    await pass_time(house, 110_000, step_ms=10_000)
    assert heartbeats(house) == []
    await pass_time(house, 20_000, step_ms=1_000)
    assert [request.url for request in heartbeats(house)] == [endpoint.url]
