"""Cornerstone: what it retries by tier, its replay of 72 hours, and what expires."""

import asyncio
import itertools

import msgspec
import pytest
from tests.unit.drills.senders.conftest import URL, ScriptedWire, World, only, read, received, said, written

from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.cornerstone import Cornerstone, Tier
from posthouse.drills.senders.wire import Failure, Request
from posthouse.providers.received import content
from posthouse.providers.senders.cornerstone import PRESET

SECRET = "0f8fad5bd9cb469fa16570867728950e"
HOUR_S = 3_600


def sender_in(world: World, **options: object) -> Cornerstone:
    return Cornerstone(URL, SECRET, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


def body_of(request: Request) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(content(received(request)))
    return found


def numbers_of(wire: ScriptedWire) -> list[object]:
    return [body_of(request)["attemptNumber"] for request in wire.requests]


async def test_the_preset_reads_exactly_what_was_sent(world: World) -> None:
    sender = sender_in(world, records_per_request=7)
    sender.log(40, oldest_s=71 * HOUR_S)
    await world.until(sender.run(fresh=20, fresh_rate=50.0))
    readings = [read("cornerstone", request, SECRET) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=True)
    assert len(sender.books.entries) == sender.books.totals().delivered == 60
    assert sender.unacknowledged == 0
    offsets = sorted(item.sequence or 0 for reading in readings for item in reading.items)
    assert offsets == list(range(offsets[0], offsets[0] + 60))
    assert len({item.stream for reading in readings for item in reading.items}) == 1


async def test_ages_stand_in_the_records(world: World) -> None:
    sender = sender_in(world)
    sender.log(3, oldest_s=72 * HOUR_S - 1, newest_s=HOUR_S)
    await world.until(sender.run())
    (reading,) = [read("cornerstone", request, SECRET) for request in world.wire.requests]
    ages_s = [(world.clock.now_ms() - (item.occurred_at or 0)) / 1_000 for item in reading.items]
    assert ages_s == [72 * HOUR_S - 1, 36.5 * HOUR_S - 0.5, HOUR_S]
    lags = [msgspec.json.decode(item.data)["lag"] for item in reading.items]
    assert lags == ages_s


@pytest.mark.parametrize(
    ("tier", "retries", "span_s"), [("starter", 1, 30), ("small", 10, 1_650), ("medium", 20, 6_300)]
)
async def test_it_waits_longer_each_time_as_often_as_its_tier_says(
    world: World, tier: str, retries: int, span_s: int
) -> None:
    sender = sender_in(world, tier=Tier(tier))
    world.wire.usual = 503
    await world.until(sender.run(fresh=1))
    attempts = [
        at for at, request in zip(world.wire.at_s, world.wire.requests, strict=True) if body_of(request)["records"]
    ]
    assert [later - at for at, later in itertools.pairwise(attempts)] == [
        30 * number for number in range(1, retries + 1)
    ]
    assert attempts[-1] == span_s
    assert only(sender.books).fate is Fate.LOST
    assert only(sender.books).statuses == [503] * (retries + 1)


def test_the_smallest_tier_is_the_one_of_the_preset() -> None:
    assert Tier.STARTER.delays_s == PRESET.sender.delays_s
    assert sum(Tier.LARGE.delays_s) == pytest.approx(10.6 * HOUR_S, rel=0.01)


@pytest.mark.parametrize("again", [408, 500, 502, 503, 504, Failure.TIMEOUT, Failure.REFUSED, Failure.CUT_OFF])
async def test_what_it_sends_again(world: World, again: int | Failure) -> None:
    sender = sender_in(world)
    world.wire.play(again, again)
    await world.until(sender.run(fresh=1))
    assert world.wire.gaps_s == [30, 60]
    assert numbers_of(world.wire) == [1, 2, 3]
    assert only(sender.books).statuses == [again, again, 200]
    assert only(sender.books).fate is Fate.DELIVERED
    data = [read("cornerstone", request, SECRET).items[0].data for request in world.wire.requests]
    assert len(set(data)) == 1


@pytest.mark.parametrize("never", [301, 400, 401, 404, 410, 413, 429, 501, 505])
async def test_what_loses_the_records_until_the_next_start(world: World, never: int) -> None:
    sender = sender_in(world)
    world.wire.play(never)
    await world.until(sender.run(fresh=1))
    assert len(world.wire.requests) == 1
    assert only(sender.books).fate is Fate.LOST
    await world.until(sender.run())
    assert only(sender.books).statuses == [never, 200]
    assert only(sender.books).fate is Fate.DELIVERED


async def test_a_stop_keeps_what_was_not_acknowledged_and_a_start_replays_it(world: World) -> None:
    sender = sender_in(world, records_per_request=10)
    world.wire.usual = 503
    sender.log(30, oldest_s=HOUR_S)
    run = asyncio.create_task(sender.run())
    assert not await world.turn(run, most_s=200.0)
    sender.stop()
    assert await world.turn(run)
    assert sender.books.totals().retrying == 30
    world.wire.usual = 200
    sender.log(5)
    before = len(world.wire.requests)
    await world.until(sender.run(replay_rate=10.0))
    assert [len(read("cornerstone", each, SECRET).items) for each in world.wire.requests[before:]] == [10, 10, 10, 5]
    assert world.wire.gaps_s[before:] == [1.0, 1.0, 1.0]
    assert sender.books.totals().is_complete
    assert sender.books.totals().retried == 30


@pytest.mark.parametrize(("stopped_hours", "expired"), [(70, 0), (73, 200)])
async def test_what_is_older_than_the_retention_at_the_start_is_named(
    world: World, stopped_hours: int, expired: int
) -> None:
    sender = sender_in(world)
    sender.log(200)
    keys = list(sender.books.entries)
    world.clock.advance(stopped_hours * HOUR_S * 1_000)
    sender.log(1)
    await world.until(sender.run())
    assert sender.expired == sender.books.named(Fate.EXPIRED) == keys[:expired]
    assert sender.books.totals().delivered == 201 - expired


async def test_it_beats_every_five_minutes(world: World) -> None:
    sender = sender_in(world)
    await world.until(sender.run(fresh=2, fresh_rate=1 / 1_000))
    beats = [
        number for number, each in enumerate(world.wire.requests) if read("cornerstone", each, SECRET).is_heartbeat
    ]
    assert [world.wire.at_s[number] for number in beats] == [300, 600, 900]
    assert sender.books.totals().heartbeats == 3
    assert all(body_of(world.wire.requests[number])["attemptNumber"] == 1 for number in beats)


async def test_old_and_fresh_go_at_the_same_time_each_at_its_rate() -> None:
    world = World()
    sender = sender_in(world, records_per_request=50)
    sender.log(1_000, oldest_s=71 * HOUR_S)
    await world.until(sender.run(fresh=100, fresh_rate=10.0, replay_rate=100.0))
    counts = [len(read("cornerstone", each, SECRET).items) for each in world.wire.requests]
    old = [at for at, count in zip(world.wire.at_s, counts, strict=True) if count == 50]
    fresh = [at for at, count in zip(world.wire.at_s, counts, strict=True) if count == 1]
    assert (len(old), old[-1]) == (20, 9.5)
    assert (len(fresh), fresh[-1]) == (100, 9.9)


async def test_the_same_seed_sends_the_same() -> None:
    bodies = []
    for seed in (1, 1, 2):
        world = World(seed=seed)
        sender = sender_in(world)
        await world.until(sender.run(fresh=5))
        bodies.append([request.body for request in world.wire.requests])
    assert bodies[0] == bodies[1] != bodies[2]


async def test_speed_shortens_waits_and_not_deadlines() -> None:
    world = World(speed=1_000)
    sender = sender_in(world)
    world.wire.play(503, 503)
    await world.until(sender.run(fresh=1))
    assert world.wire.gaps_s == [0.03, 0.06]
    assert [round(attempt.at_s) for attempt in only(sender.books).attempts] == [0, 30, 90]
    assert set(world.wire.deadlines) == {(10.0, None)}
