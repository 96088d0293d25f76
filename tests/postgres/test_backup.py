"""Archives of a store in a database: one instant of it, and back again only where nothing is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import (
    ArchiveInvalid,
    NotFound,
    PlaceOccupied,
    StoreIncompatible,
    StoreInUse,
    StoreUnavailable,
)
from posthouse.core.ids import time_of
from posthouse.store.postgres import bulk, migrating
from posthouse.store.postgres.backup import back_up_postgres
from posthouse.store.postgres.bulk import be_the_only_one, bulk_wire
from posthouse.store.postgres.dial import PostgresWire
from posthouse.store.postgres.dsn import SCHEMA, parse_dsn
from posthouse.store.postgres.restoring import restore_postgres
from posthouse.store.shared.archives import Draft, Writing, read_manifest
from posthouse.store.shared.migrations import Migration
from posthouse.store.shared.tables import LEFT_OUT
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.values import NOW
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, UNSAFE, connect, drop_database, make_database, open_store_at

LATER = NOW + 3_600_000


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


@pytest.fixture
async def stores(cluster: Cluster, database: str) -> AsyncIterator[Stores]:
    stores = Stores(lambda: open_store_at(cluster.dsn(database)))
    yield stores
    await stores.close()


@pytest.fixture
async def empty(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster, template=EMPTY)
    yield name
    await drop_database(cluster, name)


async def peopled(stores: Stores) -> Scene:
    scene = await stores.open()
    endpoint = scene.values.endpoint()
    await scene.store.catalogue.put_endpoint(endpoint)
    for state in State:
        await settled_as(scene, state, endpoint.key)
    await scene.accept(scene.values.new_event(endpoint.key, data=b'"\\\\ \xc3\xa4\\n\\t\x01"', ordering_key="a\tb\\N"))
    source = scene.values.source()
    await scene.store.catalogue.put_source(source)
    await scene.take(source_key=source.key, body=bytes(range(256)))
    return scene


@pytest.fixture
async def archive(cluster: Cluster, stores: Stores, database: str, tmp_path: Path) -> Path:
    """Of a store with deliveries in every state, and a request."""
    await peopled(stores)
    await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    return tmp_path / "archive"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def restore(cluster: Cluster, archive: Path, to: str) -> None:
    await restore_postgres(archive, read_manifest(archive), cluster.dsn(to), now=LATER, rules=UNSAFE)


async def rows_in(cluster: Cluster, database: str) -> dict[str, list[Any]]:
    """All rows of a store that an archive has."""
    connection = await connect(cluster, database)
    await connection.execute(f"SET search_path = {SCHEMA}")
    query = """
        SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
    tables = [row[0] for row in await connection.fetch(query, SCHEMA)]
    found = {
        table: [tuple(row) for row in await connection.fetch(f'SELECT * FROM "{table}" AS t ORDER BY t::text')]  # noqa: S608 - ours
        for table in tables
        if table not in LEFT_OUT
    }
    await connection.close()
    return found


async def test_what_is_restored_is_what_was_there(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    await peopled(stores)
    manifest = await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    assert manifest == read_manifest(tmp_path / "archive")
    assert (manifest.tally.owed, manifest.tally.received, manifest.tally.imbalance) == (len(State) + 1, 1, 0)
    before = await rows_in(cluster, database)
    assert {table: len(rows) for table, rows in before.items()} == manifest.rows

    await restore(cluster, tmp_path / "archive", empty)
    after = await rows_in(cluster, empty)
    slots = [(slot, None, epoch, 0, False) for slot, _, epoch, *_ in before.pop("slots")]
    assert sorted(after.pop("slots")) == sorted(slots)
    assert after == before


async def test_a_node_runs_on_what_was_restored_with_keys_beyond_all_that_may_have_been_made(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    scene = await peopled(stores)
    await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    lost = scene.values.key()
    await restore(cluster, tmp_path / "archive", empty)
    others = Stores(lambda: open_store_at(cluster.dsn(empty)))
    there = await others.open()
    assert await there.total() == await scene.total()
    floor = await there.store.admin.key_floor()
    assert floor > lost
    assert time_of(floor) == LATER
    await there.accept(there.values.new_event(3))
    await others.close()


async def test_a_backup_is_the_store_at_one_instant_although_nodes_write(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    """Half of the tables are read when an event comes: none of its rows is there, or the books would not balance."""
    scene = await peopled(stores)
    told: list[str] = []
    done: list[object] = []

    def tell(table: str, _done: int, _total: int) -> None:
        told.append(table)

    original = PostgresWire.copy_out

    async def copy_out(self: Any, query: str, take: Any) -> int:
        if "obligations" in query and not done:
            done.append(await scene.accept(scene.values.new_event(3)))
        return await original(self, query, take)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresWire, "copy_out", copy_out)
        manifest = await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW, tell=tell)
    assert done
    assert manifest.rows["events"] == len(State) + 1
    assert manifest.rows["obligations"] == manifest.tally.waiting + manifest.tally.retrying
    assert manifest.tally.imbalance == 0
    assert {"events", "history", "audit"} <= set(told)
    await restore(cluster, tmp_path / "archive", empty)


async def test_nothing_is_overwritten(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    await peopled(stores)
    await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    with pytest.raises(PlaceOccupied):
        await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    with pytest.raises(PlaceOccupied):
        await restore(cluster, tmp_path / "archive", database)
    with pytest.raises(NotFound):
        await back_up_postgres(cluster.dsn(empty), tmp_path / "other", now=NOW)
    assert not (tmp_path / "other").exists()


async def test_two_restores_do_not_meet(
    cluster: Cluster, archive: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LOOKS", 2)
    async with bulk_wire(parse_dsn(cluster.dsn(empty)), "restore", rules=UNSAFE) as wire:
        await be_the_only_one(wire)
        with pytest.raises(StoreInUse):
            await restore(cluster, archive, empty)
    await restore(cluster, archive, empty)


async def test_a_memory_that_was_lost_is_no_hindrance(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    """The restored store has none either, and makes it anew."""
    await peopled(stores)
    looker = await connect(cluster, database)
    await looker.execute(f"ALTER TABLE {SCHEMA}.seen RENAME COLUMN digest TO gone")
    await looker.close()
    manifest = await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    assert "seen" not in manifest.rows
    await restore(cluster, tmp_path / "archive", empty)
    assert (await rows_in(cluster, empty))["seen"] == []


@pytest.mark.parametrize("what", ["events.copy", "history.copy", "manifest.json"])
async def test_a_damaged_archive_leaves_the_database_empty(
    cluster: Cluster, archive: Path, empty: str, what: str
) -> None:
    data = bytearray((archive / what).read_bytes())
    data[len(data) // 2] ^= 1
    (archive / what).write_bytes(data)
    with pytest.raises(ArchiveInvalid):
        await restore(cluster, archive, empty)
    assert await rows_in(cluster, empty) == {}


async def test_an_archive_that_holds_less_than_it_says_leaves_the_database_empty(
    cluster: Cluster, stores: Stores, database: str, empty: str, tmp_path: Path
) -> None:
    """Also where every checksum is right."""
    await peopled(stores)
    manifest = await back_up_postgres(cluster.dsn(database), tmp_path / "archive", now=NOW)
    owed = msgspec.structs.replace(manifest.tally, owed=manifest.tally.owed + 1)
    for wrong in (
        msgspec.structs.replace(manifest, rows={**manifest.rows, "history": manifest.rows["history"] + 1}),
        msgspec.structs.replace(manifest, tally=owed),
    ):
        with pytest.raises(ArchiveInvalid):
            await restore_postgres(tmp_path / "archive", wrong, cluster.dsn(empty), now=LATER, rules=UNSAFE)
        assert await rows_in(cluster, empty) == {}


async def test_an_archive_of_a_newer_version_is_refused_and_one_of_an_older_version_is_brought_forward(
    cluster: Cluster, archive: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrating.known_migrations()
    monkeypatch.setattr(migrating, "known_migrations", lambda: known[:-1])
    with pytest.raises(StoreIncompatible, match="schema version"):
        await restore(cluster, archive, empty)
    more = [*known, Migration(len(known) + 1, "more", "CREATE TABLE more (n integer);")]
    monkeypatch.setattr(migrating, "known_migrations", lambda: more)
    await restore(cluster, archive, empty)
    assert "more" in await rows_in(cluster, empty)


@pytest.mark.parametrize("what", ["events.copy", "history.copy", "manifest.json"])
async def test_a_disk_that_is_full_leaves_nothing_half_done(
    cluster: Cluster, archive: Path, database: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Draft.write
    with Path("/dev/full").open("wb", buffering=0) as full:  # noqa: ASYNC230 - no disk is behind it

        def write(self: Draft, name: str) -> Writing:
            return Writing(full, self.target) if name == what else original(self, name)

        monkeypatch.setattr(Draft, "write", write)
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            await back_up_postgres(cluster.dsn(database), archive.with_name("other"), now=NOW)
    assert names(archive.parent) == ["archive"]
