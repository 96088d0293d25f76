"""Nodes for the tests of the engine."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock

Start = Callable[..., Awaitable[House]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts nodes, one after the other on the same directory, and stops what still runs."""
    async with AsyncExitStack() as stack:

        async def begin(clock: ManualClock | None = None, *, alone: bool = True) -> House:
            house = await House.start(tmp_path / "data", clock=clock, alone=alone)
            stack.push_async_callback(house.node.stop, drain_seconds=0)
            return house

        yield begin


@pytest.fixture
async def house(start: Start) -> House:
    """A running node on a new store."""
    return await start()
