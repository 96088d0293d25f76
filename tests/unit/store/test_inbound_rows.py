"""What comes in: what recognises repetitions may be lost at any time, and rows that do not agree show in the books."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from posthouse.core.inbound import WHOLE, Incident, IncidentKind, Objection, SourceRules
from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.protocol import PassedOn
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.values import DAY_MS, NOW, SOURCE
from posthouse.testing.manual_clock import ManualClock


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(lambda: open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0))
    yield stores
    await stores.close()


@pytest.fixture
def outside(tmp_path: Path) -> apsw.Connection:
    """Another hand on the file, while the node runs."""
    connection = apsw.Connection(str(tmp_path / "posthouse.db"))
    connection.set_busy_timeout(10_000)
    return connection


async def bring(scene: Scene, name: str, *, received_at: int = NOW, source_key: int = SOURCE) -> PassedOn:
    event = scene.values.read_event(name, accepted_at=received_at)
    return await scene.bring_in(event, source_key=source_key, received_at=received_at)


def schema(connection: apsw.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


async def open_incidents(scene: Scene) -> list[Incident]:
    return await scene.incidents(kind=IncidentKind.DEDUPE_UNAVAILABLE, is_open=True)


#: What somebody does to the table.
LOSSES = {
    "dropped": "DROP TABLE seen",
    "renamed": "ALTER TABLE seen RENAME TO gone",
    "spoiled": "DROP TABLE seen; CREATE TABLE seen (n INTEGER)",
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_events_pass_unchecked_while_nothing_recognises_repetitions(
    stores: Stores, outside: apsw.Connection, loss: str
) -> None:
    """Marked, and with one incident a source, until it is made anew."""
    scene = await stores.open()
    await bring(scene, "a")
    before = schema(outside)
    outside.execute(LOSSES[loss])
    for source_key in (SOURCE, SOURCE, 6):
        result = await bring(scene, "a", source_key=source_key)
        assert (result.unchecked, [a.duplicate for a in result.events]) == (True, [False])
        origin = await scene.store.inbound.origin(result.events[0].key)
        assert origin is not None
        assert origin.unchecked
    assert [i.source_key for i in await open_incidents(scene)] == [6, SOURCE]
    assert await scene.store.inbound.prune_dedupe(before=NOW + 1, limit=5) == 0

    assert await scene.store.inbound.restore_dedupe(now=NOW + 7, limit=100)
    outside.execute("DROP TABLE IF EXISTS gone")
    assert schema(outside) == before
    assert await open_incidents(scene) == []
    assert {i.closed_at for i in await scene.incidents()} == {NOW + 7}
    result = await bring(scene, "a")
    assert (result.unchecked, result.events[0].duplicate) == (False, True)
    assert (await bring(scene, "b")).events[0].duplicate is False


async def test_a_call_with_everything_passes_while_it_is_lost(stores: Stores, outside: apsw.Connection) -> None:
    """Also two of one digest in one call; and what has no window need not be checked."""
    scene = await stores.open()
    outside.execute("DROP TABLE seen")
    request = await scene.take()
    events = [scene.values.read_event("a", 7, position=i) for i in range(2)]
    numbered = scene.values.read_event("b", position=2, window_ms=0, stream="s", sequence=1)
    (result,) = await scene.pass_on(scene.reading(request, *events, numbered))
    assert isinstance(result, PassedOn)
    assert [a.duplicate for a in result.events] == [False] * 3
    origins = [await scene.store.inbound.origin(a.key) for a in result.events]
    assert [o.unchecked for o in origins if o is not None] == [True, True, False]
    assert await scene.total() == {"owed": 2, "waiting": 2}
    await scene.source_books()


async def test_it_is_made_anew_in_steps(stores: Stores, outside: apsw.Connection) -> None:
    """The newest first. Until it is whole, what it knows is recognised, and the rest is not."""
    scene = await stores.open()
    for name in "abcde":
        await bring(scene, name)
    outside.execute("DROP TABLE seen")
    restore = scene.store.inbound.restore_dedupe
    assert not await restore(now=NOW, limit=2)
    assert (await bring(scene, "d")).events[0].duplicate
    assert not (await bring(scene, "f")).events[0].duplicate
    assert (await bring(scene, "f")).events[0].duplicate
    result = await bring(scene, "a")
    assert (result.unchecked, result.events[0].duplicate) == (True, False)
    scene = await stores.open()
    steps = 1
    while not await scene.store.inbound.restore_dedupe(now=NOW, limit=2):
        steps += 1
    assert steps == 2
    for name in "abcdef":
        result = await bring(scene, name)
        assert (result.unchecked, result.events[0].duplicate) == (False, True)
    assert await scene.store.inbound.restore_dedupe(now=NOW, limit=2)


async def test_only_what_is_recent_is_looked_at_again(stores: Stores, outside: apsw.Connection) -> None:
    scene = await stores.open()
    ages = {"old": 31 * DAY_MS, "young": 29 * DAY_MS, "new": 0}
    for name, age in ages.items():
        await bring(scene, name, received_at=NOW - age)
    outside.execute("DELETE FROM seen")
    assert await scene.store.inbound.restore_dedupe(now=NOW, limit=100)
    rows = outside.execute("SELECT digest FROM seen WHERE source_key = ?", (SOURCE,)).fetchall()
    assert {bytes(digest).strip(b"\0") for (digest,) in rows if isinstance(digest, bytes)} == {b"young", b"new"}


async def test_a_digest_stands_for_the_latest_of_its_events(stores: Stores, outside: apsw.Connection) -> None:
    """Made anew, it knows what it knew; more rows than one step of it."""
    scene = await stores.open()
    request = await scene.take()
    events = [scene.values.read_event(f"{i}", position=i) for i in range(2_300)]
    await scene.pass_on(scene.reading(request, *events))
    await bring(scene, "7", received_at=NOW + 2 * DAY_MS)
    rows = outside.execute("SELECT * FROM seen ORDER BY source_key, digest").fetchall()
    outside.execute("DROP TABLE seen")
    assert not await scene.store.inbound.restore_dedupe(now=NOW + 2 * DAY_MS, limit=1_500)
    assert await scene.store.inbound.restore_dedupe(now=NOW + 2 * DAY_MS, limit=1_500)
    assert outside.execute("SELECT * FROM seen ORDER BY source_key, digest").fetchall() == rows


#: Damage to the rows, and by how much the books are wrong then.
DAMAGES = {
    "DELETE FROM inbox": 1,
    "INSERT INTO inbox SELECT source_key, request_key, position, NULL, 0, at FROM readings": 2,
    "DELETE FROM readings": 5,
    "DELETE FROM arrivals WHERE rowid = (SELECT min(event_key) FROM arrivals)": 1,
    "DELETE FROM events": 2,
    "DELETE FROM repeats": 1,
    "DELETE FROM quarantine": 1,
    "UPDATE readings SET quarantined = 3": 6,
    "DELETE FROM requests WHERE key IN (SELECT request_key FROM inbox)": 1,
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_rows_that_do_not_agree_show_in_the_books(stores: Stores, outside: apsw.Connection, damage: str) -> None:
    scene = await stores.open()
    request = await scene.take()
    events = [scene.values.read_event(name, position=i) for i, name in enumerate("aba")]
    await scene.pass_on(scene.reading(request, *events))
    await scene.take()
    await scene.bring_in()
    await scene.doubt(await scene.take(), WHOLE, Objection.UNREADABLE)
    await scene.source_books()
    outside.execute(damage)
    (books,) = await scene.store.inbound.audit(Environment.LIVE)
    assert books.imbalance == DAMAGES[damage]


async def test_a_source_that_cannot_be_read_takes_no_other_along(stores: Stores, outside: apsw.Connection) -> None:
    """What nobody can use counts as not there: its requests wait in quarantine."""
    scene = await stores.open()
    sources = [scene.values.source() for _ in range(3)]
    for source in sources:
        await scene.store.catalogue.put_source(source)
    outside.execute("UPDATE sources SET secrets = '[5]' WHERE key = ?", (sources[0].key,))
    outside.execute("UPDATE sources SET rules = '[]' WHERE key = ?", (sources[1].key,))
    found = (await scene.store.catalogue.load()).sources
    assert (found[0].secrets, found[0].rules) == ((), sources[0].rules)
    assert (found[1].secrets, found[1].rules) == (sources[1].secrets, SourceRules())
    assert found[2] == replace(sources[2], revision=3)
