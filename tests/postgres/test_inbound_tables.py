"""What comes in, on PostgreSQL: what recognises repetitions may be lost at any time, and two nodes may do the same."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from posthouse.core.errors import PosthouseError
from posthouse.core.gaps import STEPS_MIN
from posthouse.core.inbound import WHOLE, Incident, IncidentKind, Objection, Resolution
from posthouse.core.model import Environment
from posthouse.store.postgres import taking
from posthouse.store.protocol import Doubt, Gone, PassedOn, StaleCatalogue
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.values import DAY_MS, NOW, SOURCE
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, deadlocks, drop_database, make_database, open_store_at

Outside: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ALL_SEEN = "SELECT source_key, digest, event_key, event_id, at FROM seen ORDER BY source_key, digest"
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'seen' ORDER BY indexname"


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
async def outside(cluster: Cluster, database: str) -> AsyncIterator[Outside]:
    """Another hand on the tables, while the node runs."""
    connection = await connect(cluster, database)
    await connection.execute("SET search_path = posthouse")
    yield connection
    await connection.close()


@pytest.fixture
async def nodes(cluster: Cluster, database: str) -> AsyncIterator[tuple[Scene, Scene]]:
    """Two nodes on one store."""
    first = Stores(lambda: open_store_at(cluster.dsn(database)))
    scene = await first.open()
    other = await open_store_at(cluster.dsn(database))
    yield scene, Scene(other, "other", {}, scene.values)
    await other.close()
    await first.close()


async def bring(scene: Scene, name: str, *, received_at: int = NOW, source_key: int = SOURCE) -> PassedOn:
    event = scene.values.read_event(name, accepted_at=received_at)
    return await scene.bring_in(event, source_key=source_key, received_at=received_at)


async def open_incidents(scene: Scene) -> list[Incident]:
    return await scene.incidents(kind=IncidentKind.DEDUPE_UNAVAILABLE, is_open=True)


#: What somebody does to the table.
LOSSES = {
    "dropped": "DROP TABLE seen",
    "renamed": "ALTER TABLE seen RENAME TO gone",
    "spoiled": "DROP TABLE seen; CREATE TABLE seen (n integer)",
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_events_pass_unchecked_while_nothing_recognises_repetitions(
    stores: Stores, outside: Outside, loss: str
) -> None:
    """Marked, and with one incident a source, until it is made anew."""
    scene = await stores.open()
    await bring(scene, "a")
    before = await outside.fetch(INDEXES)
    await outside.execute(LOSSES[loss])
    for source_key in (SOURCE, SOURCE, 6):
        result = await bring(scene, "a", source_key=source_key)
        assert (result.unchecked, [a.duplicate for a in result.events]) == (True, [False])
        origin = await scene.store.inbound.origin(result.events[0].key)
        assert origin is not None
        assert origin.unchecked
    assert [i.source_key for i in await open_incidents(scene)] == [6, SOURCE]
    assert await scene.store.inbound.prune_dedupe(before=NOW + 1, limit=5) == 0

    assert await scene.store.inbound.restore_dedupe(now=NOW + 7, limit=100)
    if loss != "renamed":  # what was renamed still has the name of the key's index
        assert await outside.fetch(INDEXES) == before
    assert await open_incidents(scene) == []
    assert {i.closed_at for i in await scene.incidents()} == {NOW + 7}
    result = await bring(scene, "a")
    assert (result.unchecked, result.events[0].duplicate) == (False, True)
    assert (await bring(scene, "b")).events[0].duplicate is False


async def test_a_table_that_can_be_read_and_not_written_is_lost_too(stores: Stores, outside: Outside) -> None:
    scene = await stores.open()
    await bring(scene, "a")
    await outside.execute("ALTER TABLE seen DROP CONSTRAINT seen_pkey")
    assert (await bring(scene, "a")).events[0].duplicate
    assert (await bring(scene, "b")).unchecked
    assert await scene.store.inbound.restore_dedupe(now=NOW, limit=100)
    for name in "ab":
        result = await bring(scene, name)
        assert (result.unchecked, result.events[0].duplicate) == (False, True)


async def test_a_call_with_everything_passes_while_it_is_lost(stores: Stores, outside: Outside) -> None:
    """Also two of one digest in one call; and what has no window need not be checked."""
    scene = await stores.open()
    await outside.execute("DROP TABLE seen")
    request = await scene.take()
    events = [scene.values.read_event("a", 7, position=i) for i in range(2)]
    numbered = scene.values.read_event("b", position=2, window_ms=0, stream="s", sequence=1)
    (result,) = await scene.pass_on(scene.reading(request, *events, numbered))
    assert isinstance(result, PassedOn)
    assert [a.duplicate for a in result.events] == [False] * 3
    origins = [await scene.store.inbound.origin(a.key) for a in result.events]
    assert [o.unchecked for o in origins if o is not None] == [True, True, False]
    await scene.source_books()


async def test_it_is_made_anew_in_steps(stores: Stores, outside: Outside) -> None:
    """The newest first. Until it is whole, what it knows is recognised, and the rest is not."""
    scene = await stores.open()
    for name in "abcde":
        await bring(scene, name)
    await outside.execute("DROP TABLE seen")
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


async def test_an_incident_that_opened_while_it_became_whole_is_closed(stores: Stores) -> None:
    """Its reading began before that, and ended after it."""
    scene = await stores.open()
    incident = scene.values.incident(kind=IncidentKind.DEDUPE_UNAVAILABLE)
    await scene.store.inbound.open_incident(incident)
    assert await scene.store.inbound.restore_dedupe(now=NOW + 5, limit=1)
    assert [i.closed_at for i in await scene.incidents()] == [NOW + 5]


async def test_only_what_is_recent_is_looked_at_again(stores: Stores, outside: Outside) -> None:
    scene = await stores.open()
    ages = {"old": 31 * DAY_MS, "young": 29 * DAY_MS, "new": 0}
    for name, age in ages.items():
        await bring(scene, name, received_at=NOW - age)
    await outside.execute("DELETE FROM seen")
    assert await scene.store.inbound.restore_dedupe(now=NOW, limit=100)
    rows = await outside.fetch("SELECT digest FROM seen WHERE source_key = $1", SOURCE)
    assert {row["digest"].strip(b"\0") for row in rows} == {b"young", b"new"}


async def test_a_digest_stands_for_the_latest_of_its_events(stores: Stores, outside: Outside) -> None:
    """Made anew, it knows what it knew."""
    scene = await stores.open()
    request = await scene.take()
    await scene.pass_on(scene.reading(request, *(scene.values.read_event(f"{i}", position=i) for i in range(2_300))))
    await bring(scene, "7", received_at=NOW + 2 * DAY_MS)
    rows = await outside.fetch(ALL_SEEN)
    await outside.execute("DROP TABLE seen")
    assert not await scene.store.inbound.restore_dedupe(now=NOW + 2 * DAY_MS, limit=1_500)
    assert await scene.store.inbound.restore_dedupe(now=NOW + 2 * DAY_MS, limit=1_500)
    assert await outside.fetch(ALL_SEEN) == rows


async def test_text_that_cannot_be_stored_spoils_nothing(stores: Stores) -> None:
    """It comes from outside, and is kept as far as it can be."""
    scene = await stores.open()
    request = await scene.take(url="/in/\0", head="X: \0\ud800\r\n", objection=Objection.BAD_SIGNATURE)
    record = await scene.store.inbound.request(request.key)
    assert record is not None
    assert (record.request.url, record.request.head) == ("/in/\ufffd", "X: \ufffd\ufffd\r\n")

    request = await scene.take()
    events = [
        scene.values.read_event(f"{n}", position=n, stream="s\0" if n % 2 else "s\ud800", sequence=n) for n in range(30)
    ]
    doubt = Doubt(40, Objection.UNREADABLE, "It says \0.", "a\0b")
    (result,) = await scene.pass_on(scene.reading(request, *events, doubts=(doubt,), delivery="d\0"))
    assert isinstance(result, PassedOn)
    record = await scene.store.inbound.request(request.key)
    assert record is not None
    assert record.delivery == "d\ufffd"
    (entry, _refused) = await scene.quarantine()
    assert (entry.detail, entry.type) == ("It says \ufffd.", "a\ufffdb")
    await scene.bring_in(scene.values.read_event("x", stream="s\0", sequence=31))
    assert [(gap.stream, gap.first) for gap in await scene.incidents()] == [("s\ufffd", 30)]


async def test_a_call_that_is_too_much_for_one_statement_is_one_transaction(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PART_BYTES", 5_000)
    scene = await stores.open()
    arrivals = [scene.values.arrival(body=b"x" * 1_000) for _ in range(9)]
    with pytest.raises(PosthouseError, match="duplicate key"):
        await scene.store.inbound.take([*arrivals, arrivals[0]])
    assert (await scene.inbox()).items == ()
    await scene.store.inbound.take(arrivals)
    assert [i.request for i in (await scene.inbox()).items] == [a.request for a in arrivals]


#: Damage to the rows, and by how much the books are wrong then.
DAMAGES = {
    "DELETE FROM inbox": 1,
    "INSERT INTO inbox SELECT source_key, request_key, at, position, 0, NULL FROM readings": 2,
    "DELETE FROM readings": 5,
    "DELETE FROM arrivals WHERE event_key = (SELECT min(event_key) FROM arrivals)": 1,
    "DELETE FROM events": 2,
    "DELETE FROM repeats": 1,
    "DELETE FROM quarantine": 1,
    "UPDATE readings SET quarantined = 3": 6,
    "DELETE FROM requests WHERE key IN (SELECT request_key FROM inbox)": 1,
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_rows_that_do_not_agree_show_in_the_books(stores: Stores, outside: Outside, damage: str) -> None:
    scene = await stores.open()
    request = await scene.take()
    events = [scene.values.read_event(name, position=i) for i, name in enumerate("aba")]
    await scene.pass_on(scene.reading(request, *events))
    await scene.take()
    await scene.bring_in()
    await scene.doubt(await scene.take(), WHOLE, Objection.UNREADABLE)
    await scene.source_books()
    await outside.execute(damage)
    (books,) = await scene.store.inbound.audit(Environment.LIVE)
    assert books.imbalance == DAMAGES[damage]


class TestTwoNodes:
    """Two nodes do the same at once: it happens once, and both hear the truth."""

    async def test_one_item(self, nodes: tuple[Scene, Scene]) -> None:
        scene = nodes[0]
        requests = [await scene.take() for _ in range(30)]
        calls = []
        for i, request in enumerate(requests):
            for node in nodes:
                reading = node.reading(request, node.values.read_event(f"{i}", 7))
                calls.append(node.pass_on(reading))
        results = [result for (result,) in await asyncio.gather(*calls)]
        for pair in zip(results[::2], results[1::2], strict=True):
            assert {type(result) for result in pair} == {PassedOn, Gone}
        books = await scene.source_books()
        assert (books.read, books.events, books.duplicates) == (30, 30, 0)

    async def test_one_digest(self, nodes: tuple[Scene, Scene]) -> None:
        scene = nodes[0]
        calls = []
        for i in range(30):
            for node in nodes:
                request = await node.take()
                calls.append(node.pass_on(node.reading(request, node.values.read_event(f"{i}"))))
        results = [result for (result,) in await asyncio.gather(*calls)]
        for pair in zip(results[::2], results[1::2], strict=True):
            assert sorted(r.events[0].duplicate for r in pair if isinstance(r, PassedOn)) == [False, True]
        assert (await scene.source_books()).duplicates == 30

    async def test_one_entry_of_the_quarantine(self, nodes: tuple[Scene, Scene]) -> None:
        scene = nodes[0]
        entries = [((await scene.take(objection=Objection.NO_SECRET)).key, WHOLE) for _ in range(40)]
        both = await asyncio.gather(
            *(
                node.store.inbound.resolve(named[start : start + 8], Resolution.RELEASED, now=NOW)
                for node, named in zip(nodes, (entries, entries[::-1]), strict=True)
                for start in range(0, 40, 8)
            )
        )
        assert sorted(entry for left in both for entry in left) == entries
        assert len((await scene.inbox()).items) == 40
        await scene.source_books()

    async def test_one_incident(self, nodes: tuple[Scene, Scene]) -> None:
        scene = nodes[0]
        for _ in range(10):
            opened = await asyncio.gather(*(n.store.inbound.open_incident(n.values.incident()) for n in nodes))
            assert sorted(opened) == [False, True]
            kind = IncidentKind.SOURCE_SILENT
            closed = await asyncio.gather(*(n.store.inbound.close_incident(kind, SOURCE, now=NOW) for n in nodes))
            assert sorted(closed) == [False, True]
        assert len(await scene.incidents()) == 10

    async def test_one_stream(self, nodes: tuple[Scene, Scene]) -> None:
        """Each number is counted, whoever reads it: all that is missing at first came in the end."""
        scene = nodes[0]
        first = [scene.values.read_event(f"{n}", stream="s", sequence=n) for n in range(STEPS_MIN + 2)]
        await scene.bring_in(*first)
        calls = []
        for number in range(STEPS_MIN + 2, STEPS_MIN + 62):
            node = nodes[number % 2]
            request = await node.take()
            event = node.values.read_event(f"{number}", stream="s", sequence=number)
            calls.append(node.pass_on(node.reading(request, event)))
        await asyncio.gather(*reversed(calls))
        gaps = await scene.incidents(kind=IncidentKind.SEQUENCE_GAP, limit=100)
        assert gaps
        assert {(gap.missing, gap.closed_at) for gap in gaps} == {(0, NOW)}

    async def test_a_catalogue_that_changes(self, nodes: tuple[Scene, Scene]) -> None:
        """Whatever was routed by an old one was stored before it changed, or not at all."""
        scene, other = nodes
        stored: list[Any] = []

        async def bring_all() -> None:
            version = 0
            for i in range(40):
                request = await scene.take()
                event = scene.values.read_event(f"{i}")
                (result,) = await scene.pass_on(scene.reading(request, event, catalogue_version=version))
                if isinstance(result, StaleCatalogue):
                    version = result.version
                    (result,) = await scene.pass_on(scene.reading(request, event, catalogue_version=version))
                stored.append(result)

        async def change() -> None:
            for _ in range(20):
                await other.store.catalogue.put_endpoint(other.values.endpoint())

        await asyncio.gather(bring_all(), change())
        books = await scene.source_books()
        assert books.read == sum(isinstance(result, PassedOn) for result in stored)

    async def test_one_passes_on_while_the_other_makes_the_memory_anew(
        self, nodes: tuple[Scene, Scene], outside: Outside
    ) -> None:
        """No event is missing in it afterwards, whenever it came."""
        scene, other = nodes
        for i in range(10):
            await bring(scene, f"before{i}")
        for turn in range(8):
            await outside.execute("DROP TABLE seen")
            names = [f"{turn}.{i}" for i in range(20)]

            async def restore() -> None:
                while not await other.store.inbound.restore_dedupe(now=NOW, limit=4):
                    pass

            await asyncio.gather(restore(), *(bring(scene, name) for name in names))
            assert await other.store.inbound.restore_dedupe(now=NOW, limit=1_000)
            assert await open_incidents(scene) == []
            for name in (*names, "before0", "before9"):
                result = await bring(scene, name)
                assert (result.unchecked, result.events[0].duplicate) == (False, True)

    async def test_everything_at_once_waits_in_no_circle(
        self, nodes: tuple[Scene, Scene], cluster: Cluster, database: str
    ) -> None:
        """Locks are taken in one order."""
        scene, other = nodes

        async def read(node: Scene, number: int) -> None:
            for i in range(15):
                requests = [await node.take(source_key=5 + (number + j) % 4) for j in range(4)]
                await node.pass_on(
                    *(
                        node.reading(r, node.values.read_event(f"{i % 5}", stream="s", sequence=number * 15 + i))
                        for r in requests
                    )
                )

        async def look_after(node: Scene) -> None:
            inbound = node.store.inbound
            for i in range(15):
                await inbound.prune_dedupe(before=NOW + 1, limit=10)
                await inbound.restore_dedupe(now=NOW, limit=10)
                await inbound.open_incident(node.values.incident(source_key=5 + i % 4))
                await inbound.close_incident(IncidentKind.SOURCE_SILENT, 5 + i % 4, now=NOW)

        await asyncio.gather(*(read(node, n) for n, node in enumerate((scene, other, scene, other))))
        await asyncio.gather(*(f for n in (scene, other) for f in (read(n, 9), look_after(n))))
        assert all(b.imbalance == 0 for b in await scene.store.inbound.audit(Environment.LIVE))
        for node in nodes:
            await node.store.close()
        assert await deadlocks(cluster, database) == 0
