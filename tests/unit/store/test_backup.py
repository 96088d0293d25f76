"""Archives of the embedded store: whole or not there, and back again only where nothing is."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.delivery import State
from posthouse.core.errors import (
    ArchiveInvalid,
    NotFound,
    PlaceOccupied,
    PosthouseError,
    StoreIncompatible,
    StoreInUse,
    StoreUnavailable,
)
from posthouse.core.ids import time_of
from posthouse.store.open import open_store
from posthouse.store.shared.archives import Draft, Manifest, read_manifest
from posthouse.store.shared.migrations import Migration
from posthouse.store.sqlite import restoring
from posthouse.store.sqlite.backup import STEP_PAGES, back_up_sqlite
from posthouse.store.sqlite.migrating import known_migrations
from posthouse.store.sqlite.restoring import restore_sqlite
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.values import NOW
from posthouse.testing.manual_clock import ManualClock

LATER = NOW + 3_600_000


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(lambda: open_store(tmp_path / "data", clock=ManualClock(), commit_interval_ms=0))
    yield stores
    await stores.close()


async def peopled(stores: Stores) -> Scene:
    """A store with deliveries in every state, and requests."""
    scene = await stores.open()
    endpoint = scene.values.endpoint()
    await scene.store.catalogue.put_endpoint(endpoint)
    await scene.store.catalogue.put_api_key(scene.values.api_key())
    for state in State:
        await settled_as(scene, state, endpoint.key)
    await scene.store.catalogue.put_source(scene.values.source())
    await scene.take()
    return scene


def back_up(tmp_path: Path, name: str = "archive", **options: Any) -> Manifest:
    return back_up_sqlite(tmp_path / "data", tmp_path / name, now=NOW, **{"pause": lambda _: None, **options})


def restore(tmp_path: Path, name: str = "archive", to: str = "restored") -> None:
    restore_sqlite(tmp_path / name, read_manifest(tmp_path / name), tmp_path / to, now=LATER)


def restored(tmp_path: Path, to: str = "restored") -> Stores:
    return Stores(lambda: open_store(tmp_path / to, clock=ManualClock(), commit_interval_ms=0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_is_restored_is_what_was_there(stores: Stores, tmp_path: Path) -> None:
    scene = await peopled(stores)
    before = (await scene.store.catalogue.load(), await scene.total(), await scene.deliveries(), await scene.events())
    manifest = back_up(tmp_path)
    assert manifest.tally.owed == sum(1 for _ in State)
    assert manifest.tally.imbalance == 0
    assert manifest.rows["events"] == len(before[3])
    assert manifest == read_manifest(tmp_path / "archive")

    restore(tmp_path)
    others = restored(tmp_path)
    scene = await others.open()
    assert (
        await scene.store.catalogue.load(),
        await scene.total(),
        await scene.deliveries(),
        await scene.events(),
    ) == before
    await others.close()


async def test_a_backup_is_the_store_at_one_instant_although_others_write(stores: Stores, tmp_path: Path) -> None:
    """Each step of the copy is followed by a commit; none of them begins it anew, and none is in it."""
    scene = await stores.open()
    for _ in range(4):
        await scene.owe(3, data=b'"' + b"x" * 500_000 + b'"')
    writer = apsw.Connection(str(tmp_path / "data" / "posthouse.db"))
    writer.set_busy_timeout(1_000)
    steps = 0

    def write(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps > 50:
            return  # whoever begins anew at each of them would never end
        writer.execute("INSERT INTO remembered VALUES ('live', ?, x'', 1)", (f"k{steps}",))

    manifest = back_up(tmp_path, pause=write)
    writer.close()
    assert steps == -(-4 * 500_000 // (STEP_PAGES * 4_096)) + (steps > 2)
    assert manifest.rows["events"] == 4
    assert manifest.rows["remembered"] == 0


async def test_a_store_that_has_not_been_closed_can_be_backed_up(stores: Stores, tmp_path: Path) -> None:
    """What a killed node has left: a log that is in no file yet."""
    await peopled(stores)
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    manifest = back_up_sqlite(tmp_path / "killed", tmp_path / "archive", now=NOW)
    assert manifest.tally.owed == sum(1 for _ in State)


async def test_nobody_holds_a_slot_and_new_keys_are_beyond_all_that_may_have_been_made(
    stores: Stores, tmp_path: Path
) -> None:
    scene = await peopled(stores)
    back_up(tmp_path)
    lost = scene.values.key()
    restore(tmp_path)
    connection = apsw.Connection(str(tmp_path / "restored" / "posthouse.db"))
    assert connection.execute("SELECT count(owner), max(lease_until), min(epoch) FROM slots").fetchall() == [(0, 0, 1)]
    connection.close()
    others = restored(tmp_path)
    floor = await (await others.open()).store.admin.key_floor()
    assert floor > lost
    assert time_of(floor) == LATER
    await others.close()


async def test_nothing_is_overwritten(stores: Stores, tmp_path: Path) -> None:
    await peopled(stores)
    (tmp_path / "archive").mkdir()
    with pytest.raises(PlaceOccupied):
        back_up(tmp_path)
    back_up(tmp_path, "other")
    restore(tmp_path, "other")
    with pytest.raises(PlaceOccupied):
        restore(tmp_path, "other")
    with pytest.raises(StoreInUse):
        restore(tmp_path, "other", to="data")  # a node runs there
    with pytest.raises(NotFound):
        back_up_sqlite(tmp_path / "nowhere", tmp_path / "third", now=NOW)
    assert not (tmp_path / "nowhere").exists()


async def test_what_a_killed_backup_left_is_in_nobodys_way(stores: Stores, tmp_path: Path) -> None:
    await peopled(stores)
    (tmp_path / ".archive.partial").mkdir()
    (tmp_path / ".archive.partial" / "posthouse.db").write_bytes(b"half")
    with Draft(tmp_path / "held"), pytest.raises(StoreInUse):
        back_up(tmp_path, "held")
    back_up(tmp_path)
    restore(tmp_path)
    assert names(tmp_path) == ["archive", "data", "restored"]


@pytest.mark.parametrize("fault", [apsw.FullError, apsw.IOError, OSError(28, "No space left on device")])
async def test_a_full_disk_leaves_nothing_half_done(stores: Stores, tmp_path: Path, fault: Any) -> None:
    await peopled(stores)

    def fail(_seconds: float) -> None:
        raise fault

    with pytest.raises(StoreUnavailable):
        back_up(tmp_path, pause=fail)
    assert names(tmp_path) == ["data"]


async def test_a_restore_that_fails_leaves_no_store(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await peopled(stores)
    back_up(tmp_path)

    def fail(*_: object) -> None:
        raise apsw.FullError("no room")

    monkeypatch.setattr(restoring, "_settle_in", fail)
    with pytest.raises(StoreUnavailable):
        restore(tmp_path)
    assert names(tmp_path / "restored") == ["node.lock"]
    monkeypatch.undo()
    restore(tmp_path)


async def test_an_archive_of_a_newer_version_is_refused_and_one_of_an_older_version_is_brought_forward(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await peopled(stores)
    back_up(tmp_path)
    known = known_migrations()
    monkeypatch.setattr(restoring, "known_migrations", lambda: known[:-1])
    with pytest.raises(StoreIncompatible, match="schema version"):
        restore(tmp_path)
    more = [*known, Migration(len(known) + 1, "more", "CREATE TABLE more (n INTEGER) STRICT;")]
    monkeypatch.setattr(restoring, "known_migrations", lambda: more)
    restore(tmp_path)
    connection = apsw.Connection(str(tmp_path / "restored" / "posthouse.db"))
    assert connection.pragma("user_version") == len(more)
    connection.close()


async def test_a_damaged_store_is_no_backup(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is looked at before it gets its name."""
    scene = await peopled(stores)
    await scene.store.close()
    path = tmp_path / "data" / "posthouse.db"
    data = bytearray(path.read_bytes())
    connection = apsw.Connection(str(path))
    page: Any = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'history'").fetchall()[0][0]
    connection.close()
    data[(page - 1) * 4_096 + 8 : (page - 1) * 4_096 + 64] = b"\xff" * 56
    path.write_bytes(data)
    with pytest.raises((StoreIncompatible, StoreUnavailable)):
        back_up(tmp_path)
    assert not (tmp_path / "archive").exists()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive that tests damage, each in a copy."""
    folder = tmp_path_factory.mktemp("archives")

    async def make() -> None:
        stores = Stores(lambda: open_store(folder / "data", clock=ManualClock(), commit_interval_ms=0))
        await peopled(stores)
        back_up(folder)
        await stores.close()

    asyncio.run(make())
    return folder / "archive"


@settings(max_examples=150)
@given(st.data())
def test_a_byte_that_changed_anywhere_is_noticed(archive: Path, data: st.DataObject) -> None:
    path = archive / data.draw(st.sampled_from(sorted(path.name for path in archive.iterdir())))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    spoiled = bytearray(whole)
    spoiled[at] ^= 1 << bit
    target = archive.parent / "spoiled"
    try:
        path.write_bytes(spoiled)
        with pytest.raises(ArchiveInvalid):
            restore_sqlite(archive, read_manifest(archive), target, now=LATER)
    finally:
        path.write_bytes(whole)
    assert not (target / "posthouse.db").exists()


@pytest.mark.parametrize("missing", ["posthouse.db", "manifest.json"])
def test_a_file_that_is_missing_is_noticed(archive: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(archive, tmp_path / "archive")
    (tmp_path / "archive" / missing).unlink()
    with pytest.raises(ArchiveInvalid):
        restore(tmp_path)


def test_rows_that_the_manifest_does_not_name_are_noticed(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where every checksum is right."""
    shutil.copytree(archive, tmp_path / "archive")
    manifest = read_manifest(tmp_path / "archive")
    counted = {**manifest.rows, "history": manifest.rows["history"] + 1}
    monkeypatch.setattr(restoring, "count_rows", lambda _connection: counted)
    with pytest.raises(PosthouseError, match="does not hold"):
        restore(tmp_path)
