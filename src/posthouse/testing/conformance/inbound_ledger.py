"""Requests as people look at them, where events came from, and the books of sources."""

from typing import Any

from posthouse.core.inbound import WHOLE, Objection, Verdict
from posthouse.core.model import Environment
from posthouse.store.protocol import Doubt, RequestQuery, SourceBooks
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, SOURCE

PERIOD_MS = 1 << 14  #: long enough that an engine which looks by spans of time needs several


class TestInboundRequests:
    """``requests``, ``request`` and ``origin``."""

    async def test_a_request_shows_what_became_of_it(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take()
        record = await scene.store.inbound.request(request.key)
        assert record is not None
        assert (record.request, record.body_bytes, record.waiting) == (request, len(request.body), True)
        assert (record.read_at, record.events, record.duplicates, record.quarantined) == (None, 0, 0, 0)

        events = [scene.values.read_event(name, position=i) for i, name in enumerate("aba")]
        doubts = (Doubt(3, Objection.UNREADABLE, "It is not."),)
        await scene.pass_on(scene.reading(request, *events, doubts=doubts, delivery="d-1"), now=NOW + 4)
        record = await scene.store.inbound.request(request.key)
        assert record is not None
        assert (record.waiting, record.read_at, record.delivery) == (False, NOW + 4, "d-1")
        assert (record.events, record.duplicates, record.quarantined) == (2, 1, 1)
        assert not record.is_heartbeat
        first, second = events[0].new.event, events[1].new.event
        assert record.found == (
            (0, first.key, first.id, False),
            (1, second.key, second.id, False),
            (2, first.key, first.id, True),
        )

    async def test_lists_leave_out_what_is_long(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take(body=b"x" * 9_000)
        (record,) = await scene.store.inbound.requests(RequestQuery(environment=Environment.LIVE))
        assert (record.request.head, record.request.body, record.body_bytes) == ("", b"", 9_000)
        assert (record.request.url, record.request.verdict) == (request.url, request.verdict)
        assert record.found == ()

    async def test_what_never_was(self, stores: Stores) -> None:
        scene = await stores.open()
        published = scene.values.new_event()
        await scene.accept(published)
        assert await scene.store.inbound.request(77) is None
        assert await scene.store.inbound.origin(published.event.key) is None
        assert await scene.requests() == []

    async def test_lists_are_narrowed(self, stores: Stores) -> None:
        """Newest first, by every filter."""
        scene = await stores.open()
        fields: list[dict[str, Any]] = [
            {"source_key": 5},
            {"source_key": 6, "verdict": Verdict.PENDING},
            {"source_key": 7, "tenant_id": "other"},
            {"source_key": 8, "environment": Environment.TEST},
            {"source_key": 5, "objection": Objection.BAD_SIGNATURE},
        ]
        a, b, c, d, e = [
            (await scene.take(received_at=NOW + n * PERIOD_MS, **given)).key for n, given in enumerate(fields)
        ]
        queries: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [e, c, b, a]),
            ({"environment": Environment.TEST}, [d]),
            ({"environment": Environment.TEST, "source_key": 5}, []),
            ({"tenant": "acme"}, [e, b, a]),
            ({"tenant": "other"}, [c]),
            ({"tenant": "nobody"}, []),
            ({"source_key": 5}, [e, a]),
            ({"source_key": 5, "tenant": "other"}, []),
            ({"verdict": Verdict.PENDING}, [b]),
            ({"verdict": Verdict.REFUSED, "tenant": "acme"}, [e]),
            ({"verdict": Verdict.GENUINE, "source_key": 5}, [a]),
            ({"since": NOW + PERIOD_MS}, [e, c, b]),
            ({"until": NOW + PERIOD_MS}, [a]),
            ({"since": NOW + PERIOD_MS, "until": NOW + 2 * PERIOD_MS + 1, "tenant": "other"}, [c]),
            ({"limit": 2}, [e, c]),
            ({"after": c}, [b, a]),
            ({"after": c, "limit": 1}, [b]),
            ({"after": e, "source_key": 5}, [a]),
            ({"after": a}, []),
        ]
        for query, found in queries:
            assert await scene.requests(**query) == found


class TestSourceBooks:
    """``audit``: recounted, never kept up to date."""

    async def test_books_of_all_that_can_happen(self, stores: Stores) -> None:
        scene = await stores.open()
        source = scene.values.source()
        await scene.store.catalogue.put_source(source)
        key = source.key
        await scene.take(source_key=key)
        await scene.take(source_key=key, objection=Objection.BAD_SIGNATURE)
        await scene.bring_in(scene.values.read_event("a"), source_key=key, catalogue_version=1)
        request = await scene.take(source_key=key)
        doubts = (Doubt(2, Objection.UNREADABLE, "It is not."),)
        events = [scene.values.read_event("a"), scene.values.read_event("b", position=1)]
        await scene.pass_on(scene.reading(request, *events, doubts=doubts, catalogue_version=1))
        assert await scene.store.inbound.audit(Environment.LIVE) == [
            SourceBooks(
                source_key=key,
                environment=Environment.LIVE,
                tenant="acme",
                received=4,
                waiting=1,
                read=2,
                quarantined=1,
                events=2,
                duplicates=1,
                doubted=1,
                imbalance=0,
            )
        ]

    async def test_books_are_narrowed(self, stores: Stores) -> None:
        """By whose the source is; deleted ones have books too."""
        scene = await stores.open()
        sources = [
            scene.values.source(),
            scene.values.source(tenant="other"),
            scene.values.source(environment=Environment.TEST),
            scene.values.source(),
        ]
        for source in sources:
            await scene.store.catalogue.put_source(source)
            if source is not sources[-1]:
                await scene.take(source_key=source.key)
        for environment, tenant, found in (
            (Environment.LIVE, None, sources[:2]),
            (Environment.LIVE, "other", sources[1:2]),
            (Environment.LIVE, "nobody", []),
            (Environment.TEST, None, sources[2:3]),
        ):
            books = await scene.store.inbound.audit(environment, tenant)
            assert [b.source_key for b in books] == [source.key for source in found]
            assert all(b.environment == environment and (b.received, b.imbalance) == (1, 0) for b in books)

    async def test_a_new_store_has_no_books(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.inbound.audit(Environment.LIVE) == []

    async def test_a_request_to_nobody_shows(self, stores: Stores) -> None:
        """Rows of a source that nothing knows are not lost in the books."""
        scene = await stores.open()
        await scene.take()
        assert [(b.source_key, b.waiting) for b in await scene.store.inbound.audit(Environment.LIVE)] == [(SOURCE, 1)]
        assert (await scene.inbox()).items[0].position == WHOLE
