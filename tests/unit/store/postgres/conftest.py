"""Lanes on connections that answer as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres import lane as lane_module
from posthouse.store.postgres.dial import Wire
from posthouse.store.postgres.lane import Lane, LaneRules
from posthouse.store.postgres.presence import Presence
from posthouse.telemetry import Metrics
from posthouse.testing.postgres.wire import ScriptedWire

DEADLINE_S = 0.05


class Exchange:
    """Gives out connections, one after the other; knows which of them the server has forgotten."""

    def __init__(self) -> None:
        self.wires = [ScriptedWire(pid=pid) for pid in range(1, 6)]
        self.dialled = 0
        self.refuses = False
        self.refused = 0
        self.gone: set[int] = set()
        self.looks = 0

    async def dial(self) -> Wire:
        """The next connection."""
        await asyncio.sleep(0)
        if self.refuses:
            self.refused += 1
            raise StoreUnavailable("Nobody answers.")
        self.dialled += 1
        return self.wires[self.dialled - 1]

    async def is_gone(self, wire: Wire) -> bool:
        """Whether its backend has ended."""
        self.looks += 1
        return wire.pid in self.gone


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def make_lane(exchange: Exchange) -> Callable[..., Lane]:
    def make(*, interval_s: float = 0.0) -> Lane:
        rules = LaneRules(name="test", number=17, deadline_s=DEADLINE_S, interval_s=interval_s)
        presence = Presence(asyncio.get_running_loop().time)
        return Lane(rules, exchange.dial, is_gone=exchange.is_gone, metrics=Metrics(), presence=presence)

    return make


@pytest.fixture
async def lane(make_lane: Callable[..., Lane], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lane]:
    monkeypatch.setattr(lane_module, "LOOK_S", 0.01)
    monkeypatch.setattr(lane_module, "PAUSE_S", 0.01)
    monkeypatch.setattr(lane_module, "FINISH_S", 0.5)
    lane = make_lane()
    await lane.open()
    yield lane
    await lane.close()


@pytest.fixture
def wire(exchange: Exchange) -> ScriptedWire:
    """The lane's first connection."""
    return exchange.wires[0]
