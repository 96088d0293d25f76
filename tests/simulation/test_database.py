"""The model of a database: what is told of a write whose answer is lost, and what a failover may forget."""

import asyncio
import gc
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import pass_by
from posthouse.core.model import Environment, Tenant
from posthouse.store import protocol
from posthouse.store.postgres.outcome import OutcomeUnknown
from posthouse.testing.disk import Disk
from posthouse.testing.simulation.database.remote import RemoteStore, open_remote
from posthouse.testing.simulation.database.server import DatabaseServer
from posthouse.testing.simulation.database.ways import WAYS
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.records import Records
from posthouse.testing.simulation.trace import Trace

FACETS = {
    "intake": protocol.Intake,
    "inbound": protocol.InboundFacet,
    "work": protocol.WorkFacet,
    "catalogue": protocol.CatalogueFacet,
    "ledger": protocol.LedgerFacet,
    "ownership": protocol.Ownership,
    "jobs": protocol.JobsFacet,
    "admin": protocol.AdminFacet,
}
NODE = 1  #: its life


class Scene:
    """A server, and the store of one node on it."""

    def __init__(self, loop: SimLoop, place: Path, seed: int) -> None:
        self.loop = loop
        self.records = Records()
        self.disk = Disk(place / "disk", Random(seed))
        self.server = DatabaseServer(
            loop,
            self.disk,
            SimOffload(loop, Random(seed)),
            clock=SimClock(loop),
            chance=Random(seed),
            records=self.records,
            place=place / "failover",
        )
        self.store: RemoteStore

    async def open(self) -> None:
        await self.server.start()
        server = self.server
        opening = open_remote(
            server.cable, server.exchange, 0, commit_interval_ms=0, metrics=None, reach=pass_by
        )  # fmt: skip
        self.store = await self.loop.in_life(NODE, opening)

    async def name(self, tenant: str) -> None:
        """One write: a tenant of this name is there."""
        await self.loop.in_life(NODE, self._name(tenant))

    async def _name(self, tenant: str) -> None:
        await self.store.catalogue.put_tenant(
            Tenant(environment=Environment.LIVE, id=tenant, name=tenant, created_at=0)
        )

    async def told(self, tenant: str) -> type[Exception] | None:
        """What came of a write."""
        try:
            await self.name(tenant)
        except StoreUnavailable as error:
            return type(error)
        return None

    async def tenants(self) -> set[str]:
        """Those that are there."""
        snapshot = await self.loop.in_life(NODE, self._load())
        return {tenant.id for tenant in snapshot.tenants} - {"default"}

    async def _load(self) -> protocol.CatalogueSnapshot:
        return await self.store.catalogue.load()

    async def until_it_is_back(self) -> None:
        while not self.store.alive:
            await pass_time(0.1)


@contextmanager
def scene_of(place: Path, seed: int) -> Iterator[Scene]:
    loop = SimLoop(seed, shuffle=0.15, trace=Trace())
    asyncio.set_event_loop(loop)
    scene = Scene(loop, place / str(seed), seed)
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # what a dead server left open is on no disk any more
    try:
        with scene.disk:
            yield scene
            asyncio.set_event_loop(None)
            loop.close()
            gc.collect()
    finally:
        sys.unraisablehook = hook


def play(place: Path, history: Callable[[Scene], Awaitable[None]], seed: int = 1) -> None:
    """Live a history with an open store to its end."""
    with scene_of(place, seed) as scene:

        async def live() -> None:
            await scene.open()
            await history(scene)
            await scene.loop.in_life(NODE, scene.store.close())
            await scene.server.stop()

        scene.loop.simulate(live())
        assert scene.loop.complaints == []


@pytest.mark.parametrize("facet", FACETS)
def test_every_question_has_its_way(facet: str) -> None:
    methods = {name for name, _ in inspect.getmembers(FACETS[facet], inspect.isfunction) if not name.startswith("_")}
    assert methods == {method for of, method in WAYS if of == facet}


def test_what_is_written_is_there(tmp_path: Path) -> None:
    async def history(scene: Scene) -> None:
        await scene.name("a")
        assert await scene.tenants() == {"a"}
        assert scene.store.alive

    play(tmp_path, history)


def test_a_lost_connection_leaves_a_write_unknown_wherever_it_was(tmp_path: Path) -> None:
    """Whether it was done, only who asks again finds out; that the way is there again is told."""
    found = set()

    for seed in range(40):

        async def history(scene: Scene) -> None:
            back: list[float] = []
            scene.store.when_back(lambda: back.append(scene.loop.now))
            scene.server.cable.faults.lost = 0.4
            told = await scene.told("a")
            scene.server.cable.faults.lost = 0.0
            await scene.until_it_is_back()
            found.add((told, await scene.tenants() == {"a"}))
            assert len(back) == (told is not None)

        play(tmp_path, history, seed)
    assert {done for told, done in found if told is OutcomeUnknown} == {True, False}
    assert (None, False) not in found
    assert (StoreUnavailable, True) not in found, "what is refused was not done"


def test_in_the_dark_nobody_waits_longer_than_the_deadline(tmp_path: Path) -> None:
    async def history(scene: Scene) -> None:
        scene.server.cable.darken(0)
        began = scene.loop.now
        assert await scene.told("a") is not None
        assert 9 < scene.loop.now - began < 11
        assert not scene.store.alive
        scene.server.cable.lighten(0)
        await scene.until_it_is_back()
        await scene.name("b")

    play(tmp_path, history)


def test_a_restart_keeps_everything_that_was_told(tmp_path: Path) -> None:
    async def history(scene: Scene) -> None:
        await scene.name("a")
        await scene.server.restart(1.0)
        await scene.until_it_is_back()
        await scene.name("b")
        assert await scene.tenants() == {"a", "b"}

    play(tmp_path, history)


def test_a_commit_waits_for_its_standby(tmp_path: Path) -> None:
    async def history(scene: Scene) -> None:
        scene.server.replication.lose_standby(cancels=False)
        writing = asyncio.ensure_future(scene.told("a"))
        await pass_time(3)
        assert not writing.done()
        assert await scene.tenants() == set(), "nobody sees it before it is durable"
        scene.server.replication.find_standby()
        assert await writing is None
        assert await scene.tenants() == {"a"}

    play(tmp_path, history)


def test_a_wait_that_is_cut_short_is_unknown_and_visible_and_a_failover_may_forget_it(tmp_path: Path) -> None:
    """What is forgotten are the last ones; never one that was told."""
    left = set()

    for seed in range(12):

        async def history(scene: Scene) -> None:
            await scene.name("told")
            scene.server.replication.lose_standby(cancels=True)
            for tenant in ("a", "b", "c"):
                assert await scene.told(tenant) is OutcomeUnknown
            assert await scene.tenants() == {"told", "a", "b", "c"}
            await scene.server.fail_over(1.0, silently=False)
            await scene.until_it_is_back()
            left.add("".join(sorted(await scene.tenants() - {"told"})))
            assert "told" in await scene.tenants()
            await scene.name("later")

        play(tmp_path, history, seed)
    assert left <= {"", "a", "ab", "abc"}
    assert len(left) > 2, "some are forgotten, some are not"


def test_what_the_standby_has_caught_up_with_is_not_forgotten(tmp_path: Path) -> None:
    async def history(scene: Scene) -> None:
        scene.server.replication.lose_standby(cancels=True)
        assert await scene.told("a") is OutcomeUnknown
        scene.server.replication.find_standby()
        await scene.server.fail_over(1.0, silently=True)
        await scene.until_it_is_back()
        assert await scene.tenants() == {"a"}

    play(tmp_path, history)
