"""Lanes that lose their connections, and who hears of it."""

import asyncio

import pytest
from tests.unit.store.postgres.conftest import DEADLINE_S, Exchange

from posthouse.core.failpoints import Failpoint
from posthouse.store.postgres.lane import Lane, LaneRules
from posthouse.store.postgres.presence import Presence
from posthouse.telemetry import Metrics
from posthouse.testing.postgres.waiting import until


@pytest.fixture
def reached() -> list[Failpoint]:
    return []


@pytest.fixture
def presence(reached: list[Failpoint]) -> Presence:
    return Presence(lambda: 0.0, reach=reached.append)


def test_who_listens_is_told_once_all_are_back(presence: Presence, reached: list[Failpoint]) -> None:
    told: list[int] = []
    presence.when_back(lambda: told.append(1))
    presence.back("a")  # it was never lost
    for lane in ("a", "b", "a"):
        presence.lost(lane)
    presence.back("a")
    assert told == []
    presence.back("b")
    assert told == [1]
    assert reached == [Failpoint.LANE_LOST, Failpoint.LANE_LOST, Failpoint.LANE_BACK, Failpoint.LANE_BACK]
    presence.lost("b")
    presence.back("b")
    assert told == [1, 1]


def make(exchange: Exchange, presence: Presence, reached: list[Failpoint]) -> Lane:
    rules = LaneRules(name="test", number=17, deadline_s=DEADLINE_S)
    return Lane(
        rules,
        exchange.dial,
        is_gone=exchange.is_gone,
        metrics=Metrics(),
        presence=presence,
        reach=reached.append,
    )


async def test_a_lane_says_what_it_comes_to(exchange: Exchange, presence: Presence, reached: list[Failpoint]) -> None:
    lane = make(exchange, presence, reached)
    await lane.open()
    await lane.single("put")
    assert reached == [
        Failpoint.COMMIT_BEGUN,
        Failpoint.COMMIT_DUE,
        Failpoint.COMMIT_SENT,
        Failpoint.COMMIT_KNOWN,
    ]
    reached.clear()
    back = asyncio.Event()
    presence.when_back(back.set)
    exchange.wires[0].break_off()
    assert reached == [Failpoint.LANE_LOST]
    assert not lane.alive
    await back.wait()
    assert reached == [Failpoint.LANE_LOST, Failpoint.LANE_BACK]
    assert lane.alive
    await lane.close()


async def test_whoever_dies_behind_what_was_sent_leaves_it_to_the_server(
    exchange: Exchange, presence: Presence
) -> None:
    def reach(failpoint: Failpoint) -> None:
        if failpoint is Failpoint.COMMIT_SENT and exchange.wires[0].asked == ["put"]:
            raise RuntimeError("killed")

    rules = LaneRules(name="test", number=17, deadline_s=DEADLINE_S)
    lane = Lane(rules, exchange.dial, is_gone=exchange.is_gone, metrics=Metrics(), presence=presence, reach=reach)
    await lane.open()
    with pytest.raises(RuntimeError, match="killed"):
        await lane.single("put")
    assert exchange.wires[0].asked == ["put"]  # nothing was cancelled, nothing was sent behind it
    await until(lambda: lane.alive)
    await lane.single("again")
    assert exchange.wires[0].asked == ["put", "again"]
    await lane.close()
