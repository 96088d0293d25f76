"""A node that keeps what is settled for so many days, and what is owed for ever."""

import asyncio
from pathlib import Path

from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.model import Environment
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock

DAY_MS = 86_400_000


async def test_what_is_settled_goes_when_it_is_old(tmp_path: Path) -> None:
    """What is owed is kept, and delivered once it may be."""
    clock = ManualClock()
    house = await House.start(tmp_path, clock=clock, retention_days=30)
    paused = await house.endpoint("kept")
    await house.node.gateway.endpoints.pause(Environment.LIVE, make_id(ENDPOINT, paused.key))
    await house.endpoint("gone")
    await house.publish("gone")
    await house.settled(1)
    kept = await house.publish("kept")
    await house.node.stop()

    clock.advance(32 * DAY_MS)
    house = await House.start(tmp_path, clock=clock, retention_days=30)
    while len(await house.events()) > 1:  # noqa: ASYNC110 - the node signals nothing for it
        await asyncio.sleep(0)
    assert [event.key for event in await house.events()] == [kept.key]
    await house.node.gateway.endpoints.resume(Environment.LIVE, make_id(ENDPOINT, paused.key))
    await house.settled(1)
    total = await house.books()
    assert (total.owed, total.delivered) == (2, 2)
    await house.node.stop()
