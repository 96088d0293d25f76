"""Four nodes that do everything at once: nobody waits in a circle, and the books balance."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import IdempotencyConflict
from posthouse.core.inbound import WHOLE, IncidentKind, Objection, Resolution, Rhythm
from posthouse.core.jobs import Job, JobEntry, JobFilter, JobKind, JobState
from posthouse.core.model import SLOTS, EndpointState, Environment, Health
from posthouse.core.rules import Order
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    Doubt,
    NewEvent,
    Outdated,
    Overtaken,
    PassedOn,
    Remembered,
    StaleCatalogue,
)
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.ordering import ahead, check_order, drain, keep
from posthouse.testing.conformance.values import NOW, tenant
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import deadlocks, drop_database, make_database, open_store_at
from posthouse.testing.seizing import seize

NODES: Final = 4
HANDS: Final = 5  #: of each node, each busy with one thing at a time
STEPS: Final = 60  #: of each hand

FREE: Final = (5, 6)  #: endpoints that keep no order
ORDERED: Final = (7, 8)  #: endpoints that keep one, now this and now that
KEYS: Final = ("a", "b", "c")
SOURCES: Final = (21, 22, 23)
LATER: Final = NOW + 1_000_000_000


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


class Everything:
    """What hands do. They know of each other only what the store tells them."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.owed = 0  #: deliveries that an answer has acknowledged
        self._chance = chance
        self._values = scene.values
        self._epochs = scene.epochs
        self._orders = dict.fromkeys(ORDERED, Order.FIFO)
        self._version = 0
        self._places: list[tuple[int, int]] = [(1, 5)]
        self._entries: list[tuple[int, int]] = [(1, WHOLE)]
        self._jobs: list[Job] = []
        self._names = itertools.count()
        self.done: Counter[str] = Counter()

    async def go(self, node: Scene) -> None:
        """One hand of a node."""
        things: list[Callable[[Scene], Awaitable[object]]] = [
            *[self.publish] * 2,
            self.publish_known,
            *[self.settle] * 4,
            *(self.command, self.discard_all, self.reorder, self.retime, self.note_health),
            *(self.receive, self.receive, self.look_after_inbox, self.let_out, self.look_after_sources),
            *(self.change_catalogue, self.add_job, self.work, self.work, self.decide, self.take_over, self.read),
        ]
        for _ in range(STEPS):
            thing = self._chance.choice(things)
            with contextlib.suppress(IdempotencyConflict, Outdated):  # another was made under that key, or before
                await thing(node)
            self.done[thing.__name__] += 1

    # -- events and deliveries ------------------------------------------------------------------

    def _new(self) -> NewEvent:
        endpoints = sorted(self._chance.sample((*FREE, *ORDERED), self._chance.randrange(1, 4)))
        orders = tuple(self._orders.get(endpoint, Order.NONE) for endpoint in endpoints)
        return self._values.new_event(*endpoints, ordering_key=self._chance.choice(KEYS), orders=orders)

    async def publish(self, node: Scene) -> None:
        tenants = (tenant(f"t{next(self._names)}"),) if self._chance.random() < 0.2 else ()
        events = tuple(self._new() for _ in range(self._chance.randrange(1, 6)))
        requests = [AcceptRequest(events, self._version, tenants), AcceptRequest((self._new(),), self._version)]
        for request, result in zip(requests, await node.store.intake.accept(requests), strict=True):
            if isinstance(result, StaleCatalogue):
                self._version = max(self._version, result.version)
            elif not isinstance(result, Overtaken):  # others were faster: nothing was written
                assert isinstance(result, tuple)
                self._count(result, request.events)

    async def publish_known(self, node: Scene) -> None:
        """Several calls of one node and of others use the same new names, in any sequence."""
        first = self.done["publish_known"] // 4 * 6
        names = self._chance.sample(range(first, first + 8), 6)
        events = [self._values.new_event(5, identities=(("id", f"{n}"),), id=f"{n}") for n in names]
        results = await node.store.intake.accept([AcceptRequest((event,), self._version) for event in events])
        for event, result in zip(events, results, strict=True):
            if isinstance(result, tuple):
                self._count(result, (event,))

    def _count(self, accepted: tuple[Accepted, ...], events: tuple[NewEvent, ...]) -> None:
        for told, new in zip(accepted, events, strict=True):
            if not told.duplicate:
                self.owed += told.owed
                self._places += [(new.event.key, endpoint) for endpoint in new.owed]

    async def settle(self, node: Scene) -> None:
        endpoints = self._chance.sample((*FREE, *ORDERED), 3)
        works = [work for endpoint in endpoints for work in (await ahead(node, endpoint))[:10]]
        self._chance.shuffle(works)
        outcomes = []
        for work in works:
            state = self._chance.choice((State.DELIVERED, State.DELIVERED, State.RETRYING, State.EXHAUSTED))
            spent = state is not State.RETRYING or self._chance.random() < 0.7
            outcomes.append(node.outcome(work.obligation, state, spent=spent))
        await node.store.work.settle(outcomes)

    def _some(self, count: int) -> list[tuple[int, int]]:
        return self._chance.sample(self._places, min(count, len(self._places)))

    async def command(self, node: Scene) -> None:
        work = node.store.work
        await work.supersede(self._some(5), now=NOW)
        for event_key, endpoint_key in self._some(3):
            await work.retry(event_key, endpoint_key, now=NOW)
        for event_key, endpoint_key in self._some(2):
            await work.discard(event_key, endpoint_key, reason="cancelled", now=NOW)

    async def discard_all(self, node: Scene) -> None:
        await node.store.work.discard_endpoint(self._chance.choice((6, 8)), reason="deleted", now=NOW, limit=5)

    async def reorder(self, node: Scene) -> None:
        endpoint = self._chance.choice(ORDERED)
        order = self._orders[endpoint] = self._chance.choice(list(Order))
        await keep(node, endpoint, order)
        await node.store.work.reorder(endpoint, order, now=NOW, limit=20)

    async def retime(self, node: Scene) -> None:
        await node.store.work.retime(range(SLOTS), now=NOW - 1, after=self._chance.choice(self._places), limit=20)

    async def note_health(self, node: Scene) -> None:
        endpoint = self._chance.choice(FREE)
        health = Health(endpoint_key=endpoint, failing_since=NOW) if self._chance.random() < 0.5 else None
        await node.put_health(endpoint, health)

    # -- what comes in --------------------------------------------------------------------------

    async def receive(self, node: Scene) -> None:
        """Take a few requests; pass on what is first in some inbox, also what another hand passes on."""
        refused = Objection.BAD_SIGNATURE if self._chance.random() < 0.2 else None
        arrivals = [self._values.arrival(source, objection=refused) for source in self._chance.choices(SOURCES, k=3)]
        await node.store.inbound.take(arrivals)
        if refused is not None:
            self._entries += [(arrival.request.key, WHOLE) for arrival in arrivals]
        items = [i for s in self._chance.sample(SOURCES, 2) for i in (await node.inbox(s, now=LATER, limit=3)).items]
        readings = []
        for item in items:
            event = self._values.read_event(
                f"{self._chance.randrange(40)}",
                self._chance.choice(ORDERED),
                position=max(item.position, 0),
                ordering_key=self._chance.choice(KEYS),
                orders=(Order.NONE,),
                stream="s",
                sequence=self._chance.randrange(60),
            )
            doubted = item.position == WHOLE and self._chance.random() < 0.2
            doubts = (Doubt(9, Objection.UNREADABLE, "It cannot be."),) if doubted else ()
            readings.append(node.reading(item, event, doubts=doubts, catalogue_version=self._version))
        for reading, result in zip(readings, await node.pass_on(*readings), strict=True):
            if isinstance(result, PassedOn):
                self._count(result.events, tuple(event.new for event in reading.events))
                self._entries += [(reading.item.request.key, doubt.position) for doubt in reading.doubts]

    async def look_after_inbox(self, node: Scene) -> None:
        for item in (await node.inbox(self._chance.choice(SOURCES), limit=2)).items:
            await node.store.inbound.postpone(item.request.key, item.position, attempts=1, due_at=NOW + 5)

    async def let_out(self, node: Scene) -> None:
        resolution = self._chance.choice((Resolution.RELEASED, Resolution.RECHECKED, Resolution.DISCARDED))
        entries = self._chance.sample(self._entries, min(3, len(self._entries)))
        await node.store.inbound.resolve(entries, resolution, now=NOW)

    async def look_after_sources(self, node: Scene) -> None:
        inbound, source = node.store.inbound, self._chance.choice(SOURCES)
        await inbound.prune_dedupe(before=NOW + 1, limit=5)
        await inbound.restore_dedupe(now=NOW, limit=5)
        await inbound.open_incident(self._values.incident(source_key=source))
        await inbound.close_incident(IncidentKind.SOURCE_SILENT, source, now=NOW)
        rhythms = [Rhythm(source_key=key, seen_at=NOW) for key in self._chance.sample(SOURCES, 3)]
        await inbound.put_rhythms(rhythms)

    # -- the catalogue, jobs, slots -------------------------------------------------------------

    def _remember(self, ref: int) -> Remembered | None:
        """Mostly a key that was used before."""
        return Remembered(Environment.LIVE, f"{self._chance.randrange(6)}", b"f", ref)

    async def change_catalogue(self, node: Scene) -> None:
        catalogue, source, endpoint = node.store.catalogue, self._values.source(), self._values.endpoint()
        changes: list[Callable[[], Awaitable[int]]] = [
            lambda: catalogue.put_endpoint(endpoint, remember=self._remember(endpoint.key)),
            lambda: catalogue.put_source(source, remember=self._remember(source.key)),
            lambda: catalogue.put_tenant(tenant(f"t{self._chance.randrange(9)}")),
            lambda: catalogue.put_api_key(self._values.api_key()),
            lambda: self._set_state(node),
        ]
        self._version = max(self._version, await self._chance.choice(changes)())

    async def _set_state(self, node: Scene) -> int:
        """As it is already; somebody else may have been faster."""
        known = await node.store.catalogue.endpoint(7)
        assert known is not None
        try:
            return await node.store.catalogue.set_endpoint_state(
                7, EndpointState.ACTIVE, seen=known.revision, reason=None, now=NOW
            )
        except Outdated:
            return 0

    async def add_job(self, node: Scene) -> None:
        key = self._values.key()
        filter_ = JobFilter(newest=key, endpoint_key=self._chance.choice((None, 6, 7)))
        trail = (JobEntry(NOW, "ops", "created"),)
        kind = self._chance.choice(list(JobKind))
        job = Job(key=key, environment=Environment.LIVE, kind=kind, filter=filter_, created_at=NOW, trail=trail)
        await node.store.jobs.add(job, remember=self._remember(key))
        self._jobs.append(job)

    async def work(self, node: Scene) -> None:
        for job in self._jobs[-3:]:
            await node.store.jobs.count(job.key, limit=20)
            await node.store.jobs.work(job.key, limit=5, now=NOW)

    async def decide(self, node: Scene) -> None:
        if self._jobs:
            job = self._chance.choice(self._jobs)
            trail = (*job.trail, JobEntry(NOW, "ops", f"{next(self._names)}"))
            state, expected = self._chance.sample((JobState.RUNNING, JobState.PAUSED), 2)
            await node.store.jobs.change(replace(job, state=state, trail=trail), expected=expected)

    async def take_over(self, node: Scene) -> None:
        """Sometimes all slots change hands."""
        if self._chance.random() < 0.3:
            self._epochs |= (await seize(node.store.ownership, node.node, now=NOW)).epochs
        await node.store.admin.probe(now=NOW)

    async def read(self, node: Scene) -> None:
        await node.total()
        assert all(books.imbalance == 0 for books in await node.store.inbound.audit(Environment.LIVE))
        await node.store.catalogue.load()


@pytest.mark.timeout(180)
async def test_nobody_waits_in_a_circle_and_the_books_balance(cluster: Cluster, database: str) -> None:
    stores = Stores(lambda: open_store_at(cluster.dsn(database)))
    scene = await stores.open()
    others = [await open_store_at(cluster.dsn(database)) for _ in range(NODES - 1)]
    nodes = [scene, *(Scene(o, f"other-{n}", scene.epochs, scene.values) for n, o in enumerate(others))]
    for endpoint in (*FREE, *ORDERED):
        await keep(scene, endpoint, Order.FIFO if endpoint in ORDERED else Order.NONE)
    everything = Everything(scene, random.Random(1))
    await asyncio.gather(*(everything.go(node) for node in nodes for _ in range(HANDS)))
    assert everything.done.total() == NODES * HANDS * STEPS
    for endpoint in (*FREE, *ORDERED):
        await check_order(scene, endpoint)
        await drain(scene, endpoint)
    total = await scene.total()
    assert total["owed"] == everything.owed
    assert total["waiting"] + total["retrying"] == 0
    assert all(books.imbalance == 0 for books in await scene.store.inbound.audit(Environment.LIVE))
    for store in others:
        await store.close()
    await stores.close()
    assert await deadlocks(cluster, database) == 0
