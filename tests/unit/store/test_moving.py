"""Moving a store by comparing ranges: here from directory to directory, the engine's own business set aside."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthouse.core.errors import PlaceOccupied, StoreInUse, StoreMoved
from posthouse.core.ids import time_of
from posthouse.store.open import open_store
from posthouse.store.shared import moving
from posthouse.store.shared.custody import Custody, Holding
from posthouse.store.shared.moving import begin, copy_ahead, finish, undo
from posthouse.store.shared.tables import Table
from posthouse.store.shared.telling import tell_nobody
from posthouse.store.sqlite.carrier import SqliteCarrier
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.values import NOW
from posthouse.testing.manual_clock import ManualClock

LATER = NOW + 3_600_000


def directory(folder: Path) -> Stores:
    return Stores(lambda: open_store(folder, clock=ManualClock(), commit_interval_ms=0))


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "ROWS", 3)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = directory(tmp_path / "first")
    yield stores
    await stores.close()


@pytest.fixture
async def scene(stores: Stores) -> Scene:
    """A store with ten open deliveries."""
    scene = await stores.open()
    for _ in range(10):
        await scene.owe(3)
    return scene


@pytest.fixture
async def ends(tmp_path: Path, scene: Scene) -> AsyncIterator[tuple[SqliteCarrier, SqliteCarrier]]:
    source = SqliteCarrier.source(tmp_path / "first")
    target = SqliteCarrier.target(tmp_path / "second", now=NOW)
    yield source, target
    await source.close()
    await target.close()


class Watched:
    """A carrier, and the tables of which a range was written."""

    def __init__(self, carrier: SqliteCarrier) -> None:
        self._carrier = carrier
        self.replaced: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name == "replace":
            return self._replace
        return getattr(self._carrier, name)

    async def _replace(self, table: Table, *given: object) -> None:
        self.replaced.append(table.name)
        await self._carrier.replace(table, *given)  # type: ignore[arg-type]


async def test_what_came_for_an_old_event_is_taken_in_the_end(
    stores: Stores, scene: Scene, ends: tuple[SqliteCarrier, SqliteCarrier], tmp_path: Path
) -> None:
    """Settled behind the back of the first pass, in a range of which it had copied something."""
    source, target = ends
    (first, second, *_) = (await scene.queue(3)).work
    await scene.settle(second.obligation)
    await begin(source, target, now=LATER)
    await copy_ahead(source, target, tell_nobody)
    await scene.settle(first.obligation)
    books = await scene.total()
    await stores.close()
    await finish(source, target, tell_nobody, now=LATER)
    await target.close()
    there = directory(tmp_path / "second")
    assert await (await there.open()).total() == books == {"owed": 10, "waiting": 8, "delivered": 2}
    await there.close()


async def test_what_is_there_already_is_not_copied_again(
    stores: Stores, scene: Scene, ends: tuple[SqliteCarrier, SqliteCarrier]
) -> None:
    source, target = ends
    watched = Watched(target)
    await begin(source, watched, now=LATER)  # type: ignore[arg-type]
    await copy_ahead(source, watched, tell_nobody)  # type: ignore[arg-type]
    assert watched.replaced.count("events") == 4
    watched.replaced.clear()
    await scene.owe(3)
    await copy_ahead(source, watched, tell_nobody)  # type: ignore[arg-type]
    assert watched.replaced == ["events", "feed_commits"]


async def test_a_row_that_went_is_not_left_behind(
    stores: Stores, scene: Scene, ends: tuple[SqliteCarrier, SqliteCarrier]
) -> None:
    """Behind the last row of the source, too."""
    source, target = ends
    await begin(source, target, now=LATER)
    await copy_ahead(source, target, tell_nobody)
    await stores.close()
    await source.put_custody(await source.custody())  # from here on it may be written to
    connection = source._connection
    connection.execute("DELETE FROM events WHERE key = (SELECT max(key) FROM events)")
    connection.execute("DELETE FROM obligations WHERE event_key NOT IN (SELECT key FROM events)")
    await finish(source, target, tell_nobody, now=LATER)


async def test_no_node_may_run_and_none_starts_on_what_has_moved(
    stores: Stores, ends: tuple[SqliteCarrier, SqliteCarrier], tmp_path: Path
) -> None:
    source, target = ends
    await begin(source, target, now=LATER)
    with pytest.raises(StoreInUse):
        await finish(source, target, tell_nobody, now=LATER)
    await stores.close()
    await finish(source, target, tell_nobody, now=LATER)
    await source.close()
    with pytest.raises(StoreMoved, match="second"):
        await directory(tmp_path / "first").open()


async def test_new_keys_are_beyond_those_of_the_source(
    stores: Stores, scene: Scene, ends: tuple[SqliteCarrier, SqliteCarrier]
) -> None:
    source, target = ends
    await stores.close()
    await begin(source, target, now=LATER)
    await finish(source, target, tell_nobody, now=LATER)
    assert time_of(await target.key_floor()) == LATER


async def test_it_comes_back_only_unused(
    stores: Stores, ends: tuple[SqliteCarrier, SqliteCarrier], tmp_path: Path
) -> None:
    source, target = ends
    await stores.close()
    await begin(source, target, now=LATER)
    await finish(source, target, tell_nobody, now=LATER)
    await target.close()
    there = directory(tmp_path / "second")
    scene = await there.open()
    (work, *_) = (await scene.queue(3)).work
    await scene.settle(work.obligation)
    await there.close()
    target = SqliteCarrier.source(tmp_path / "second")
    with pytest.raises(StoreInUse, match="used since"):
        await undo(source, target, tell_nobody)
    assert (await target.custody()).state is Holding.HERE
    await target.close()


async def test_what_came_back_unused_moves_again(stores: Stores, ends: tuple[SqliteCarrier, SqliteCarrier]) -> None:
    source, target = ends
    await stores.close()
    for _ in range(2):
        await begin(source, target, now=LATER)
        await finish(source, target, tell_nobody, now=LATER)
        await undo(source, target, tell_nobody)
    assert (await source.custody()).state is Holding.HERE
    assert (await target.custody()).state is Holding.MOVED


async def test_a_way_back_that_was_cut_short_overwrites_neither_store(
    stores: Stores, ends: tuple[SqliteCarrier, SqliteCarrier]
) -> None:
    """Neither may run, and it is not known yet whether the new place was used: only the same call again looks."""
    source, target = ends
    await stores.close()
    await begin(source, target, now=LATER)
    await finish(source, target, tell_nobody, now=LATER)
    given = await target.custody()
    await target.put_custody(Custody(Holding.MOVED, source.name, given.since, given.key_floor))
    for one, other in ((source, target), (target, source)):
        with pytest.raises(PlaceOccupied):
            await begin(one, other, now=LATER)
    await undo(source, target, tell_nobody)
    assert (await source.custody()).state is Holding.HERE
