"""The ledger, the catalogue and the books on PostgreSQL: rows that were tampered with, odd text, long lists."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind
from posthouse.core.model import Environment, slot_of
from posthouse.core.rules import TenantRules
from posthouse.store.protocol import DeliveryQuery, EventQuery
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.jobs import counts
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.values import NOW, tenant
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database, open_store_at
from posthouse.testing.postgres.waiting import until

Outside: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ODD = ["a\0b", "\ud800"]  #: what PostgreSQL cannot hold as text


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def scene(cluster: Cluster, database: str) -> AsyncIterator[Scene]:
    stores = Stores(lambda: open_store_at(cluster.dsn(database)))
    yield await stores.open()
    await stores.close()


@pytest.fixture
async def outside(cluster: Cluster, database: str) -> AsyncIterator[Outside]:
    """Another hand on the tables, while the node runs."""
    connection = await connect(cluster, database)
    await connection.execute("SET search_path = posthouse")
    yield connection
    await connection.close()


async def imbalance(scene: Scene) -> int:
    """Owed minus everything that pays it."""
    return sum(
        b.owed - b.delivered - b.waiting - b.retrying - b.exhausted - sum(b.discarded.values())
        for b in await scene.store.ledger.audit(Environment.LIVE)
    )


# -- rows that were tampered with -----------------------------------------------------------------------


@pytest.mark.parametrize("table", ["obligations", "history"])
@pytest.mark.parametrize("known", [True, False])
async def test_a_missing_row_shows_in_the_books(scene: Scene, outside: Outside, table: str, known: bool) -> None:
    endpoint = scene.values.endpoint()
    if known:
        await scene.store.catalogue.put_endpoint(endpoint)
    for state in State:
        await settled_as(scene, state, endpoint.key)
    assert await imbalance(scene) == 0
    rows = await outside.fetch(f"DELETE FROM {table} RETURNING 1")  # noqa: S608 - a table of ours
    assert await imbalance(scene) == len(rows) > 0


async def test_a_row_too_many_shows_in_the_books(scene: Scene, outside: Outside) -> None:
    owed = await settled_as(scene, State.DELIVERED)
    await outside.execute(
        "INSERT INTO obligations (event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane,"
        " behind) VALUES ($1, $2, 0, 0, 0, 2, 1, $3, 0, false)",
        *(owed.event_key, owed.endpoint_key, slot_of(owed.endpoint_key)),
    )
    assert await imbalance(scene) == -1


async def test_a_missing_event_shows_in_the_books(scene: Scene, outside: Outside) -> None:
    """Also if no endpoint in the catalogue says whose it was."""
    await scene.owe(7)
    await outside.execute("DELETE FROM events")
    assert await imbalance(scene) == -1
    (books,) = await scene.store.ledger.audit(Environment.LIVE)
    assert (books.tenant, books.waiting, books.owed) == ("", 1, 0)


@pytest.mark.parametrize("text", ["[[1]]", "no JSON", ""])
@pytest.mark.parametrize("column", ["events", "headers", "secrets", "rules"])
async def test_an_endpoint_that_cannot_be_read_takes_no_other_along(
    scene: Scene, outside: Outside, column: str, text: str
) -> None:
    """It is still there, and whoever is owed something by it too."""
    catalogue = scene.store.catalogue
    bad, good = scene.values.endpoint(), scene.values.endpoint()
    for endpoint in (bad, good):
        await catalogue.put_endpoint(endpoint)
    await outside.execute(f"UPDATE endpoints SET {column} = $1 WHERE key = $2", text, bad.key)  # noqa: S608 - a column of ours
    found = {endpoint.key: endpoint for endpoint in (await catalogue.load()).endpoints}
    assert set(found) == {bad.key, good.key}
    assert found[good.key] == replace(good, revision=2)
    assert await catalogue.endpoint(bad.key) == found[bad.key] != bad


async def test_secrets_of_a_source_that_cannot_be_read_are_none(scene: Scene, outside: Outside) -> None:
    """So what comes waits in quarantine."""
    bad, good = scene.values.source(), scene.values.source()
    for source in (bad, good):
        await scene.store.catalogue.put_source(source)
    await outside.execute("UPDATE sources SET secrets = '[1]', rules = 'no JSON' WHERE key = $1", bad.key)
    found = (await scene.store.catalogue.load()).sources
    assert (found[0].key, found[0].secrets, found[1]) == (bad.key, (), replace(good, revision=2))


async def test_rules_of_a_tenant_that_cannot_be_read_are_none(scene: Scene, outside: Outside) -> None:
    bad, good = tenant("bad"), tenant("good", rules=TenantRules(weight=5))
    for one in (bad, good):
        await scene.store.catalogue.put_tenant(one)
    await outside.execute("UPDATE tenants SET rules = '[1]' WHERE id = 'bad'")
    assert (await scene.store.catalogue.load()).tenants == (replace(bad, revision=1), replace(good, revision=2))


# -- text that cannot be stored -------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD)
async def test_what_cannot_be_stored_is_not_found(scene: Scene, odd: str) -> None:
    """Instead of being an error of the database, or of finding what looks like it."""
    live, ledger = Environment.LIVE, scene.store.ledger
    await scene.owe(7, ordering_key="a\ufffdb", tenant="\ufffd")
    assert await ledger.find_events(live, odd, None) == []
    assert await ledger.events(EventQuery(environment=live, tenant=odd)) == []
    assert await ledger.events(EventQuery(environment=live, type=odd)) == []
    assert await ledger.deliveries(DeliveryQuery(environment=live, tenant=odd)) == []
    assert await scene.store.catalogue.recall(live, odd) is None


async def test_a_job_for_what_cannot_be_stored_finds_nothing(scene: Scene) -> None:
    """But what else it is for."""
    await scene.owe(7, ordering_key="a\ufffdb", tenant="\ufffd")
    await settled_as(scene, State.DISCARDED)
    assert await counts(scene, JobKind.CANCEL, ordering_key="a\0b") == (0, 0, 0)
    assert await counts(scene, JobKind.CANCEL, tenant="\0") == (0, 0, 0)
    assert await counts(scene, JobKind.RETRY, reasons=("\0",)) == (0, 0, 0)
    assert await counts(scene, JobKind.RETRY, reasons=("\0", "cancelled")) == (1, 1, 0)


async def test_what_people_wrote_is_kept_readable(scene: Scene) -> None:
    endpoint = scene.values.endpoint(description="a\0b")
    await scene.store.catalogue.put_endpoint(endpoint)
    stored = await scene.store.catalogue.endpoint(endpoint.key)
    assert stored is not None
    assert stored.description == "a\ufffdb"


# -- long lists -----------------------------------------------------------------------------------------


async def test_what_waits_is_listed_by_endpoint_however_long_the_list(scene: Scene) -> None:
    """Endpoints lie by their slots, and come by their keys; also where many of one slot follow each other."""
    of_one_slot = [key for key in range(1, 20_000) if slot_of(key) == 9][:60]
    keys = sorted({*range(100, 400), *of_one_slot})
    await scene.accept(*(scene.values.new_event(*keys[i : i + 100]) for i in range(0, len(keys), 100)))
    waiting = scene.store.ledger.waiting
    assert [w.endpoint_key for w in await waiting(after=0, limit=1_000)] == keys
    for limit in (1, 7, 100):
        paged: list[int] = []
        while page := await waiting(after=paged[-1] if paged else 0, limit=limit):
            assert len(page) <= limit
            paged += [w.endpoint_key for w in page]
        assert paged == keys
    assert [w.endpoint_key for w in await waiting(after=of_one_slot[3], until=of_one_slot[40], limit=500)] == [
        key for key in keys if of_one_slot[3] < key <= of_one_slot[40]
    ]
    assert [w.live for w in await waiting(after=199, until=200, limit=5)] == [1]


async def test_the_catalogue_is_read_in_parts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthouse.store.postgres.catalogue._PAGE_ROWS", 3)
    catalogue = scene.store.catalogue
    endpoints = tuple(scene.values.endpoint() for _ in range(6))
    sources = tuple(scene.values.source() for _ in range(4))
    tenants = tuple(
        tenant(name, environment=environment) for environment in Environment for name in ("a", "b", "c", "d", "ü")
    )
    for endpoint in endpoints:
        await catalogue.put_endpoint(endpoint)
    for source in sources:
        await catalogue.put_source(source)
    for one in tenants:
        await catalogue.put_tenant(one)
    expected = (
        tuple(replace(endpoint, revision=n) for n, endpoint in enumerate(endpoints, 1)),
        tuple(replace(source, revision=n) for n, source in enumerate(sources, 7)),
        tuple(replace(one, revision=n) for n, one in enumerate(tenants, 11)),
    )
    snapshot, changes = await catalogue.load(), await catalogue.changes(0)
    assert (snapshot.endpoints, snapshot.sources, snapshot.tenants) == expected
    assert (changes.endpoints, changes.sources, changes.tenants) == expected
    assert snapshot.version == 20


async def test_an_audit_holds_up_no_list(scene: Scene, outside: Outside) -> None:
    """It has a connection of its own."""
    owed = await scene.owe(7, accepted_at=NOW)
    async with outside.transaction():
        await outside.execute("LOCK TABLE history")  # the audit waits
        audit = asyncio.create_task(scene.store.ledger.audit(Environment.LIVE))
        await until(lambda: outside.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
        assert await scene.events() == [owed.event_key]
        assert not audit.done()
    assert len(await audit) == 1
