"""An endpoint whose stored configuration cannot be used stops alone, keeps what it is owed, and says why."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, delivery_id, make_id
from posthouse.core.model import Endpoint, EndpointState, Environment
from posthouse.gateway.endpoint_input import EndpointChange
from posthouse.gateway.endpoints import REASON_INVALID
from posthouse.testing.house import House

Start = Callable[..., Awaitable[House]]

#: Columns, and values that no rule would let in.
BROKEN = {
    "schedule": ("retry", "every now and then"),
    "url": ("url", "gopher://203.0.114.1/"),
    "url with a line break": ("url", "http://203.0.114.1/\r\nx: y"),
    "header that frames": ("headers", '[["Content-Length","0"]]'),
    "header that ends early": ("headers", '[["x-a","b\\r\\nx-c: d"]]'),
    "headers of another shape": ("headers", '{"x-a":"b"}'),
    "secret": ("secrets", '[{"value":"hunter2","created_at":0,"expires_at":null}]'),
    "secrets of another shape": ("secrets", '["hunter2"]'),
    "no secret": ("secrets", "[]"),
    "pattern": ("events", '["*","order*"]'),
    "patterns of another shape": ("events", "[1]"),
    "timeout": ("timeout_ms", 1),
}


def write(directory: Path, endpoint: Endpoint, column: str, value: str | int) -> None:
    """Put a value into the store of a node that does not run."""
    connection = apsw.Connection(str(directory / "data" / "posthouse.db"))
    connection.execute(f"UPDATE endpoints SET {column} = ? WHERE key = ?", (value, endpoint.key))  # noqa: S608
    assert connection.changes() == 1
    connection.close()


async def disabled(house: House, endpoint: Endpoint) -> None:
    """Wait until the endpoint is held, in the catalogue and in the store."""

    def is_disabled() -> bool:
        now = house.node.gateway.catalogue.endpoint(endpoint.key)
        return now is not None and (now.state, now.state_reason) == (EndpointState.DISABLED, REASON_INVALID)

    await house.until(is_disabled)
    stored = await house.ports.store.catalogue.endpoint(endpoint.key)
    assert stored is not None
    assert (stored.state, stored.state_reason) == (EndpointState.DISABLED, REASON_INVALID)


@pytest.mark.parametrize(("column", "value"), BROKEN.values(), ids=BROKEN)
async def test_it_stops_alone_and_keeps_what_it_is_owed(
    start: Start, tmp_path: Path, column: str, value: str | int
) -> None:
    house = await start()
    bad = await house.endpoint(url="http://203.0.114.1/bad", active=False)
    good = await house.endpoint(url="http://203.0.114.1/good", active=False)
    before = await house.publish()
    await house.node.stop()
    write(tmp_path, bad, column, value)
    write(tmp_path, bad, "state", "active")
    write(tmp_path, good, "state", "active")

    again = await start(house.clock)
    await again.settled(1)
    await disabled(again, bad)
    after = await again.publish()
    await again.settled(2)
    assert {request.url for request in again.transport.requests} == {good.url}
    for event in (before, after):
        assert (await again.delivery(event, good)).state is State.DELIVERED
        record = await again.delivery(event, bad)
        assert (record.state, record.attempts) == (State.WAITING, 0), "nothing is discarded, no attempt is spent"
    detail = await again.node.gateway.deliveries.get(Environment.LIVE, delivery_id(before.key, bad.key))
    assert detail.waits_for is not None
    assert detail.waits_for.code == "endpoint_disabled"
    assert REASON_INVALID in detail.waits_for.message
    assert (await again.books()).imbalance == 0


async def test_corrected_and_resumed_it_gets_everything(start: Start, tmp_path: Path) -> None:
    house = await start()
    bad = await house.endpoint()
    await house.node.stop()
    write(tmp_path, bad, "retry", "every now and then")
    again = await start(house.clock)
    events = [await again.publish() for _ in range(3)]
    await disabled(again, bad)
    endpoints, name = again.node.gateway.endpoints, make_id(ENDPOINT, bad.key)
    await endpoints.resume(Environment.LIVE, name)
    await disabled(again, bad)  # nothing was corrected
    assert again.transport.requests == []
    await endpoints.update(Environment.LIVE, name, EndpointChange(retry="custom:1s"))
    await endpoints.resume(Environment.LIVE, name)
    await again.settled(3)
    for event in events:
        assert (await again.delivery(event, bad)).state is State.DELIVERED


async def test_a_secret_that_cannot_be_used_can_be_replaced(start: Start, tmp_path: Path) -> None:
    house = await start()
    bad = await house.endpoint()
    await house.node.stop()
    write(tmp_path, bad, "secrets", '[{"value":"hunter2","created_at":0,"expires_at":null}]')
    again = await start(house.clock)
    event = await again.publish()
    await disabled(again, bad)
    endpoints, name = again.node.gateway.endpoints, make_id(ENDPOINT, bad.key)
    await endpoints.rotate_secret(Environment.LIVE, name, overlap_ms=0)
    await endpoints.resume(Environment.LIVE, name)
    await again.settled(1)
    assert (await again.delivery(event, bad)).state is State.DELIVERED


async def test_an_endpoint_whose_last_secret_expires_is_held_then(start: Start, tmp_path: Path) -> None:
    """It was usable when it was looked at; unsigned requests are never sent."""
    house = await start()
    endpoint = await house.endpoint()
    await house.node.stop()
    (secret,) = endpoint.secrets
    expires_at = house.clock.now_ms() + 5_000
    text = json.dumps([{"value": secret.value, "created_at": secret.created_at, "expires_at": expires_at}])
    write(tmp_path, endpoint, "secrets", text)
    again = await start(house.clock)
    await again.publish()
    await again.settled(1)
    again.clock.advance(5_000)
    held = [await again.publish() for _ in range(3)]
    await disabled(again, endpoint)
    assert len(again.transport.requests) == 1
    for event in held:
        record = await again.delivery(event, endpoint)
        assert (record.state, record.attempts) == (State.WAITING, 0)


async def test_a_store_that_refuses_leaves_it_held_in_memory_until_it_can_be_disabled(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await start()
    bad = await house.endpoint()
    await house.node.stop()
    write(tmp_path, bad, "retry", "every now and then")
    again = await start(house.clock)

    async def refuse(*_args: object, **_fields: object) -> int:
        raise RuntimeError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(again.ports.store.catalogue, "set_endpoint_state", refuse)
        await again.publish()
        await again.node.engine._sweeper.sweep()
        assert again.transport.requests == []
    await again.node.engine._sweeper.sweep()
    await disabled(again, bad)
