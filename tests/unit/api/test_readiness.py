"""Readiness: a real write, shared, bounded, and the node's own word."""

import asyncio

import pytest

from posthouse.api import health
from posthouse.api.health import Readiness
from posthouse.core.errors import ShuttingDown, StoreUnavailable
from posthouse.testing.manual_clock import ManualClock


class Probe:
    def __init__(self) -> None:
        self.writes = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> None:
        self.writes += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def probe() -> Probe:
    return Probe()


async def test_one_write_serves_for_a_second(probe: Probe) -> None:
    clock = ManualClock()
    ready = Readiness(probe, lambda: None, clock.monotonic)
    for _ in range(3):
        assert await ready() == b'{"status":"ready"}'
    assert probe.writes == 1
    clock.advance(1_000)
    await ready()
    assert probe.writes == 2


async def test_a_failure_is_told_and_asked_again(probe: Probe) -> None:
    clock = ManualClock()
    ready = Readiness(probe, lambda: None, clock.monotonic)
    probe.error = StoreUnavailable()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await ready()
    probe.error = None
    clock.advance(1_000)
    await ready()


async def test_a_write_that_hangs_is_unready(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS_MAX", 0.001)
    probe.open.clear()
    with pytest.raises(StoreUnavailable, match="seconds"):
        await Readiness(probe, lambda: None, ManualClock().monotonic)()


async def test_one_who_stops_waiting_stops_nobody_else(probe: Probe) -> None:
    ready = Readiness(probe, lambda: None, ManualClock().monotonic)
    probe.open.clear()
    first, second = (asyncio.ensure_future(ready()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    probe.open.set()
    assert await second == b'{"status":"ready"}'
    assert probe.writes == 1


async def test_the_node_has_the_first_word(probe: Probe) -> None:
    ready = Readiness(probe, lambda: "it is stopping", ManualClock().monotonic)
    with pytest.raises(ShuttingDown, match="it is stopping"):
        await ready()
    assert probe.writes == 0
