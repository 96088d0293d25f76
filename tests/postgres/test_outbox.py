"""Draining the outbox: what is committed becomes an event once, in order; what is not, never.

Each law holds in the store's own database, and in another one beside an embedded store.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from posthouse.core import limits
from posthouse.core.errors import ConfigurationError, StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import Endpoint, Environment, Lane
from posthouse.sdk.outbox import outbox_schema, publish
from posthouse.store.open import open_outbox, open_store
from posthouse.store.postgres.dial import PINNED
from posthouse.store.postgres.store import open_postgres
from posthouse.store.protocol import OutboxRow, OutboxSource, OutboxStatus, Store
from posthouse.store.protocol.outbox import Deal, OutboxDoubt, Submit
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, UNSAFE, connect, drop_database, make_database
from posthouse.testing.postgres.plans import touched
from posthouse.testing.postgres.waiting import until
from posthouse.testing.sluice import Sluice

NOW = 1_800_000_000_000


class Scene:
    """An outbox, what drains it, and an application's connections to its database."""

    def __init__(self, cluster: Cluster, database: str, folder: Path, *, own: bool) -> None:
        self.clock = ManualClock(NOW)
        self.own = own
        self.sluice: Sluice
        self.source: OutboxSource
        self._cluster, self._database, self._folder = cluster, database, folder
        self._stack = AsyncExitStack()
        self._stores: list[Store] = []

    @property
    def dsn(self) -> str:
        return self._cluster.dsn(self._database)

    async def connect(self) -> Any:
        connection = await connect(self._cluster, self._database)
        self._stack.push_async_callback(connection.close)
        return connection

    async def open(self, reach: Reach = pass_by) -> Sluice:
        """A gateway; the one before it is gone, as if its process had been killed."""
        await self.kill()
        if self.own:
            store: Store = await open_postgres(
                self.dsn, clock=self.clock, commit_interval_ms=0, rules=UNSAFE, reach=reach
            )
            assert store.outbox is not None
            self.source = store.outbox
        else:
            store = await open_store(self._folder, clock=self.clock, commit_interval_ms=0)
            self.source = open_outbox(self.dsn, store)
        self._stores.append(store)
        self.sluice = await Sluice.open(store, self.source, clock=self.clock)
        return self.sluice

    async def kill(self) -> None:
        while self._stores:
            await self.source.close()
            await self._stores.pop().close()

    async def close(self) -> None:
        await self.kill()
        await self._stack.aclose()

    async def types(self) -> list[str]:
        return [event.type for event in await self.sluice.events()]

    async def waiting(self) -> int:
        return (await self.source.status()).waiting


@pytest.fixture(params=["own", "other"])
async def scene(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Scene]:
    own = request.param == "own"
    name = await make_database(cluster) if own else await make_database(cluster, template=EMPTY)
    scene = Scene(cluster, name, tmp_path / "data", own=own)
    if not own:
        await (await scene.connect()).execute(outbox_schema())
    await scene.open()
    yield scene
    await scene.close()
    await drop_database(cluster, name)


def event(type_: str, **fields: object) -> dict[str, object]:
    return {"type": type_, "data": {}, **fields}


async def say(connection: Any, *types: str, **fields: object) -> None:
    """Publish events of these types in one transaction."""
    async with connection.transaction():
        for type_ in types:
            await publish(connection, event(type_, **fields))


async def insert(connection: Any, **columns: object) -> None:
    """A row as anybody may write one."""
    row = {"id": f"raw-{next(NUMBERS)}", "type": "raw", "data": b"{}", **columns}
    places = ", ".join(f"${i}" for i in range(1, len(row) + 1))
    await connection.execute(
        f"INSERT INTO posthouse.posthouse_outbox_v1 ({', '.join(row)}) VALUES ({places})",  # noqa: S608
        *row.values(),
    )


NUMBERS = iter(range(1_000_000))


# -- what commits, and only that ------------------------------------------------------------------


async def test_what_commits_is_published_and_what_is_rolled_back_is_not(scene: Scene) -> None:
    application = await scene.connect()
    for n in range(6):
        turn = application.transaction()
        await turn.start()
        await publish(application, event(f"n.{n}"))
        await (turn.commit() if n % 2 else turn.rollback())
    assert await scene.sluice.empty() == 3
    assert await scene.types() == ["n.1", "n.3", "n.5"]
    assert await scene.waiting() == 0
    assert await scene.sluice.empty() == 0


async def test_an_event_is_as_it_was_published(scene: Scene) -> None:
    application = await scene.connect()
    said = event("order.paid", id="own/1", tenant="acme", ordering_key="k 1", occurred_at="2026-11-22T08:30:00Z")
    async with application.transaction():
        await publish(application, {**said, "data": {"ü": [1, 2.50]}})
        await publish(application, event("order.tried"), environment="test")
    await scene.sluice.empty()
    (event_,) = await scene.sluice.events()
    assert (event_.id, event_.tenant, event_.ordering_key, event_.type) == ("own/1", "acme", "k 1", "order.paid")
    assert (event_.accepted_at, event_.occurred_at) == (NOW, 1_795_336_200_000)
    assert event_.data == '{"ü":[1,2.5]}'.encode()
    (test_event,) = await scene.sluice.events(Environment.TEST)
    assert test_event.id[14] == "7", "the UUID that publish gave it"


async def test_who_commits_late_is_not_left_behind(scene: Scene) -> None:
    """The trap of every cursor: an older number that becomes visible when younger ones are gone."""
    slow, quick = await scene.connect(), await scene.connect()
    turn = slow.transaction()
    await turn.start()
    await publish(slow, event("late"))
    await say(quick, "early")
    assert await scene.sluice.empty() == 1
    await say(quick, "second")
    assert await scene.sluice.empty() == 1
    await turn.commit()
    assert await scene.sluice.empty() == 1
    assert await scene.types() == ["early", "second", "late"]


async def test_the_order_of_a_transaction_and_of_those_that_depend_on_it_is_kept(scene: Scene) -> None:
    """The second one waits for a row of the first, so what it publishes comes behind."""
    first, second = await scene.connect(), await scene.connect()
    await first.execute("CREATE TABLE mine (one integer PRIMARY KEY); INSERT INTO mine VALUES (1)")

    async def depend() -> None:
        async with second.transaction():
            await second.execute("SELECT FROM mine WHERE one = 1 FOR UPDATE")
            await publish(second, event("second.a"))
            await publish(second, event("second.b"))

    async with first.transaction():
        await first.execute("SELECT FROM mine WHERE one = 1 FOR UPDATE")
        depending = asyncio.ensure_future(depend())
        await until(lambda: first.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
        for n in range(20):
            await publish(first, event(f"first.{n}"))
        assert await scene.sluice.empty() == 0
    await depending
    await scene.sluice.empty()
    assert await scene.types() == [*(f"first.{n}" for n in range(20)), "second.a", "second.b"]
    keys = [found.key for found in await scene.sluice.events()]
    assert keys == sorted(keys)


async def test_more_than_one_drain_takes_keeps_its_order(scene: Scene) -> None:
    application = await scene.connect()
    async with application.transaction():
        for n in range(limits.OUTBOX_ROWS_MAX + 3):
            await publish(application, event(f"n.{n}"))
    assert await scene.sluice.drain.step() == limits.OUTBOX_ROWS_MAX
    assert await scene.sluice.drain.step() == 3
    assert await scene.types() == [f"n.{n}" for n in range(limits.OUTBOX_ROWS_MAX + 3)]


async def test_a_drain_takes_few_large_rows(scene: Scene) -> None:
    application = await scene.connect()
    large = json.dumps("x" * (limits.EVENT_BODY_BYTES_MAX - 2)).encode()
    for n in range(10):
        await insert(application, type=f"n.{n}", data=large)
    assert await scene.sluice.drain.step() == 8, "8 MiB"
    assert await scene.sluice.drain.step() == 2
    assert await scene.types() == [f"n.{n}" for n in range(10)]


# -- once -----------------------------------------------------------------------------------------


class Killed(Exception):
    """The process ends here."""


class Dying:
    """A source whose process is killed when its rows were dealt with, and nothing of that was told."""

    def __init__(self, source: OutboxSource) -> None:
        self.is_own = source.is_own
        self._source = source

    async def drain(self, deal: Deal, *, limit: int) -> int:
        async def deal_and_die(rows: Sequence[OutboxRow], submit: Submit | None) -> dict[int, OutboxDoubt]:
            await deal(rows, submit)
            raise Killed

        return await self._source.drain(deal_and_die, limit=limit)

    async def status(self) -> OutboxStatus:
        return await self._source.status()

    async def close(self) -> None:
        await self._source.close()


async def test_a_crash_between_accepting_and_deleting_repeats_nothing(scene: Scene) -> None:
    application = await scene.connect()
    await say(application, "a", "b")
    for _ in range(3):
        dying = await Sluice.open(scene.sluice.store, Dying(scene.source), clock=scene.clock)
        with pytest.raises(Killed):
            await dying.drain.step()
        assert await scene.types() == ([] if scene.own else ["a", "b"])
        assert await scene.waiting() == 2
        await scene.open()
    await say(application, "c")
    assert await scene.sluice.empty() == 3
    assert await scene.types() == ["a", "b", "c"]
    assert scene.sluice.metrics.events_duplicate == (0 if scene.own else 2)


@pytest.mark.parametrize("scene", ["own"], indirect=True)
@pytest.mark.parametrize(("point", "durable"), [(Failpoint.COMMIT_DUE, False), (Failpoint.COMMIT_KNOWN, True)])
async def test_a_crash_around_the_commit_leaves_both_or_nothing(
    scene: Scene, point: Failpoint, *, durable: bool
) -> None:
    await say(await scene.connect(), "a", "b")
    armed = False

    def reach(reached: Failpoint) -> None:
        if armed and reached is point:
            raise Killed

    sluice = await scene.open(reach)
    armed = True
    with pytest.raises(Killed):
        await sluice.drain.step()
    armed = False
    assert sluice.heard == []
    await scene.open()
    assert await scene.types() == (["a", "b"] if durable else [])
    assert await scene.sluice.empty() == (0 if durable else 2)
    assert await scene.types() == ["a", "b"]


async def test_one_drains_at_a_time(scene: Scene) -> None:
    """Who comes meanwhile finds nothing, and does not wait."""
    application = await scene.connect()
    await say(application, "a", "b")
    holds, go_on = asyncio.Event(), asyncio.Event()

    async def hold(rows: Sequence[OutboxRow], _submit: Submit | None) -> dict[int, OutboxDoubt]:
        holds.set()
        await go_on.wait()
        assert [row.type for row in rows] == ["a", "b"]
        raise Killed

    other = open_outbox(scene.dsn, scene.sluice.store) if not scene.own else await second_store(scene)
    holding = asyncio.ensure_future(other.drain(hold, limit=10))
    await holds.wait()
    await say(application, "c")
    assert await scene.sluice.drain.step() == 0
    go_on.set()
    with pytest.raises(Killed):
        await holding
    published = 0
    while not published:  # the server notices a moment later that the other one hung up
        published = await scene.sluice.empty()
    assert published == 3
    assert await scene.types() == ["a", "b", "c"]
    if not scene.own:
        await other.close()


async def second_store(scene: Scene) -> OutboxSource:
    store = await open_postgres(scene.dsn, clock=scene.clock, commit_interval_ms=0, rules=UNSAFE)
    scene._stores.insert(0, store)
    assert store.outbox is not None
    return store.outbox


async def test_what_was_published_before_under_the_same_id_is_recognised(scene: Scene) -> None:
    application = await scene.connect()
    body = json.dumps(event("a", id="x")).encode()
    await scene.sluice.publisher.publish(Environment.LIVE, body.replace(b" ", b""), None)
    await say(application, "a", id="x")
    await say(application, "a", id="x")
    await say(application, "b", id="y")
    await say(application, "b", id="y")
    assert await scene.sluice.empty() == 4
    assert await scene.types() == ["a", "b"]
    assert (await scene.source.status()).doubts == 0


async def test_whatever_applications_and_drains_do_in_turn(scene: Scene) -> None:
    """Four connections publish, nest, commit and roll back at random while drains, crashes and restarts go on.

    What is published is what was committed, and of each connection in the order of its commits.
    """
    chance = random.Random(11)
    tills = [await scene.connect() for _ in range(4)]
    open_: list[list[tuple[Any, list[str]]]] = [[] for _ in tills]  # transactions in each other, and what they said
    committed: list[list[str]] = [[] for _ in tills]
    said = itertools.count()
    for _ in range(400):
        n = chance.randrange(len(tills))
        levels = open_[n]
        act = chance.choice(["begin", "publish", "publish", "commit", "roll back", "drain", "crash"])
        if act == "begin" and len(levels) < 3:
            turn = tills[n].transaction()
            await turn.start()
            levels.append((turn, []))
        elif act == "publish" and levels:
            type_ = f"till-{n}.{next(said)}"
            await publish(tills[n], event(type_))
            levels[-1][1].append(type_)
        elif act in {"commit", "roll back"} and levels:
            turn, types = levels.pop()
            await (turn.commit() if act == "commit" else turn.rollback())
            if act == "commit":
                (levels[-1][1] if levels else committed[n]).extend(types)
        elif act == "drain":
            await scene.sluice.drain.step()
        elif act == "crash":
            dying = await Sluice.open(scene.sluice.store, Dying(scene.source), clock=scene.clock)
            with contextlib.suppress(Killed):
                await dying.drain.step()
    await scene.sluice.empty()
    published = await scene.types()
    assert sum(map(len, committed)) == len(published) > 20
    for n, types in enumerate(committed):
        assert [type_ for type_ in published if type_.startswith(f"till-{n}.")] == types


# -- what cannot be an event -----------------------------------------------------------------------

BAD: list[tuple[dict[str, object], str]] = [
    ({"type": ""}, "event_type"),
    ({"type": "ä"}, "event_type"),
    ({"type": "x" * 5_000}, "event_type"),
    ({"tenant": "no blank"}, "tenant_id"),
    ({"id": "a.b"}, "event_id"),
    ({"id": "evt_0000000000000"}, "reserved_id"),
    ({"id": ""}, "event_id"),
    ({"environment": "staging"}, "environment"),
    ({"ordering_key": "\n"}, "ordering_key"),
    ({"occurred_at": -1}, "invalid"),
    ({"occurred_at": 1 << 62}, "invalid"),
    ({"data": b"{"}, "malformed_json"),
    ({"data": b""}, "malformed_json"),
    ({"data": b'"\xff"'}, "malformed_json"),
    ({"data": b'"\\u0000"'}, "null_character"),
    ({"data": b"[" * 65 + b"]" * 65}, "nested_too_deep"),
    ({"data": b"1" * (limits.EVENT_BODY_BYTES_MAX + 1)}, "too_large"),
]


async def test_rows_that_cannot_be_events_are_put_aside_whole_and_hold_up_nobody(scene: Scene) -> None:
    application = await scene.connect()
    for columns, _code in BAD:
        await insert(application, **columns)
        await insert(application, type="good")
    assert await scene.sluice.empty() == 2 * len(BAD)
    assert await scene.types() == ["good"] * len(BAD)
    doubts = await application.fetch("SELECT * FROM posthouse.posthouse_outbox_v1_doubts ORDER BY n")
    assert [doubt["code"] for doubt in doubts] == [code for _columns, code in BAD]
    for doubt, (columns, _code) in zip(doubts, BAD, strict=True):
        assert {name: doubt[name] for name in columns} == columns
        assert doubt["why"]
    assert (await scene.source.status()).doubts == len(BAD)
    metrics = scene.sluice.metrics
    assert (metrics.outbox_taken, metrics.outbox_doubted) == (len(BAD), len(BAD))


async def test_an_id_that_stands_for_another_event_is_doubted(scene: Scene) -> None:
    application = await scene.connect()
    await insert(application, id="x", type="first")
    await insert(application, type="between")
    await insert(application, id="x", type="other")
    await scene.sluice.empty()
    await insert(application, id="x", type="later")
    await insert(application, type="last")
    await scene.sluice.empty()
    assert await scene.types() == ["first", "between", "last"]
    doubts = await application.fetch("SELECT type, code FROM posthouse.posthouse_outbox_v1_doubts ORDER BY n")
    assert [tuple(doubt) for doubt in doubts] == [
        ("other", "idempotency_conflict"),
        ("later", "idempotency_conflict"),
    ]


async def test_a_doubt_that_was_mended_is_published(scene: Scene) -> None:
    """As docs/outbox.md says how."""
    application = await scene.connect()
    await insert(application, id="x", type="a b")
    await scene.sluice.empty()
    await application.execute(
        "WITH mended AS (DELETE FROM posthouse.posthouse_outbox_v1_doubts WHERE id = 'x' RETURNING *)"
        " INSERT INTO posthouse.posthouse_outbox_v1 (id, environment, tenant, type, data)"
        " SELECT id, environment, tenant, 'a.b', data FROM mended"
    )
    await scene.sluice.empty()
    assert await scene.types() == ["a.b"]


# -- what is owed ----------------------------------------------------------------------------------


async def add_endpoint(scene: Scene, tenant: str = "default") -> Endpoint:
    endpoint = Endpoint(key=7, environment=Environment.LIVE, tenant=tenant, url="https://example.com/", events=("*",))
    await scene.sluice.store.catalogue.put_endpoint(endpoint)
    return endpoint


async def test_the_engine_hears_what_is_owed_when_it_is_durable(scene: Scene) -> None:
    """By the catalogue of that moment, although the node's copy is older."""
    await add_endpoint(scene)
    await say(await scene.connect(), "a", "b")
    await scene.sluice.empty()
    events = await scene.sluice.events()
    assert [(work.event, work.obligation.endpoint_key) for work in scene.sluice.heard] == [(e, 7) for e in events]
    assert scene.sluice.metrics.events_accepted == 2


async def test_a_tenant_that_was_named_first_is_known(scene: Scene) -> None:
    await say(await scene.connect(), "a", tenant="acme")
    await scene.sluice.empty()
    tenant = scene.sluice.catalogue.tenant(Environment.LIVE, "acme")
    (stored,) = (await scene.sluice.store.catalogue.load()).tenants
    assert tenant == msgspec.structs.replace(stored, revision=0)  # which one it has is read later


async def test_what_waited_for_long_starts_behind_what_is_fresh(scene: Scene) -> None:
    """And one that says itself when it occurred is as old as it says."""
    await add_endpoint(scene)
    application = await scene.connect()
    at = NOW / 1_000
    long_ago = at - limits.FRESH_SECONDS_DEFAULT - 1
    for seconds, occurred_at in ((at, None), (long_ago, None), (long_ago, NOW), (at, round(long_ago * 1_000))):
        await application.execute(
            "INSERT INTO posthouse.posthouse_outbox_v1 (type, data, published_at, occurred_at)"
            " VALUES ('a', '{}', to_timestamp($1), $2)",
            seconds,
            occurred_at,
        )
    await scene.sluice.empty()
    lanes = [work.obligation.lane for work in scene.sluice.heard]
    assert lanes == [Lane.LIVE, Lane.BACKLOG, Lane.LIVE, Lane.BACKLOG]


# -- the outbox itself -----------------------------------------------------------------------------


async def test_the_status_counts_what_waits(scene: Scene) -> None:
    status = await scene.source.status()
    assert (status.waiting, status.oldest_at, status.doubts) == (0, None, 0)
    application = await scene.connect()
    before = await application.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    await say(application, "a", "b")
    status = await scene.source.status()
    assert status.waiting == 2
    assert status.oldest_at is not None
    assert before <= status.oldest_at < before + 60_000
    assert status.source == await application.fetchval("SELECT source FROM posthouse.posthouse_outbox_v1_head")


async def test_while_the_database_is_away_events_wait(scene: Scene, cluster: Cluster) -> None:
    """And the drain goes on by itself when it is back."""
    application = await scene.connect()
    await say(application, "a")
    assert await scene.sluice.empty() == 1
    await say(application, "b")
    await application.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'posthouse:%'"
    )

    async def drained() -> bool:
        try:
            return await scene.sluice.empty() == 1
        except StoreUnavailable:
            return False

    await until(drained)
    assert await scene.types() == ["a", "b"]


@pytest.mark.parametrize("scene", ["own"], indirect=True)
async def test_the_stores_own_outbox_is_not_drained_by_another_way_too(scene: Scene) -> None:
    application = await scene.connect()
    await say(application, "a")
    source = open_outbox(scene.dsn, scene.sluice.store)
    other = await Sluice.open(scene.sluice.store, source, clock=scene.clock)
    with pytest.raises(ConfigurationError):
        await other.drain.step()
    assert await scene.types() == []
    await source.close()


@pytest.mark.parametrize("scene", ["own"], indirect=True)
async def test_a_look_touches_what_it_takes_and_not_what_waits_behind(scene: Scene) -> None:
    application = await scene.connect()
    await application.execute("SET search_path = posthouse")
    seen = []
    for _ in range(2):
        await application.execute(
            "INSERT INTO posthouse_outbox_v1 (type, data) SELECT 'a', '{}' FROM generate_series(1, 3000)"
        )
        await application.execute("ANALYZE posthouse_outbox_v1")
        seen.append(await touched(application, "outbox_rows", (100, 1 << 20, 1 << 20), PINNED))
        assert (await touched(application, "outbox_waits", (), PINNED)).rows < 10
    assert seen[0].rows == seen[1].rows < 1_000


async def test_running_the_script_again_changes_nothing(scene: Scene) -> None:
    application = await scene.connect()
    await say(application, "a")
    before = await scene.source.status()
    await application.execute(outbox_schema())
    assert await scene.source.status() == before
