"""Draining: what becomes of rows that the store refuses, and how the loop goes on."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from posthouse.core.errors import InvalidInput, Overloaded, PosthouseError, StoreUnavailable
from posthouse.core.limits import FAULTS_MAX, OUTBOX_ROWS_MAX
from posthouse.core.model import Event
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.outbox import Drain, Outbox
from posthouse.gateway.publish import Publisher
from posthouse.gateway.routes import EventRouter
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    CatalogueSnapshot,
    OutboxDoubt,
    OutboxRow,
    OutboxStatus,
)
from posthouse.store.protocol.outbox import Deal
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock

NOW = 1_800_000_000_000


class Table:
    """An outbox in memory, in its own database or not."""

    def __init__(self, count: int, *, is_own: bool) -> None:
        self.is_own = is_own
        self.rows = [
            OutboxRow(n, f"id-{n}", "live", None, f"n.{n}", None, None, b"{}", NOW) for n in range(1, count + 1)
        ]
        self.doubts: dict[int, OutboxDoubt] = {}
        self.asked: list[int] = []  #: the limits of the drains
        self.fails: list[Exception] = []
        self.looked = asyncio.Event()
        self.closed = False

    async def drain(self, deal: Deal, *, limit: int) -> int:
        self.asked.append(limit)
        self.looked.set()
        if self.fails:
            raise self.fails.pop(0)
        rows = self.rows[:limit]
        if rows:
            self.doubts |= await deal(rows, SHELF.accept_one if self.is_own else None)
            del self.rows[: len(rows)]
        return len(rows)

    async def status(self) -> OutboxStatus:
        return OutboxStatus("table", len(self.rows), None, len(self.doubts))

    async def close(self) -> None:
        self.closed = True


class Shelf:
    """A store that refuses what ``refuses`` says."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuses: Callable[[AcceptRequest], PosthouseError | None] = lambda _: None

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        return [await self.accept_one(request) for request in requests]

    async def accept_one(self, request: AcceptRequest) -> AcceptResult:
        error = self.refuses(request)
        if error is not None:
            raise error
        self.events += [new.event for new in request.events]
        return tuple(Accepted(e.event.key, e.event.id, len(e.owed), False) for e in request.events)

    async def load(self) -> CatalogueSnapshot:
        return CatalogueSnapshot(1, (), (), ())

    def accepted(self, work: Sequence[Any]) -> None:
        assert not work, "nobody is owed anything here"


SHELF: Shelf


@pytest.fixture
def shelf() -> Shelf:
    global SHELF  # noqa: PLW0603 - the table accepts by it
    SHELF = Shelf()
    return SHELF


@pytest.fixture
async def publisher(shelf: Shelf) -> tuple[Publisher, IntakeBatcher, Metrics]:
    catalogue = Catalogue(shelf)  # type: ignore[arg-type]  # it only loads
    await catalogue.refresh()
    metrics = Metrics()
    intake = IntakeBatcher(shelf, shelf, metrics, room=lambda: 1_000)  # type: ignore[arg-type]  # it only listens
    clock = ManualClock()
    keys = KeySource(clock, node=1, floor=0)
    return Publisher(catalogue, EventRouter(catalogue), intake, clock, keys), intake, metrics


@pytest.fixture(params=[True, False], ids=["own", "other"])
def drain_of(
    request: pytest.FixtureRequest, publisher: tuple[Publisher, IntakeBatcher, Metrics]
) -> Callable[[int], tuple[Table, Drain]]:
    def make(count: int) -> tuple[Table, Drain]:
        table = Table(count, is_own=request.param)
        return table, Drain(table, publisher[0], publisher[1], ManualClock(), publisher[2])

    return make


Make = Callable[[int], tuple[Table, Drain]]


async def empty(table: Table, drain: Drain) -> int:
    """Drain until nothing is left; how often it failed."""
    failed = 0
    for _ in range(60):
        try:
            await drain.step()
        except (InvalidInput, ValueError):
            failed += 1
        if not table.rows:
            break
    assert table.rows == []
    return failed


@pytest.mark.parametrize(
    ("error", "doubt"),
    [
        (InvalidInput("no"), OutboxDoubt("invalid_input", "no")),
        (ValueError("a bug"), OutboxDoubt("fault", "ValueError: a bug")),
    ],
)
async def test_a_row_that_the_store_refuses_is_put_aside_alone(
    drain_of: Make, monkeypatch: pytest.MonkeyPatch, error: Exception, doubt: OutboxDoubt
) -> None:
    """Whatever it is that goes wrong with it: the rows around it are published, in their order."""
    table, drain = drain_of(20)
    shelf = SHELF
    accept = Publisher.accept

    async def refuse(publisher: Publisher, prepared: Any, submit: Any) -> Any:
        if any(item.event.type == "n.13" for item in prepared):
            raise error
        return await accept(publisher, prepared, submit)

    monkeypatch.setattr(Publisher, "accept", refuse)
    await empty(table, drain)
    assert table.doubts == {13: doubt}
    assert [event.type for event in shelf.events] == [f"n.{n}" for n in range(1, 21) if n != 13]
    for _ in range(12):
        await drain.step()
    table.rows = [OutboxRow(50, "id-50", "live", None, "a", None, None, b"{}", NOW)]
    assert await drain.step() == 1


async def test_what_owes_too_much_together_is_taken_in_parts(drain_of: Make, shelf: Shelf) -> None:
    table, drain = drain_of(10)
    shelf.refuses = lambda r: InvalidInput("too much") if len(r.events) > 3 else None
    await empty(table, drain)
    assert table.doubts == {}
    assert [event.type for event in shelf.events] == [f"n.{n}" for n in range(1, 11)]


async def test_a_single_row_has_three_tries(drain_of: Make, shelf: Shelf) -> None:
    """What only fails now and then is no fault of the row."""
    table, drain = drain_of(1)
    errors: list[PosthouseError] = [InvalidInput("once"), InvalidInput("twice")]
    shelf.refuses = lambda _: errors.pop() if errors else None
    assert await empty(table, drain) == 2
    assert table.doubts == {}
    table.rows = [OutboxRow(2, "id-2", "live", None, "a", None, None, b"{}", NOW)]
    shelf.refuses = lambda _: InvalidInput("always")
    assert await empty(table, drain) == FAULTS_MAX
    assert table.doubts.keys() == {2}


@pytest.mark.parametrize("error", [StoreUnavailable(), Overloaded()])
async def test_a_failure_that_passes_says_nothing_about_the_rows(
    drain_of: Make, shelf: Shelf, error: PosthouseError
) -> None:
    table, drain = drain_of(1)
    shelf.refuses = lambda _: error
    for _ in range(3):
        with pytest.raises(type(error)):
            await drain.step()
    shelf.refuses = lambda _: None
    assert await drain.step() == 1
    assert table.doubts == {}
    assert table.asked == [OUTBOX_ROWS_MAX] * 4


async def test_the_loop_goes_on_whatever_happens_and_says_so_once(
    publisher: tuple[Publisher, IntakeBatcher, Metrics], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthouse.gateway.outbox.OUTBOX_PAUSE_MS_MAX", 1)
    monkeypatch.setattr("posthouse.gateway.outbox.OUTBOX_PAUSE_MS_MIN", 1)
    table = Table(0, is_own=False)
    table.fails = [StoreUnavailable("away"), StoreUnavailable("away"), ValueError("a fault"), StoreUnavailable("away")]
    outbox = Outbox([table], publisher[0], publisher[1], ManualClock(), publisher[2])
    with capture_logs() as logs:
        outbox.start()
        async with asyncio.timeout(10):
            while table.fails or shelf.events == []:
                if not table.fails and not table.rows:
                    table.rows = [OutboxRow(1, "x", "live", None, "a", None, None, b"{}", NOW)]
                table.looked.clear()
                await table.looked.wait()
        await outbox.stop()
    assert [event.type for event in shelf.events] == ["a"]
    assert table.closed
    assert [line["event"] for line in logs] == ["outbox_failed", "loop_failed", "outbox_drained"]


async def test_what_is_under_way_is_finished_before_it_stops(
    publisher: tuple[Publisher, IntakeBatcher, Metrics], shelf: Shelf
) -> None:
    table = Table(3, is_own=False)
    outbox = Outbox([table], publisher[0], publisher[1], ManualClock(), publisher[2])
    outbox.start()
    await table.looked.wait()
    await outbox.stop()
    assert table.rows == []
    assert len(shelf.events) == 3
    assert [status.waiting for _, status in await outbox.status()] == [0]


async def test_it_looks_often_while_something_comes_and_seldom_while_nothing_does(
    publisher: tuple[Publisher, IntakeBatcher, Metrics], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(2, is_own=False)
    waited: list[float] = []

    async def wait(stopping: asyncio.Event, seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 6:
            table.rows = [OutboxRow(9, "id-9", "live", None, "a", None, None, b"{}", NOW)]
        if len(waited) == 8:
            table.fails = [StoreUnavailable("away")]
        if len(waited) == 9:
            stopping.set()

    monkeypatch.setattr("posthouse.gateway.outbox._wait", wait)
    await Drain(table, publisher[0], publisher[1], ManualClock(), publisher[2]).run(asyncio.Event())
    assert waited == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1, 0.2, 1.0]
    assert len(shelf.events) == 3
