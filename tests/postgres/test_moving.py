"""A store moves from engine to engine: nothing is lost on the way, wherever it is cut short, and it can come back."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import CopyDiffers, PlaceOccupied, StoreInUse, StoreMoved
from posthouse.core.ids import time_of
from posthouse.core.inbound import WHOLE, Objection, Resolution
from posthouse.core.model import Lane
from posthouse.core.rules import Order
from posthouse.store.open import open_store
from posthouse.store.postgres.carrier import PostgresCarrier
from posthouse.store.postgres.dsn import SCHEMA
from posthouse.store.shared import moving
from posthouse.store.shared.custody import Holding
from posthouse.store.shared.moving import Carrier, begin, copy_ahead, finish, undo
from posthouse.store.shared.tables import CARRIED, SQLITE, Kind
from posthouse.store.shared.telling import tell_nobody
from posthouse.store.sqlite.carrier import SqliteCarrier
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.values import NOW
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, UNSAFE, connect, drop_database, make_database, open_store_at

LATER = NOW + 3_600_000
ENDPOINTS = (3, 5, 8)
#: Tables that every random history has rows in.
MEMORY = Path("/dev/shm")  # noqa: S108 - a place for what makes hundreds of commits, each of which waits for its disk
LIVELY = ("events", "identities", "history", "attempts", "obligations", "reopened", "requests", "readings", "arrivals")


@pytest.fixture
async def empty(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster, template=EMPTY)
    yield name
    await drop_database(cluster, name)


def directory(folder: Path) -> Stores:
    return Stores(lambda: open_store(folder, clock=ManualClock(), commit_interval_ms=0))


async def furnish(scene: Scene) -> None:
    """The first time: endpoints and an API key."""
    if (await scene.store.catalogue.load()).endpoints:
        return
    for key in ENDPOINTS:
        endpoint = scene.values.endpoint(description="ä\u2028 \U0001f40d")
        await scene.store.catalogue.put_endpoint(replace(endpoint, key=key))
    await scene.store.catalogue.put_api_key(scene.values.api_key())


async def live_through(scene: Scene, chance: Random, steps: int) -> None:
    """A random history: what is published, received, delivered, given up and opened again."""
    await furnish(scene)
    version = (await scene.store.catalogue.load()).version
    owed = []
    for number in range(steps):
        match chance.randrange(7):
            case 0 | 1:
                endpoints = chance.sample(ENDPOINTS, chance.randrange(4))
                new = scene.values.new_event(
                    *endpoints,
                    ordering_key=chance.choice([None, "a", "ß\t\\N"]),
                    occurred_at=chance.choice([None, NOW - 5]),
                    data=chance.choice([b"1", b'"\\u0000\xc3\xa4"', b'"' + b"x" * 5_000 + b'"']),
                    orders=tuple(chance.choice(list(Order)) for _ in endpoints),
                    lane=chance.choice([Lane.LIVE, Lane.BACKLOG]),
                )
                await scene.accept(new, version=version)
            case 2:
                await scene.accept(scene.values.named(f"n{chance.random()}"), version=version)
            case 3 | 4:
                work = [w for key in ENDPOINTS for w in (await scene.queue(key, now=LATER)).work]
                if work:
                    obligation = chance.choice(work).obligation
                    await scene.settle(obligation, chance.choice([State.DELIVERED, State.RETRYING, State.EXHAUSTED]))
                    owed.append(obligation)
            case 5:
                if owed:
                    obligation = chance.choice(owed)
                    await scene.store.work.retry(obligation.event_key, obligation.endpoint_key, now=NOW)
                    obligation = chance.choice(owed)
                    await scene.store.work.discard(
                        obligation.event_key, obligation.endpoint_key, reason="cancelled", now=NOW
                    )
            case 6:
                await receive(scene, chance, number, version)
    await scene.store.inbound.open_incident(scene.values.incident(source_key=chance.randrange(1 << 40)))


async def receive(scene: Scene, chance: Random, number: int, version: int) -> None:
    if chance.random() < 0.3:
        refused = await scene.take(objection=Objection.BAD_SIGNATURE, body=bytes(range(256)))
        if chance.random() < 0.5:
            await scene.store.inbound.resolve([(refused.key, WHOLE)], Resolution.DISCARDED, now=NOW)
        return
    request = await scene.take()
    if chance.random() < 0.7:
        event = scene.values.read_event(f"r{number // 3}", *chance.sample(ENDPOINTS, 1))
        await scene.pass_on(scene.reading(request, event, catalogue_version=version))


@asynccontextmanager
async def both(source: Any, target: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Two ends of a move, closed at the end."""
    async with AsyncExitStack() as ends:
        opened = []
        for making in (source, target):
            carrier = await making if asyncio.iscoroutine(making) else making
            ends.push_async_callback(carrier.close)
            opened.append(carrier)
        yield opened[0], opened[1]


async def move(source: Carrier, target: Carrier) -> None:
    await begin(source, target, now=LATER)
    await copy_ahead(source, target, tell_nobody)
    await finish(source, target, tell_nobody, now=LATER)


def to_postgres(cluster: Cluster, folder: Path, database: str) -> Any:
    return both(SqliteCarrier.source(folder), PostgresCarrier.target(cluster.dsn(database), now=LATER, rules=UNSAFE))


def to_sqlite(cluster: Cluster, database: str, folder: Path) -> Any:
    return both(PostgresCarrier.source(cluster.dsn(database), rules=UNSAFE), SqliteCarrier.target(folder, now=LATER))


def rows_in(folder: Path) -> dict[str, list[Any]]:
    """All rows that are carried, column by column; owners of slots are nobody's."""
    connection = apsw.Connection(str(folder / "posthouse.db"))
    found = {}
    for table in CARRIED:
        columns = ", ".join(column.name for column in table.columns_in(SQLITE))
        found[table.name] = connection.execute(
            f"SELECT {columns} FROM {table.name} ORDER BY {', '.join(table.order)}"  # noqa: S608 - by tables.py
        ).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_there_and_back_again_every_row_is_as_it_was(
    cluster: Cluster, empty: str, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "ROWS", 7)  # many ranges
    stores = directory(tmp_path / "first")
    scene = await stores.open()
    await live_through(scene, Random(seed), 120)
    books = await scene.total()
    await stores.close()
    before = rows_in(tmp_path / "first")
    assert all(before[name] for name in LIVELY)

    async with to_postgres(cluster, tmp_path / "first", empty) as (source, target):
        await move(source, target)
    there = Stores(lambda: open_store_at(cluster.dsn(empty)))
    assert await (await there.open()).total() == books
    await there.close()
    async with to_sqlite(cluster, empty, tmp_path / "second") as (source, target):
        await move(source, target)
    after = rows_in(tmp_path / "second")
    assert after.pop("slots") == [(slot, epoch + 1) for slot, epoch in before.pop("slots")]  # a node ran there
    assert after == before


#: How to make values that a column's constraints allow, where not any value of its kind does.
ALLOWED: dict[str, Any] = {
    "environment": st.sampled_from(["live", "test"]),
    "behind": st.just(value=False),
    "lane": st.integers(0, 2),
    "round": st.integers(1, 99),
    "position": st.integers(-1, 99),
    "number": st.integers(1, 99),
    "attempts": st.integers(1, 3),
    "last_number": st.integers(3, 99),
    "probes": st.integers(0, 9),
    "warned": st.integers(0, 3),
    "usual_rate": st.floats(0, 1e9),
    "reason": st.none(),
    "resolution": st.none(),
    "resolved_at": st.none(),
    "previous_state": st.just("exhausted"),
    "scope": st.sampled_from(["admin", "publish", "read"]),
    "mode": st.just("all"),
    "history.state": st.just("delivered"),
    "endpoints.state": st.sampled_from(["active", "deleted"]),
    "sources.state": st.sampled_from(["active", "paused"]),
    "jobs.state": st.sampled_from(["running", "failed"]),
    "feed_commits.size": st.integers(1, 1_000),
    "bygone_deliveries.state": st.sampled_from(["owed", "delivered", "exhausted", "discarded"]),
    "bygone_deliveries.reason": st.sampled_from(["", "cancelled"]),
    "bygone_requests.figure": st.sampled_from(["received", "read", "readings"]),
    "jobs.kind": st.sampled_from(["retry", "promote"]),
    **dict.fromkeys(
        ("events", "headers", "secrets", "rules", "filter", "trail", "pauses"), st.sampled_from(['[1, "\u00e4"]', "{}"])
    ),
    **dict.fromkeys(
        ("status", "dns_us", "connect_us", "tls_us", "first_byte_us", "total_us", "connect_timeout_ms", "timeout_ms"),
        st.integers(1, (1 << 31) - 1),
    ),
    **dict.fromkeys(("events.events",), st.nothing()),
    **{f"readings.{name}": st.integers(0, 99) for name in ("events", "duplicates", "quarantined")},
    "slot": st.integers(0, 255),
}
OF_KIND: dict[Kind, Any] = {
    Kind.INTEGER: st.integers(0, (1 << 63) - 1),
    Kind.TEXT: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    Kind.BYTES: st.binary(max_size=8),
    Kind.FLAG: st.booleans(),
    Kind.REAL: st.floats(0, 1e9),
    Kind.KEYS: st.lists(st.integers(0, (1 << 63) - 1), max_size=3),
}


@st.composite
def contents(draw: st.DrawFn) -> dict[str, list[list[Any]]]:
    """Rows for every table, of everything that its columns may hold."""
    found: dict[str, list[list[Any]]] = {}
    for table in CARRIED:
        if table.name in {"catalogue", "feed_floor", "retention", "slots"}:
            continue
        rows: dict[tuple[Any, ...], list[Any]] = {}
        for _ in range(draw(st.integers(0, 4))):
            row = []
            for column in table.columns:
                values = ALLOWED.get(f"{table.name}.{column.name}", ALLOWED.get(column.name, OF_KIND[column.kind]))
                if column.name == "event_key" and found.get("events") and column.asked is None:
                    values = st.sampled_from([event[0] for event in found["events"]])
                row.append(draw(values))
            rows[
                tuple(value for column, value in zip(table.columns, row, strict=True) if column.name in table.order)
            ] = row
        found[table.name] = list(rows.values())
    if not found["events"]:
        found["identities"] = []
    for name, unique in (("api_keys", 1), ("sources", 5)):
        found[name] = list({tuple(row)[unique]: row for row in found[name]}.values())
    return found


async def fill(folder: Path, rows: dict[str, list[list[Any]]]) -> None:
    """Put rows into a store, as it would keep them."""
    await (await open_store(folder, clock=ManualClock())).close()
    carrier = await asyncio.to_thread(SqliteCarrier.target, folder, now=NOW)
    try:
        for table in CARRIED:
            if table.name in rows:

                async def given(name: str = table.name) -> AsyncIterator[list[Any]]:
                    for row in rows[name]:
                        yield row

                await carrier.clear(table)
                await carrier.replace(table, None, None, given())
    finally:
        await carrier.close()


@settings(max_examples=6)
@given(rows=contents())
def test_whatever_a_column_may_hold_comes_back_as_it_was(cluster: Cluster, rows: dict[str, list[list[Any]]]) -> None:
    async def there_and_back(folder: Path) -> None:
        await fill(folder / "first", rows)
        before = rows_in(folder / "first")
        assert {name: len(before[name]) for name in rows} == {name: len(given) for name, given in rows.items()}
        database = await make_database(cluster, template=EMPTY)
        async with to_postgres(cluster, folder / "first", database) as (source, target):
            await move(source, target)
        async with to_sqlite(cluster, database, folder / "second") as (source, target):
            await move(source, target)
        await drop_database(cluster, database)
        assert rows_in(folder / "second") == before

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        asyncio.run(there_and_back(Path(folder)))


async def test_text_that_the_database_cannot_hold_stays_readable(cluster: Cluster, empty: str, tmp_path: Path) -> None:
    stores = directory(tmp_path / "first")
    scene = await stores.open()
    await scene.store.catalogue.put_endpoint(scene.values.endpoint(description="a\0b"))
    await stores.close()
    async with to_postgres(cluster, tmp_path / "first", empty) as (source, target):
        await move(source, target)
    there = Stores(lambda: open_store_at(cluster.dsn(empty)))
    (endpoint,) = (await (await there.open()).store.catalogue.load()).endpoints
    assert endpoint.description == "a\ufffdb"
    await there.close()


@pytest.fixture
async def first(tmp_path: Path) -> Path:
    """A store that a node has left."""
    stores = directory(tmp_path / "first")
    scene = await stores.open()
    await live_through(scene, Random(3), 60)
    await scene.owe(3)
    await stores.close()
    return tmp_path / "first"


class Cut(Exception):
    """The process ended here."""


class Mortal:
    """A carrier that ends after so many changes, with everything that is open."""

    def __init__(self, carrier: Any, changes: int) -> None:
        self._carrier = carrier
        self.left = changes

    def __getattr__(self, name: str) -> Any:
        if name in {"replace", "clear", "put_custody"}:
            if self.left == 0:
                raise Cut
            self.left -= 1
        return getattr(self._carrier, name)


@pytest.mark.parametrize("changes", [1, 4, 9, 20, 40, 60])
async def test_a_move_that_was_cut_short_goes_on(
    cluster: Cluster, empty: str, first: Path, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever: no node can start on what is not whole, and the same call ends it."""
    monkeypatch.setattr(moving, "ROWS", 7)
    before = rows_in(first)
    async with to_postgres(cluster, first, empty) as (source, target):
        mortal = Mortal(target, changes)
        with pytest.raises(Cut):
            await move(source, mortal)
        with pytest.raises(StoreMoved):
            await open_store_at(cluster.dsn(empty))
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
        assert (await source.custody()).state is Holding.MOVED
        for table in CARRIED:
            assert await target.count(table) == len(before[table.name])
    await (await open_store_at(cluster.dsn(empty))).close()
    with pytest.raises(StoreMoved):
        await directory(first).open()


async def test_what_comes_while_it_is_copied_is_taken_in_the_end(
    cluster: Cluster, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a new row belongs to an old event, and where a row went."""
    monkeypatch.setattr(moving, "ROWS", 7)
    stores = directory(tmp_path / "first")
    scene = await stores.open()
    await live_through(scene, Random(5), 60)
    late = await scene.owe(3)
    await live_through(scene, Random(6), 40)
    async with to_postgres(cluster, tmp_path / "first", empty) as (source, target):
        await begin(source, target, now=LATER)
        await copy_ahead(source, target, tell_nobody)
        with pytest.raises(StoreInUse):
            await finish(source, target, tell_nobody, now=LATER)
        await scene.settle(late)
        await scene.owe(5)
        books = await scene.total()
        await stores.close()
        before = rows_in(tmp_path / "first")
        await finish(source, target, tell_nobody, now=LATER)
    there = Stores(lambda: open_store_at(cluster.dsn(empty)))
    assert await (await there.open()).total() == books
    await there.close()
    assert (late.event_key, late.endpoint_key) in {row[:2] for row in before["history"]}


async def test_a_store_that_differs_is_not_handed_over(
    cluster: Cluster, empty: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source goes on as if nothing had been."""

    class Forgetful(Mortal):
        async def count(self, table: Any) -> int:
            found: int = await self._carrier.count(table)
            return found - 1 if table.name == "history" else found

    async with to_postgres(cluster, first, empty) as (source, target):
        await begin(source, target, now=LATER)
        with pytest.raises(CopyDiffers, match="history"):
            await finish(source, Forgetful(target, -1), tell_nobody, now=LATER)
    await directory(first).open()


async def test_an_unused_move_is_undone_and_a_used_one_is_not(cluster: Cluster, empty: str, first: Path) -> None:
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
        await undo(source, target, tell_nobody)
        assert (await source.custody()).state is Holding.HERE
    with pytest.raises(StoreMoved):
        await open_store_at(cluster.dsn(empty))
    stores = directory(first)
    await stores.open()
    await stores.close()


@pytest.mark.parametrize("how", ["accepted", "delivered", "running"])
async def test_what_was_used_does_not_go_back(cluster: Cluster, empty: str, first: Path, how: str) -> None:
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
    there = Stores(lambda: open_store_at(cluster.dsn(empty)))
    scene = await there.open()
    version = (await scene.store.catalogue.load()).version
    if how == "accepted":
        scene.values.key(LATER + 10)
        await scene.accept(scene.values.new_event(), version=version)
    elif how == "delivered":
        (work, *_) = [w for key in ENDPOINTS for w in (await scene.queue(key, now=LATER)).work]
        await scene.settle(work.obligation)
    if how != "running":
        await there.close()
    async with to_postgres(cluster, first, empty) as (source, target):
        with pytest.raises(StoreInUse):
            await undo(source, target, tell_nobody)
        assert (await source.custody()).state is Holding.MOVED
        assert (await target.custody()).state is Holding.HERE
    await there.close()
    await (await open_store_at(cluster.dsn(empty))).close()


async def test_what_was_used_moves_back_to_where_it_was(
    cluster: Cluster, empty: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there still is only brought up to date."""
    monkeypatch.setattr(moving, "ROWS", 7)
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
    there = Stores(lambda: open_store_at(cluster.dsn(empty)))
    scene = await there.open()
    scene.values.key(LATER + 10)
    await live_through(scene, Random(9), 60)
    books = await scene.total()
    await there.close()
    async with to_sqlite(cluster, empty, first) as (source, target):
        await move(source, target)
    again = directory(first)
    assert await (await again.open()).total() == books
    await again.close()
    with pytest.raises(StoreMoved):
        await open_store_at(cluster.dsn(empty))


async def test_nodes_of_the_source_are_found(cluster: Cluster, empty: str, tmp_path: Path) -> None:
    """It is theirs again at once."""
    store = await open_store_at(cluster.dsn(empty))
    async with to_sqlite(cluster, empty, tmp_path / "second") as (source, target):
        await begin(source, target, now=LATER)
        await copy_ahead(source, target, tell_nobody)
        with pytest.raises(StoreInUse):
            await finish(source, target, tell_nobody, now=LATER)
        assert (await source.custody()).state is Holding.HERE
        await store.close()
        await finish(source, target, tell_nobody, now=LATER)


async def test_only_an_empty_place_is_moved_to(cluster: Cluster, empty: str, first: Path, tmp_path: Path) -> None:
    other = directory(tmp_path / "other")
    await live_through(await other.open(), Random(1), 5)
    await other.close()
    async with to_postgres(cluster, first, empty) as (source, target):
        await begin(source, target, now=LATER)
    async with to_postgres(cluster, tmp_path / "other", empty) as (source, target):
        with pytest.raises(PlaceOccupied):
            await begin(source, target, now=LATER)
    async with both(SqliteCarrier.source(first), SqliteCarrier.target(tmp_path / "other", now=LATER)) as (a, b):
        with pytest.raises(PlaceOccupied):
            await begin(a, b, now=LATER)


async def test_keys_go_on_behind_those_of_the_source(cluster: Cluster, empty: str, first: Path) -> None:
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
        floor = await target.key_floor()
        assert floor >= await source.key_floor()
        assert time_of(floor) >= LATER


@pytest.mark.parametrize("how", ["DROP TABLE seen", "ALTER TABLE seen RENAME COLUMN digest TO gone"])
async def test_a_memory_that_was_lost_is_no_hindrance(
    cluster: Cluster, empty: str, first: Path, tmp_path: Path, how: str
) -> None:
    """Nor one that is of no use; on either side. The other store makes it anew."""
    connection = apsw.Connection(str(first / "posthouse.db"))
    connection.execute(how)
    connection.close()
    async with to_postgres(cluster, first, empty) as (source, target):
        await move(source, target)
    looker = await connect(cluster, empty)
    await looker.execute(f"SET search_path = {SCHEMA}")
    assert await looker.fetchval("SELECT count(*) FROM seen") == 0
    await looker.execute(how)
    await looker.close()
    async with to_sqlite(cluster, empty, tmp_path / "second") as (source, target):
        await move(source, target)
    assert rows_in(tmp_path / "second")["seen"] == []
