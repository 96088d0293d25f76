"""Asana: the handshake, one queue, its back-off, and the end after a day."""

import itertools

import msgspec
import pytest
from tests.unit.drills.senders.conftest import URL, Result, World, only, read, received, said, written

from posthouse.drills.http_client import Answer
from posthouse.drills.plan import DrillFailed
from posthouse.drills.senders.asana import Asana
from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.wire import Failure, Request
from posthouse.providers.senders.asana import PRESET

DAY_S = 86_400


def sender_in(world: World, **options: object) -> Asana:
    return Asana(URL, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


def echo(request: Request) -> Answer:
    """What the preset answers."""
    assert PRESET.handshake is not None
    found = PRESET.handshake(received(request), [])
    return Answer(200) if found is None else Answer(found.reply.status, found.reply.headers)


def with_events(world: World, secret: str) -> list[float]:
    """When requests came that were no heartbeat."""
    return [
        at
        for at, request in zip(world.wire.at_s, world.wire.requests, strict=True)
        if read("asana", request, secret).items
    ]


async def test_the_secret_comes_along_and_has_to_come_back(world: World) -> None:
    sender = sender_in(world)
    world.wire.usual = echo
    await sender.shake_hands()
    assert PRESET.handshake is not None
    found = PRESET.handshake(received(world.wire.requests[0]), [])
    assert found is not None
    assert found.secret == sender.secret


@pytest.mark.parametrize(
    "result",
    [200, Answer(200, (("X-Hook-Secret", "another"),)), 404, Failure.REFUSED, Answer(200, (("X-Hook-Secret", "é"),))],
)
async def test_without_it_there_is_no_webhook(world: World, result: Result) -> None:
    sender = sender_in(world)
    world.wire.play(result)
    with pytest.raises(DrillFailed):
        await sender.shake_hands()


async def test_the_preset_reads_exactly_what_was_sent(world: World) -> None:
    sender = sender_in(world, events_per_request=4)
    sender.happen(30)
    await world.until(sender.run(20, 5.0))
    readings = [read("asana", request, sender.secret) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=False)
    assert len(sender.books.entries) == sender.books.totals().delivered == 50
    assert max(len(reading.items) for reading in readings) == 4
    assert not any(item.contradiction for reading in readings for item in reading.items)
    assert "id" not in msgspec.json.decode(readings[-1].items[0].data)


async def test_the_first_heartbeat_comes_with_the_webhook_and_then_every_eight_hours(world: World) -> None:
    sender = sender_in(world)
    await world.until(sender.run(2, 1 / 80_000))
    beats = [
        at
        for at, request in zip(world.wire.at_s, world.wire.requests, strict=True)
        if read("asana", request, sender.secret).is_heartbeat
    ]
    assert beats == [0, 28_800, 57_600]


@pytest.mark.parametrize("again", [201, 202, 299, 302, 400, 410, 429, 500, 503, Failure.TIMEOUT, Failure.REFUSED])
async def test_only_200_and_204_are_good(world: World, again: int | Failure) -> None:
    sender = sender_in(world)
    world.wire.play(200, again, again, 204)  # the first is the heartbeat
    await world.until(sender.run(1, 1.0))
    assert only(sender.books).statuses == [again, again, 204]
    assert only(sender.books).fate is Fate.DELIVERED
    at_s = with_events(world, sender.secret)
    assert at_s == [0, 10, 30]


async def test_the_waits_double_up_to_an_hour_and_after_a_day_the_webhook_is_deleted(world: World) -> None:
    sender = sender_in(world)
    world.wire.usual = 503
    sender.happen(150)
    await world.until(sender.run(0, 1.0))
    at_s = with_events(world, sender.secret)
    waits = [later - at for at, later in itertools.pairwise(at_s)]
    assert waits[:9] == [10 * 2**number for number in range(9)]
    assert set(waits[9:]) == {3_600}
    assert at_s[-1] < DAY_S < at_s[-1] + 3_600
    assert world.wire.at_s[-1] == DAY_S, "a heartbeat was the last straw"
    assert sender.is_deleted
    assert sender.books.totals().lost == 150
    assert sender.books.totals().sent == 100
    before = len(world.wire.requests)
    sender.happen(1)
    await world.until(sender.run(0, 1.0))
    assert len(world.wire.requests) == before
    assert sender.books.totals().lost == 151


async def test_one_success_within_the_day_saves_the_webhook(world: World) -> None:
    sender = sender_in(world)
    world.wire.usual = lambda _: 200 if world.clock.monotonic() > DAY_S - 3_600 else 503
    await world.until(sender.run(1, 1.0))
    assert only(sender.books).fate is Fate.DELIVERED
    assert not sender.is_deleted


async def test_what_is_behind_waits_too(world: World) -> None:
    sender = sender_in(world, events_per_request=1)
    world.wire.play(200, 503, 503)
    sender.happen(3)
    await world.until(sender.run(0, 1.0))
    assert with_events(world, sender.secret) == [0, 10, 30, 30, 30]
    keys = list(sender.books.entries)
    assert [len(sender.books.entries[key].attempts) for key in keys] == [3, 1, 1]
