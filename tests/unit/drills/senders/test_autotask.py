"""Autotask: five attempts, queues in which one event holds up the next, and the end after 25 failures."""

import pytest
from tests.unit.drills.senders.conftest import URL, World, only, read, said, written

from posthouse.drills.senders.autotask import Autotask
from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.wire import Failure, Request

SECRET = "at-test-secret"


def sender_in(world: World, **options: object) -> Autotask:
    return Autotask(URL, SECRET, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("escapes", [False, True])
async def test_the_preset_reads_exactly_what_was_sent(world: World, *, escapes: bool) -> None:
    sender = sender_in(world, webhooks=2, escapes=escapes)
    await world.until(sender.run(40, 100.0))
    readings = [read("autotask", request, SECRET) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=True)
    assert sender.books.totals().delivered == 40
    items = [item for reading in readings for item in reading.items]
    for stream in {item.stream for item in items}:
        assert [item.sequence for item in items if item.stream == stream] == list(range(1, 21))


@pytest.mark.parametrize("again", [301, 400, 401, 404, 410, 429, 500, 503, Failure.TIMEOUT, Failure.REFUSED])
async def test_all_failures_are_retried_four_times_and_then_the_event_is_dropped(
    world: World, again: int | Failure
) -> None:
    sender = sender_in(world)
    world.wire.usual = again
    await world.until(sender.run(1, 1.0))
    assert world.wire.gaps_s == [30, 30, 30, 30]
    assert only(sender.books).statuses == [again] * 5
    assert only(sender.books).fate is Fate.LOST
    assert set(world.wire.deadlines) == {(10.0, None)}


async def test_an_event_holds_up_those_of_its_type_only(world: World) -> None:
    def refuses(request: Request) -> int:
        return 503 if b'"Ticket"' in request.body and world.clock.monotonic() < 100 else 200

    sender = sender_in(world, types=("Ticket", "Company"))
    world.wire.usual = refuses
    await world.until(sender.run(6, 1_000.0))
    kinds = [read("autotask", request, SECRET).items[0].type.partition(".")[0] for request in world.wire.requests]
    at_s = [
        (kind, round(at), read("autotask", request, SECRET).items[0].sequence)
        for kind, at, request in zip(kinds, world.wire.at_s, world.wire.requests, strict=True)
    ]
    assert [each for each in at_s if each[0] == "Company"] == [("Company", 0, 2), ("Company", 0, 4), ("Company", 0, 6)]
    tickets = [(at, sequence) for kind, at, sequence in at_s if kind == "Ticket"]
    assert tickets == [(0, 1), (30, 1), (60, 1), (90, 1), (120, 1), (120, 3), (120, 5)]


async def test_a_dropped_event_lets_the_next_one_go(world: World) -> None:
    sender = sender_in(world, types=("Ticket",))
    world.wire.play(503, 503, 503, 503, 503)
    await world.until(sender.run(2, 1_000.0))
    assert [entry.fate for entry in sender.books.entries.values()] == [Fate.LOST, Fate.DELIVERED]
    assert round(world.wire.at_s[-1]) == 120


async def test_after_25_failures_in_a_row_the_webhook_is_disabled(world: World) -> None:
    sender = sender_in(world, types=("Ticket",))
    world.wire.usual = 500
    await world.until(sender.run(10, 1.0))
    assert len(world.wire.requests) == 25
    assert len(sender.disabled) == 1
    assert (sender.books.totals().lost, sender.books.totals().sent) == (10, 5)


async def test_a_success_begins_the_count_anew(world: World) -> None:
    sender = sender_in(world, types=("Ticket",))
    world.wire.play(*[500] * 24, 200, *[500] * 24)
    await world.until(sender.run(10, 1.0))
    assert sender.disabled == []
    assert sender.books.totals().lost == 8


async def test_webhooks_are_disabled_one_by_one(world: World) -> None:
    sender = sender_in(world, types=("Ticket",), webhooks=2)
    guid = sender._guids[0].encode()
    world.wire.usual = lambda request: 500 if guid in request.body else 200
    await world.until(sender.run(20, 1.0))
    assert sender.disabled == [guid.decode()]
    assert (sender.books.totals().lost, sender.books.totals().delivered) == (10, 10)
