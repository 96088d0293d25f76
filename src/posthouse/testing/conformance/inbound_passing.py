"""Passing on what was found in requests."""

import asyncio

from msgspec.structs import replace

from posthouse.core.inbound import WHOLE, Objection
from posthouse.core.model import Lane
from posthouse.core.rules import Order
from posthouse.store.protocol import Accepted, Doubt, Gone, Origin, PassedOn, StaleCatalogue
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import DAY_MS, NOW, SOURCE, tenant

MINUTE_MS = 60_000


class TestInboundPassing:
    """``pass_on``: everything that a reading means, in one transaction."""

    async def test_what_was_found_is_stored_with_what_it_owes(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take()
        first = scene.values.read_event("a", 7, 8, ordering_key="k", orders=(Order.FIFO, Order.NONE), type="paid")
        second = scene.values.read_event("b", position=1, lane=Lane.BACKLOG)
        (result,) = await scene.pass_on(scene.reading(request, first, second))
        events = (first.new.event, second.new.event)
        assert result == PassedOn(
            (
                Accepted(events[0].key, events[0].id, 2, duplicate=False),
                Accepted(events[1].key, events[1].id, 0, duplicate=False),
            )
        )
        assert [record.event for record in await scene.records()] == [events[1], events[0]]
        (work,) = (await scene.queue(7)).work
        assert (work.event, work.obligation.due_at) == (events[0], events[0].accepted_at)
        assert await scene.total() == {"owed": 2, "waiting": 2}
        assert await scene.store.inbound.origin(events[1].key) == Origin(SOURCE, request.key, 1, 0, unchecked=False)

    async def test_order_is_kept_as_when_events_are_published(self, stores: Stores) -> None:
        scene = await stores.open()
        orders = (Order.LATEST,)
        for name in "abc":
            await scene.bring_in(scene.values.read_event(name, 7, ordering_key="k", orders=orders))
        assert len((await scene.queue(7)).work) == 1
        assert await scene.total() == {"owed": 3, "waiting": 2, "discarded:superseded": 1}

    async def test_new_tenants_are_made(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.store.catalogue.put_tenant(tenant("acme", name="Acme"))
        new = (tenant("acme", name="ignored"), tenant("new"))
        request = await scene.take()
        await scene.pass_on(scene.reading(request, catalogue_version=1, new_tenants=new))
        assert [t.name for t in (await scene.store.catalogue.load()).tenants] == ["Acme", "Acme"]

    async def test_it_happens_once(self, stores: Stores) -> None:
        """A reading that is repeated after a crash finds its item gone."""
        scene = await stores.open()
        request = await scene.take()
        reading = scene.reading(request, scene.values.read_event("a", 7))
        assert isinstance((await scene.pass_on(reading))[0], PassedOn)
        assert (await scene.inbox()).items == ()
        again = scene.reading(request, scene.values.read_event("a", 7))
        scene = await stores.open()
        assert await scene.pass_on(again) == [Gone()]
        assert await scene.total() == {"owed": 1, "waiting": 1}
        assert (await scene.source_books()).duplicates == 0

    async def test_one_item_twice_in_a_call(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take()
        readings = [scene.reading(request, scene.values.read_event(name)) for name in "ab"]
        results = await scene.pass_on(*readings)
        assert [type(result) for result in results] == [PassedOn, Gone]
        assert len(await scene.events()) == 1

    async def test_a_stale_catalogue_stores_nothing(self, stores: Stores) -> None:
        """Of that reading; others in the call are passed on. What is gone need not be routed again."""
        scene = await stores.open()
        await scene.store.catalogue.put_endpoint(scene.values.endpoint())
        requests = [await scene.take() for _ in range(2)]
        stale, good = (
            scene.reading(request, scene.values.read_event(name), catalogue_version=version)
            for request, name, version in zip(requests, "ab", (0, 1), strict=True)
        )
        results = await scene.pass_on(stale, good, replace(good, catalogue_version=0))
        assert [type(result) for result in results] == [StaleCatalogue, PassedOn, Gone]
        assert results[0] == StaleCatalogue(1)
        assert [i.request for i in (await scene.inbox()).items] == [requests[0]]
        assert await scene.events() == [good.events[0].new.event.key]
        (result,) = await scene.pass_on(replace(stale, catalogue_version=1))
        assert isinstance(result, PassedOn)

    async def test_results_are_in_the_order_of_the_call(self, stores: Stores) -> None:
        """More rows than an engine writes at once, from several callers."""
        scene = await stores.open()
        arrivals = [scene.values.arrival() for _ in range(40)]
        await scene.store.inbound.take(arrivals)
        readings = [
            scene.reading(a.request, *(scene.values.read_event(f"{n}.{i}", position=i) for i in range(60)))
            for n, a in enumerate(arrivals)
        ]
        halves = await asyncio.gather(scene.pass_on(*readings[:13]), scene.pass_on(*readings[13:]))
        for reading, result in zip(readings, [*halves[0], *halves[1]], strict=True):
            assert isinstance(result, PassedOn)
            assert [a.key for a in result.events] == [event.new.event.key for event in reading.events]
        assert (await scene.source_books()).events == 2_400

    async def test_a_heartbeat_leaves_no_event(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take()
        assert await scene.pass_on(scene.reading(request, is_heartbeat=True), now=NOW + 3) == [PassedOn(())]
        record = await scene.store.inbound.request(request.key)
        assert record is not None
        assert (record.is_heartbeat, record.read_at, record.events) == (True, NOW + 3, 0)
        assert (await scene.source_books()).read == 1

    async def test_nothing_is_passed_on(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.pass_on() == []

    # -- repetitions ------------------------------------------------------------------------------

    async def test_a_repetition_is_noted_and_owes_nothing(self, stores: Stores) -> None:
        """Also after opening again; the first one has its key and id."""
        scene = await stores.open()
        first = scene.values.read_event("a", 7)
        await scene.bring_in(first)
        scene = await stores.open()
        for n in (1, 2):
            result = await scene.bring_in(scene.values.read_event("a", 7, 8))
            assert result == PassedOn((Accepted(first.new.event.key, first.new.event.id, 0, duplicate=True),))
            origin = await scene.store.inbound.origin(first.new.event.key)
            assert origin is not None
            assert origin.repeats == n
        assert await scene.events() == [first.new.event.key]
        assert await scene.total() == {"owed": 1, "waiting": 1}
        books = await scene.source_books()
        assert (books.read, books.events, books.duplicates) == (3, 1, 2)

    async def test_repetitions_in_one_call_and_in_one_request(self, stores: Stores) -> None:
        scene = await stores.open()
        requests = [await scene.take() for _ in range(2)]
        first = scene.values.read_event("a")
        one = scene.reading(requests[0], first, scene.values.read_event("a", position=1))
        two = scene.reading(requests[1], scene.values.read_event("b"), scene.values.read_event("a", position=1))
        results = await scene.pass_on(one, two)
        assert [[a.duplicate for a in r.events] for r in results if isinstance(r, PassedOn)] == [
            [False, True],
            [False, True],
        ]
        books = await scene.source_books()
        assert (books.events, books.duplicates) == (2, 2)

    async def test_a_digest_counts_within_its_source(self, stores: Stores) -> None:
        scene = await stores.open()
        for source_key in (5, 6):
            result = await scene.bring_in(scene.values.read_event("a"), source_key=source_key)
            assert [a.duplicate for a in result.events] == [False]

    async def test_a_window_ends(self, stores: Stores) -> None:
        """It runs from the event that was passed on, between the times at which the requests were received."""
        scene = await stores.open()
        steps = (0, 4, 5, 9, 10, 20)
        passed = []
        for minutes in steps:
            event = scene.values.read_event("a", window_ms=5 * MINUTE_MS)
            result = await scene.bring_in(event, received_at=NOW + minutes * MINUTE_MS, now=NOW + 3 * DAY_MS)
            if not result.events[0].duplicate:
                passed.append(minutes)
        assert passed == [0, 5, 10, 20]

    async def test_a_window_reaches_both_ways(self, stores: Stores) -> None:
        """What was received first may be read last. What was received later is what the digest stands for."""
        scene = await stores.open()
        expected = ((0, False), (-4, True), (-5, False), (4, True), (-2, True))
        for minutes, duplicate in expected:
            event = scene.values.read_event("a", window_ms=5 * MINUTE_MS)
            result = await scene.bring_in(event, received_at=NOW + minutes * MINUTE_MS)
            assert [a.duplicate for a in result.events] == [duplicate]

    async def test_without_a_window_nothing_repeats(self, stores: Stores) -> None:
        scene = await stores.open()
        for _ in range(3):
            result = await scene.bring_in(scene.values.read_event("a", window_ms=0))
            assert [a.duplicate for a in result.events] == [False]

    async def test_old_digests_are_forgotten(self, stores: Stores) -> None:
        scene = await stores.open()
        for n in range(5):
            await scene.bring_in(scene.values.read_event(f"{n}"), received_at=NOW + n)
        inbound = scene.store.inbound
        assert await inbound.prune_dedupe(before=NOW + 3, limit=2) == 2
        assert await inbound.prune_dedupe(before=NOW + 3, limit=2) == 1
        assert await inbound.prune_dedupe(before=NOW + 3, limit=2) == 0
        results = [await scene.bring_in(scene.values.read_event(f"{n}"), received_at=NOW + 9) for n in range(5)]
        assert [r.events[0].duplicate for r in results] == [False, False, False, True, True]
        assert not any(r.unchecked for r in results)
        assert await inbound.restore_dedupe(now=NOW, limit=1)

    # -- doubts -----------------------------------------------------------------------------------

    async def test_what_is_in_doubt_goes_to_quarantine(self, stores: Stores) -> None:
        """Acknowledged: it never expires. What stands beside it in the request is passed on."""
        scene = await stores.open()
        request = await scene.take()
        doubt = Doubt(1, Objection.TYPE_CONTRADICTION, "It says so.", "mandates.paid")
        event = scene.values.read_event("a", 7)
        await scene.pass_on(scene.reading(request, event, doubts=(doubt,)), now=NOW + 8)
        (entry,) = await scene.quarantine()
        assert (entry.request_key, entry.position, entry.source_key, entry.tenant) == (request.key, 1, SOURCE, "acme")
        assert (entry.objection, entry.detail, entry.type) == (doubt.objection, doubt.detail, doubt.type)
        assert (entry.at, entry.acknowledged, entry.resolution) == (NOW + 8, True, None)
        assert await scene.events() == [event.new.event.key]
        books = await scene.source_books()
        assert (books.read, books.quarantined, books.events, books.doubted) == (1, 0, 1, 1)

    async def test_a_request_in_doubt_is_not_read(self, stores: Stores) -> None:
        """It is in one place."""
        scene = await stores.open()
        request = await scene.take()
        await scene.doubt(request, WHOLE, Objection.UNREADABLE)
        (entry,) = await scene.quarantine()
        assert (entry.position, entry.acknowledged) == (WHOLE, True)
        record = await scene.store.inbound.request(request.key)
        assert record is not None
        assert (record.waiting, record.read_at, record.quarantined) == (False, None, 1)
        books = await scene.source_books()
        assert (books.waiting, books.read, books.quarantined, books.doubted) == (0, 0, 1, 0)
