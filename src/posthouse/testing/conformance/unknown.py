"""Answers that are lost: the call was done, and who made it hears that nobody knows. So it is made again."""

import inspect
from typing import Any, Final, TypeVar, get_type_hints

import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.errors import IdempotencyConflict
from posthouse.core.inbound import WHOLE, IncidentKind, Objection, Resolution, Rhythm
from posthouse.core.jobs import JobEntry, JobFilter, JobKind, JobState
from posthouse.core.model import SLOTS, EndpointState, Environment, Health, slot_of
from posthouse.core.rules import Order
from posthouse.store.protocol import Accepted, Gone, PassedOn, Remembered, Settled, Store
from posthouse.testing.conformance.jobs import LATER, begin
from posthouse.testing.conformance.ordering import ahead, check_order, keep, ordered
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.unheard import outdated, repeated
from posthouse.testing.conformance.unknown_nodes import UnknownOfNodes
from posthouse.testing.conformance.values import DAY_MS, LEASE_MS, NOW, SOURCE, Values, tenant

T = TypeVar("T")

#: Methods of the protocol that write nothing: they are asked again as they are.
READS: Final = {
    *("work.survey", "work.fetch", "work.health"),
    *("catalogue.load", "catalogue.changes", "catalogue.endpoint", "catalogue.recall"),
    *("ledger.events", "ledger.find_events", "ledger.deliveries", "ledger.delivery", "ledger.attempts"),
    *(
        "ledger.waiting",
        "ledger.audit",
        "ownership.owners",
        "ownership.nodes",
        "jobs.job",
        "jobs.jobs",
        "admin.key_floor",
        "admin.stats",
    ),
    *("inbound.waiting", "inbound.fetch", "inbound.quarantine", "inbound.expired", "inbound.quarantined_bytes"),
    *("inbound.requests", "inbound.request", "inbound.origin", "inbound.audit", "inbound.rhythms", "inbound.incidents"),
}


class TestUnknown(UnknownOfNodes):
    """Every method that writes: done and not heard, then done again, it gives what was promised, and is done once.

    Each method has the test that is named after it.
    """

    def test_no_method_that_writes_is_left_out(self) -> None:
        facets = {name: facet for name, facet in get_type_hints(Store).items() if name != "failed"}
        methods = {
            f"{name}.{method}"
            for name, facet in facets.items()
            for method, _ in inspect.getmembers(facet, inspect.iscoroutinefunction)
        }
        assert methods >= READS
        writes = {method.partition(".")[2] for method in methods - READS}
        assert {name for name in writes if not hasattr(self, f"test_{name}")} == set()

    # -- events and deliveries ------------------------------------------------------------------

    async def test_accept(self, stores: Stores) -> None:
        """Known by its identities, whatever else the repeat came with."""
        scene = await stores.open()
        made = [scene.values.new_event(7, identities=(("id", "a"),), fingerprint=b"f", id="a") for _ in range(2)]
        calls = iter(made)

        async def publish(store: Store) -> Any:
            return await Scene(store, scene.node, scene.epochs, scene.values).accept(next(calls), version=0)

        assert await repeated(scene, publish) == (Accepted(made[0].event.key, "a", 1, duplicate=True),)
        assert await scene.events() == [made[0].event.key]
        assert await scene.total() == {"owed": 1, "waiting": 1}

    @pytest.mark.parametrize("order", [Order.NONE, Order.FIFO])
    @pytest.mark.parametrize("state", [State.DELIVERED, State.RETRYING, State.EXHAUSTED])
    async def test_settle(self, stores: Stores, state: State, order: Order) -> None:
        """The attempt is there once, and what stands behind is let out once."""
        scene = await stores.open()
        news = [ordered(scene, 7, order) for _ in range(3)]
        await scene.accept(*news)
        first = next(w.obligation for w in await ahead(scene, 7) if w.event.key == news[0].event.key)
        outcome = scene.outcome(first, state)
        assert await repeated(scene, lambda store: store.work.settle([outcome])) == Settled(superseded=(0,))
        assert outcome.attempt is not None
        assert [a.number for a in await scene.attempts(first)] == [1]
        record = await scene.record(first)
        assert (record.state, record.attempts) == (state, 1)
        await check_order(scene, 7)
        total = await scene.total()
        assert (total["owed"], total[state.value]) == (3, 1)

    async def test_a_probe_is_settled_once(self, stores: Stores) -> None:
        """It changes nothing that could tell the second time from the first, but its attempt."""
        scene = await stores.open()
        owed = await scene.owe(7)
        outcome = scene.outcome(owed, State.RETRYING, spent=False)
        assert await repeated(scene, lambda store: store.work.settle([outcome])) == Settled()
        assert [a.number for a in await scene.attempts(owed)] == [1]
        (work,) = (await scene.queue(7)).work
        assert (work.obligation.attempts, work.obligation.last_number) == (0, 1)

    async def test_supersede(self, stores: Stores) -> None:
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(3)]
        await scene.accept(*news)
        place = (news[0].event.key, 7)
        assert await repeated(scene, lambda store: store.work.supersede([place], now=NOW)) == []
        assert await scene.total() == {"owed": 3, "waiting": 1, "discarded:superseded": 2}
        assert [w.event.key for w in await ahead(scene, 7)] == [news[2].event.key]

    @pytest.mark.parametrize("state", [State.WAITING, State.EXHAUSTED])
    async def test_retry(self, stores: Stores, state: State) -> None:
        """One round is opened."""
        scene = await stores.open()
        owed = await scene.owe(7)
        if state is State.EXHAUSTED:
            await scene.settle(owed, state)
        again = await repeated(scene, lambda store: store.work.retry(owed.event_key, 7, now=NOW + 5))
        assert again is not None
        assert (again.round, again.due_at) == (1 if state is State.WAITING else 2, NOW + 5)
        assert [w.obligation for w in await ahead(scene, 7)] == [again]
        assert await scene.total() == {"owed": 1, "waiting": 1}

    async def test_retime(self, stores: Stores) -> None:
        """What is not attempted in its round is due."""
        scene = await stores.open()
        owed = await scene.owe(7, accepted_at=NOW + LEASE_MS)
        assert (
            await repeated(scene, lambda store: store.work.retime(range(SLOTS), now=NOW, after=(0, 0), limit=10)) == []
        )
        assert [w.obligation for w in (await scene.queue(7)).work] == [replace(owed, due_at=NOW)]

    async def test_discard(self, stores: Stores) -> None:
        """What stands behind is let out once."""
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(3)]
        await scene.accept(*news)
        key = news[0].event.key
        assert not await repeated(scene, lambda store: store.work.discard(key, 7, reason="cancelled", now=NOW))
        assert [w.event.key for w in await ahead(scene, 7)] == [news[1].event.key]
        assert await scene.total() == {"owed": 3, "waiting": 2, "discarded:cancelled": 1}

    async def test_discard_endpoint(self, stores: Stores) -> None:
        scene = await stores.open()
        for _ in range(3):
            await scene.owe(7)
        work = lambda store: store.work.discard_endpoint(7, reason="deleted", now=NOW, limit=2)  # noqa: E731
        assert await repeated(scene, work) == 1
        assert await scene.total() == {"owed": 3, "discarded:deleted": 3}

    @pytest.mark.parametrize("order", [Order.FIFO, Order.NONE])
    async def test_reorder(self, stores: Stores, order: Order) -> None:
        scene = await stores.open()
        await keep(scene, 7, order)
        before = Order.NONE if order is Order.FIFO else Order.FIFO
        await scene.accept(*(ordered(scene, 7, before) for _ in range(3)))
        assert await repeated(scene, lambda store: store.work.reorder(7, order, now=NOW, limit=10)) == 0
        assert len(await ahead(scene, 7)) == (1 if order is Order.FIFO else 3)
        await check_order(scene, 7)

    async def test_put_health(self, stores: Stores) -> None:
        scene = await stores.open()
        health = Health(endpoint_key=7, failing_since=NOW, probes=2)
        epoch = scene.epochs[slot_of(7)]
        assert await repeated(scene, lambda store: store.work.put_health(7, health, epoch=epoch))
        assert await scene.health() == [health]
        assert await repeated(scene, lambda store: store.work.put_health(7, None, epoch=epoch))
        assert await scene.health() == []

    # -- what comes in --------------------------------------------------------------------------

    async def test_take(self, stores: Stores) -> None:
        """The sender sends it again, as another request; its events are recognised."""
        scene = await stores.open()
        arrivals = iter([scene.values.arrival(), scene.values.arrival()])
        await repeated(scene, lambda store: store.inbound.take([next(arrivals)]))
        items = (await scene.inbox()).items
        results = [await scene.pass_on(scene.reading(i, scene.values.read_event("a", 7))) for i in items]
        told = [result.events[0].duplicate for (result,) in results if isinstance(result, PassedOn)]
        assert told == [False, True]
        assert await scene.total() == {"owed": 1, "waiting": 1}

    async def test_pass_on(self, stores: Stores) -> None:
        scene = await stores.open()
        reading = scene.reading(await scene.take(), scene.values.read_event("a", 7, stream="s", sequence=1))
        assert await repeated(scene, lambda store: store.inbound.pass_on([reading], now=NOW)) == [Gone()]
        assert await scene.total() == {"owed": 1, "waiting": 1}
        books = await scene.source_books()
        assert (books.read, books.events, books.duplicates) == (1, 1, 0)
        assert await scene.incidents() == []

    async def test_postpone(self, stores: Stores) -> None:
        scene = await stores.open()
        key = (await scene.take()).key
        await repeated(scene, lambda store: store.inbound.postpone(key, WHOLE, attempts=1, due_at=NOW + 5))
        (item,) = (await scene.inbox(now=NOW + 5)).items
        assert (item.attempts, item.due_at) == (1, NOW + 5)

    async def test_resolve(self, stores: Stores) -> None:
        """It comes back to the inbox once, at the time that it was let out."""
        scene = await stores.open()
        entry = ((await scene.take(objection=Objection.NO_SECRET)).key, WHOLE)
        times = iter((NOW + 1, NOW + 2))
        let_out = lambda store: store.inbound.resolve([entry], Resolution.RELEASED, now=next(times))  # noqa: E731
        assert await repeated(scene, let_out) == []
        (item,) = (await scene.inbox(now=NOW + 2)).items
        assert item.due_at == NOW + 1

    async def test_restore_dedupe(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.bring_in(scene.values.read_event("a"))
        assert await repeated(scene, lambda store: store.inbound.restore_dedupe(now=NOW, limit=1))
        assert (await scene.bring_in(scene.values.read_event("a"))).events[0].duplicate

    async def test_prune_dedupe(self, stores: Stores) -> None:
        scene = await stores.open()
        for n in range(3):
            await scene.bring_in(scene.values.read_event(f"{n}"), received_at=NOW + n)
        assert await repeated(scene, lambda store: store.inbound.prune_dedupe(before=NOW + 2, limit=9)) == 0
        results = [await scene.bring_in(scene.values.read_event(f"{n}"), received_at=NOW + 9) for n in range(3)]
        assert [r.events[0].duplicate for r in results] == [False, False, True]

    async def test_put_rhythms(self, stores: Stores) -> None:
        scene = await stores.open()
        rhythm = Rhythm(source_key=SOURCE, seen_at=NOW, seen=12)
        await repeated(scene, lambda store: store.inbound.put_rhythms([rhythm]))
        assert await scene.store.inbound.rhythms() == [rhythm]

    async def test_open_incident(self, stores: Stores) -> None:
        scene = await stores.open()
        incident = scene.values.incident()
        assert not await repeated(scene, lambda store: store.inbound.open_incident(incident))
        assert await scene.incidents() == [incident]

    async def test_close_incident(self, stores: Stores) -> None:
        """It was closed when it was closed first."""
        scene = await stores.open()
        incident = scene.values.incident()
        await scene.store.inbound.open_incident(incident)
        times = iter((NOW + 1, NOW + 2))
        kind = IncidentKind.SOURCE_SILENT
        assert not await repeated(scene, lambda store: store.inbound.close_incident(kind, SOURCE, now=next(times)))
        assert await scene.incidents() == [replace(incident, closed_at=NOW + 1)]

    # -- the catalogue, jobs, slots -------------------------------------------------------------

    async def test_put_endpoint(self, stores: Stores) -> None:
        """An Idempotency-Key says what it made; another thing under it is refused, and not written."""
        scene = await stores.open()
        one, other = scene.values.endpoint(), scene.values.endpoint()
        remember = Remembered(Environment.LIVE, "k", b"f", one.key)
        catalogue = scene.store.catalogue
        await outdated(scene, lambda store: store.catalogue.put_endpoint(one, remember=remember))
        assert await catalogue.recall(Environment.LIVE, "k") == remember
        with pytest.raises(IdempotencyConflict):
            await catalogue.put_endpoint(other, remember=replace(remember, ref=other.key))
        assert (await catalogue.load()).endpoints == (replace(one, revision=1),)

    async def test_set_endpoint_state(self, stores: Stores) -> None:
        scene = await stores.open()
        key, paused = scene.values.endpoint(), EndpointState.PAUSED
        await scene.store.catalogue.put_endpoint(key)

        async def pause(store: Store) -> int:
            return await store.catalogue.set_endpoint_state(key.key, paused, seen=1, reason="r", now=NOW)

        await outdated(scene, pause)
        stored = await scene.store.catalogue.endpoint(key.key)
        assert stored == replace(key, state=paused, state_reason="r", updated_at=NOW, revision=2)

    async def test_put_source(self, stores: Stores) -> None:
        """Also with a token, which no other source may have."""
        scene, source = await stores.open(), Values().source()
        await outdated(scene, lambda store: store.catalogue.put_source(source))
        assert (await scene.store.catalogue.load()).sources == (replace(source, revision=1),)

    async def test_put_tenant(self, stores: Stores) -> None:
        scene = await stores.open()
        await outdated(scene, lambda store: store.catalogue.put_tenant(tenant()))
        assert (await scene.store.catalogue.load()).tenants == (replace(tenant(), revision=1),)

    async def test_put_api_key(self, stores: Stores) -> None:
        scene = await stores.open()
        api_key = scene.values.api_key()
        await outdated(scene, lambda store: store.catalogue.put_api_key(api_key))
        assert (await scene.store.catalogue.load()).api_keys == (replace(api_key, revision=1),)

    async def test_add(self, stores: Stores) -> None:
        """Whoever makes it again makes another one, and is told by the Idempotency-Key that it is there."""
        scene = await stores.open()
        job = await begin(scene, JobKind.CANCEL)
        jobs = [replace(job, key=scene.values.key(), filter=JobFilter(newest=job.key)) for _ in range(2)]
        calls = iter(jobs)

        async def add(store: Store) -> None:
            made = next(calls)
            await store.jobs.add(made, remember=Remembered(Environment.LIVE, "k", b"f", made.key))

        with pytest.raises(IdempotencyConflict):
            await repeated(scene, add)
        remembered = await scene.store.catalogue.recall(Environment.LIVE, "k")
        assert remembered is not None
        assert remembered.ref == jobs[0].key
        assert [j.key for j in await scene.store.jobs.jobs(None, limit=9)] == [jobs[0].key, job.key]

    async def test_change(self, stores: Stores) -> None:
        """The second time its state is another one; that is as it was decided."""
        scene = await stores.open()
        job = await begin(scene, JobKind.CANCEL)
        paused = replace(job, state=JobState.PAUSED, trail=(*job.trail, JobEntry(NOW, "ops", "pause")))
        assert await repeated(scene, lambda store: store.jobs.change(paused, expected=JobState.RUNNING)) is None
        assert await scene.store.jobs.job(job.key) == paused

    async def test_count(self, stores: Stores) -> None:
        """Nothing is counted twice: the second step counts what comes next."""
        scene = await stores.open()
        for _ in range(5):
            await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)
        while await repeated(scene, lambda store: store.jobs.count(job.key, limit=2)) is not None:
            pass
        stored = await scene.store.jobs.job(job.key)
        assert stored is not None
        assert (stored.total, stored.counted) == (5, 5)

    @pytest.mark.parametrize("kind", [JobKind.CANCEL, JobKind.REPLAY])
    async def test_work(self, stores: Stores, kind: JobKind) -> None:
        """Nothing is changed twice, and the counts are exact."""
        scene = await stores.open()
        owed = [await scene.owe(7) for _ in range(6)]
        if kind is JobKind.REPLAY:
            await scene.store.work.settle([scene.outcome(one) for one in owed])
        job = await begin(scene, kind)
        while await scene.store.jobs.count(job.key, limit=100) is not None:
            pass
        for _ in range(4):
            await repeated(scene, lambda store: store.jobs.work(job.key, limit=1, now=LATER))
        stored = await scene.store.jobs.job(job.key)
        assert stored is not None
        assert (stored.total, stored.done, stored.skipped) == (6, 6, 0)
        opened = kind is JobKind.REPLAY
        assert await scene.total() == {"owed": 6, "waiting" if opened else "discarded:cancelled": 6}
        assert {(await scene.record(one)).round for one in owed} == {2 if opened else 1}

    # -- the store itself -----------------------------------------------------------------------

    async def test_make_room(self, stores: Stores) -> None:
        """What is there already is not made again."""
        scene = await stores.open()
        await repeated(scene, lambda store: store.admin.make_room(now=NOW + DAY_MS))
        owed = await scene.owe(7, accepted_at=NOW + DAY_MS)
        assert [record.event.key for record in await scene.records()] == [owed.event_key]

    async def test_probe(self, stores: Stores) -> None:
        scene = await stores.open()
        await repeated(scene, lambda store: store.admin.probe(now=NOW))
