"""What all senders have in common: time, the books, and what a manner makes of an answer."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.drills.senders.conftest import URL, World

from posthouse.drills.senders.books import Attempt, Books, Event, Fate
from posthouse.drills.senders.dispatch import Dispatch, Manner, Outcome, Parcel, ship_all
from posthouse.drills.senders.wire import Failure, Request
from posthouse.providers.index import PRESETS
from posthouse.providers.preset import SenderRules

A = Event(key="a", type="t", data=b"1", identity="a")
B = Event(key="b", type="t", data=b"2")


@pytest.mark.parametrize("name", ["cornerstone", "asana", "gocardless", "connectwise", "autotask", "boldpenguin"])
@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 408, 409, 419, 429, 500, 502, 503, 504])
def test_what_is_retried_stands_in_the_preset(name: str, status: int) -> None:
    rules = PRESETS[name].sender
    outcome = Manner(rules=rules).outcome(status)
    assert (outcome is Outcome.TAKEN) is (status < 300)
    assert (outcome is Outcome.AGAIN) is (status >= 300 and rules.retries(status))


def test_the_overload_answer_of_each_preset_is_retried_by_its_sender() -> None:
    for name in ("cornerstone", "asana", "gocardless", "connectwise", "autotask", "boldpenguin"):
        preset = PRESETS[name]
        assert Manner(rules=preset.sender).outcome(preset.answers.overload) is Outcome.AGAIN


def test_the_books_count_each_event_once() -> None:
    books = Books()
    for event in (A, B):
        books.open(event.key, event.type)
    with pytest.raises(ValueError, match="already"):
        books.open("a", "t")
    books.attempted([A, B], Attempt(0.0, 503), began_at=5)
    books.settle(["a", "b"], Fate.RETRYING)
    books.attempted([A], Attempt(1.0, Failure.TIMEOUT), began_at=6)
    books.attempted([A], Attempt(2.0, 200), began_at=7)
    books.attempted([], Attempt(2.0, 200), began_at=7)
    books.settle(["a"], Fate.DELIVERED)
    totals = books.totals()
    assert (totals.events, totals.sent, totals.delivered, totals.retried) == (2, 2, 1, 1)
    assert (totals.retrying, totals.waiting, totals.lost, totals.expired) == (1, 0, 0, 0)
    assert (totals.requests, totals.heartbeats) == (4, 1)
    assert totals.codes == {"200": 2, "503": 1, "timeout": 1}
    assert not totals.is_complete
    assert books.named(Fate.RETRYING) == ["b"]
    entry = books.entries["a"]
    assert (entry.first_sent_at, entry.digest, entry.statuses) == (5, A.digest, [503, Failure.TIMEOUT, 200])


async def test_what_is_due_comes_at_its_rate(world: World) -> None:
    async def take(total: int, rate: float, at_once: int, found: list[tuple[float, int]]) -> None:
        due = world.pace.due(total, rate, at_once=at_once)
        found.extend([(world.clock.monotonic(), number) async for number in due])

    steadily: list[tuple[float, int]] = []
    await world.until(take(3, 2.0, 1, steadily))
    assert steadily == [(0.0, 1), (0.5, 1), (1.0, 1)]
    at_once: list[tuple[float, int]] = []
    await world.until(take(5, float("inf"), 2, at_once))
    assert at_once == [(1.0, 2), (1.0, 2), (1.0, 1)]


async def test_who_is_behind_takes_several_at_once(world: World) -> None:
    found = []
    async for number in world.pace.due(10, 1.0, at_once=4):
        found.append(number)
        world.clock.advance(60_000)
    assert found == [1, 4, 4, 1]


async def test_rates_are_of_this_machine_and_spans_of_the_sender() -> None:
    world = World(speed=10.0, deadline_speed=4.0)

    async def live() -> None:
        await world.pace.wait(30)
        assert (world.clock.monotonic(), world.pace.elapsed_s()) == (3.0, 30.0)
        async for _ in world.pace.due(2, 1.0):
            pass

    await world.until(live())
    assert (world.clock.monotonic(), world.pace.elapsed_s()) == (4.0, 40.0)
    assert world.pace.deadline_s(10) == 2.5


async def test_who_has_given_up_sends_nothing_more(world: World) -> None:
    books = Books()
    manner = Manner(rules=SenderRules(delays_s=(1, 1, 1, 1), gives_up_after=3))
    dispatch = Dispatch(manner, wire=world.wire, pace=world.pace, books=books)
    world.wire.usual = 500
    for event in (A, B):
        books.open(event.key, event.type)
        await world.until(ship(dispatch, event))
    assert dispatch.gave_up_at_s == 2.0
    assert len(world.wire.requests) == 3
    assert books.named(Fate.LOST) == ["a", "b"]


async def test_who_is_halted_sends_nothing(world: World) -> None:
    books = Books()
    dispatch = Dispatch(Manner(rules=SenderRules()), wire=world.wire, pace=world.pace, books=books)
    books.open("a", "t")
    dispatch.halt()
    await world.until(ship(dispatch, A))
    assert books.named(Fate.WAITING) == ["a"]
    dispatch.resume()
    await world.until(ship(dispatch, A))
    assert books.named(Fate.DELIVERED) == ["a"]


async def test_no_more_are_made_than_may_be_open(world: World) -> None:
    made: list[int] = []
    shipped: list[int] = []

    async def parcels() -> AsyncIterator[Parcel]:
        async for _ in world.pace.due(10, float("inf")):
            made.append(len(shipped))
            yield Parcel((), lambda _: Request(URL))

    async def ship_slowly(_: Parcel) -> None:
        await world.pace.wait(1)
        shipped.append(1)

    await world.until(ship_all(parcels(), ship_slowly, open_max=3))
    assert len(shipped) == 10
    assert made == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]


async def ship(dispatch: Dispatch, event: Event) -> None:
    await dispatch.ship(Parcel((event,), lambda _: Request(URL)))
