"""What only this engine can show: rows that were tampered with, and what a survey costs."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Environment, Obligation
from posthouse.core.rules import Order, TenantRules
from posthouse.store.open import open_store
from posthouse.store.sqlite.store import SqliteStore
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.values import NOW, tenant
from posthouse.testing.manual_clock import ManualClock


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    stores = Stores(lambda: open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0))
    yield await stores.open()
    await stores.close()


def database(scene: Scene) -> apsw.Connection:
    assert isinstance(scene.store, SqliteStore)
    return scene.store._writer._connection


async def imbalance(scene: Scene) -> int:
    """Owed minus everything that pays it."""
    return sum(
        b.owed - b.delivered - b.waiting - b.retrying - b.exhausted - sum(b.discarded.values())
        for b in await scene.store.ledger.audit(Environment.LIVE)
    )


@pytest.mark.parametrize("table", ["obligations", "history"])
@pytest.mark.parametrize("known", [True, False])
async def test_a_missing_row_shows_in_the_books(scene: Scene, table: str, known: bool) -> None:
    endpoint = scene.values.endpoint()
    if known:
        await scene.store.catalogue.put_endpoint(endpoint)
    for state in State:
        await settled_as(scene, state, endpoint.key)
    assert await imbalance(scene) == 0
    rows = database(scene).execute(f"DELETE FROM {table} RETURNING 1").fetchall()  # noqa: S608 - a table of ours
    assert await imbalance(scene) == len(rows) > 0


async def test_a_row_too_many_shows_in_the_books(scene: Scene) -> None:
    owed = await settled_as(scene, State.DELIVERED)
    database(scene).execute(
        "INSERT INTO obligations VALUES (?, ?, 0, 0, 0, 2, 1, 0, NULL, 0)", (owed.event_key, owed.endpoint_key)
    )
    assert await imbalance(scene) == -1


async def test_a_missing_event_shows_in_the_books(scene: Scene) -> None:
    """Also if no endpoint in the catalogue says whose it was."""
    await scene.owe(7)
    database(scene).execute("DELETE FROM events")
    assert await imbalance(scene) == -1
    (books,) = await scene.store.ledger.audit(Environment.LIVE)
    assert (books.tenant, books.waiting, books.owed) == ("", 1, 0)


async def test_a_debt_to_the_endpoint_of_another_tenant_shows(scene: Scene) -> None:
    endpoint = scene.values.endpoint(tenant="other")
    await scene.store.catalogue.put_endpoint(endpoint)
    await scene.owe(endpoint.key, tenant="acme")
    books = {b.tenant: (b.owed, b.waiting) for b in await scene.store.ledger.audit(Environment.LIVE)}
    assert books == {"acme": (1, 0), "other": (0, 1)}


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO history VALUES (1, 2, 1, 'waiting', NULL, 0, 1, 0, 0)",
        "INSERT INTO history VALUES (1, 2, 1, 'delivered', 'reason', 0, 1, 0, 0)",
        "INSERT INTO history VALUES (1, 2, 1, 'delivered', NULL, 0, 0, 0, 0)",
        "INSERT INTO history VALUES (1, 2, 1, 'discarded', NULL, 0, 0, 0, 0)",
        "INSERT INTO history VALUES (1, 2, 1, 'delivered', NULL, 0, 1, 0, NULL)",
        "INSERT INTO obligations VALUES (1, 2, 4, 0, 0, 1, 0, 0, NULL, 0)",
        "INSERT INTO obligations VALUES (1, 2, 0, 0, 2, 1, 1, 0, NULL, 0)",
        "INSERT INTO obligations VALUES (1, 2, 0, 0, 0, 0, 0, 0, NULL, 0)",
        "INSERT INTO obligations VALUES (1, 2, 0, 0, 0, 1, 0, 0, NULL, 1)",
        "INSERT INTO obligations VALUES (1, 2, 0, 0, 0, 1, 0, 0, 'k', 2)",
        "INSERT INTO obligations VALUES (1, 2, 0, 0, 0, 1, 0, 0, 'k', 0), (2, 2, 0, 0, 0, 1, 0, 0, 'k', 0)",
        "INSERT INTO health VALUES (1, NULL, 0, 0, 0, 0)",
        "INSERT INTO attempts VALUES (1, 2, 0, 0, '', 0, '', '', 0, 0, 0, 0, 0, 0, '', x'')",
        "INSERT INTO events VALUES (1, '', 'moon', '', '', 0, 0, '', '[]', x'')",
        "INSERT INTO slots VALUES (256, NULL, 0, 0, 0)",
        "UPDATE endpoints SET state = 'gone'",
    ],
)
async def test_the_database_repeats_the_invariants(scene: Scene, row: str) -> None:
    await scene.store.catalogue.put_endpoint(scene.values.endpoint())
    with pytest.raises(apsw.ConstraintError):
        database(scene).execute(row)


@pytest.mark.parametrize("column", ["events", "headers", "secrets", "rules"])
async def test_an_endpoint_that_cannot_be_read_takes_no_other_along(scene: Scene, column: str) -> None:
    """It is still there, and whoever is owed something by it too."""
    bad, good = scene.values.endpoint(), scene.values.endpoint()
    for endpoint in (bad, good):
        await scene.store.catalogue.put_endpoint(endpoint)
    database(scene).execute(f"UPDATE endpoints SET {column} = '[[1]]' WHERE key = ?", (bad.key,))  # noqa: S608 - as above
    found = {endpoint.key: endpoint for endpoint in (await scene.store.catalogue.load()).endpoints}
    assert set(found) == {bad.key, good.key}
    assert found[good.key] == replace(good, revision=2)


async def test_rules_of_a_tenant_that_cannot_be_read_are_none(scene: Scene) -> None:
    bad, good = tenant("bad"), tenant("good", rules=TenantRules(weight=5))
    for one in (bad, good):
        await scene.store.catalogue.put_tenant(one)
    database(scene).execute("UPDATE tenants SET rules = '[1]' WHERE id = 'bad'")
    assert (await scene.store.catalogue.load()).tenants == (replace(bad, revision=1), replace(good, revision=2))


async def test_a_delivery_exists_once(scene: Scene) -> None:
    """Unique per event and endpoint by construction."""
    owed = await scene.owe(7)
    with pytest.raises(apsw.ConstraintError):
        database(scene).execute("INSERT INTO obligations VALUES (?, 7, 0, 0, 0, 1, 0, 0, NULL, 0)", (owed.event_key,))


async def steps_of_survey(scene: Scene) -> int:
    """Instructions of SQLite's machine that a survey takes, in tens."""
    assert isinstance(scene.store, SqliteStore)
    count = 0

    def tick() -> bool:
        nonlocal count
        count += 1
        return False

    def watch(connection: apsw.Connection) -> None:
        connection.set_progress_handler(tick, 10)

    readers = scene.store._readers
    for _ in range(readers._count):
        await readers._offload(lambda: watch(_rotate(readers._free)))
    await scene.survey()
    return count


def _rotate(free: SimpleQueue[apsw.Connection]) -> apsw.Connection:
    connection = free.get()
    free.put(connection)
    return connection


async def test_a_survey_costs_by_endpoints_not_by_deliveries(scene: Scene) -> None:
    for endpoint_key in range(1, 6):
        await scene.owe(endpoint_key)
    few = await steps_of_survey(scene)
    await scene.accept(*(scene.values.new_event(3) for _ in range(3_000)))
    assert await steps_of_survey(scene) <= few + 5


async def test_a_fetch_is_bounded_whatever_waits(scene: Scene) -> None:
    await scene.accept(*(scene.values.new_event(7) for _ in range(3_000)))
    count = 0

    def tick() -> bool:
        nonlocal count
        count += 1
        return False

    assert isinstance(scene.store, SqliteStore)
    scene.store._local.set_progress_handler(tick, 10)
    refill = await scene.queue(7, limit=10)
    assert len(refill.work) == 10
    assert count < 100


async def test_an_ordering_key_costs_the_same_however_many_stand_behind(scene: Scene) -> None:
    """To settle the one ahead, to accept another one, to read the queue."""

    async def steps(key: str, waiting: int) -> list[int]:
        news = [scene.values.new_event(7, ordering_key=key, orders=(Order.FIFO,)) for _ in range(waiting + 2)]
        await scene.accept(*news[:-1])
        work = [w for w in (await scene.queue(7)).work if w.obligation.ordering_key == key]
        return [
            await counted(scene, scene.settle(work[0].obligation)),
            await counted(scene, scene.accept(news[-1], version=0)),
            await counted(scene, scene.queue(7)),
        ]

    few = await steps("a", 5)
    many = await steps("b", 5_000)
    assert all(b <= a + 20 for a, b in zip(few, many, strict=True))


async def counted(scene: Scene, call: Awaitable[Any]) -> int:
    """Instructions of SQLite's machine, in tens, that a call takes on the writer's and the loop's connection."""
    count = 0

    def tick() -> bool:
        nonlocal count
        count += 1
        return False

    assert isinstance(scene.store, SqliteStore)
    for connection in (database(scene), scene.store._local):
        connection.set_progress_handler(tick, 10)
    await call
    return count


async def test_open_rows_hold_what_the_value_holds(scene: Scene) -> None:
    owed = await scene.owe(7)
    rows = database(scene).execute("SELECT * FROM obligations").fetchall()
    assert rows == [(owed.event_key, 7, owed.lane, NOW, 0, 1, 0, NOW, None, 0)]
    assert owed == Obligation(owed.event_key, 7, owed.lane, NOW, NOW)
