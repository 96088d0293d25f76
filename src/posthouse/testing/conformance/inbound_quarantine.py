"""What is kept and not passed on, and how it leaves."""

from typing import Any

import pytest

from posthouse.core.inbound import WHOLE, InboundRequest, Objection, Resolution
from posthouse.core.model import Environment
from posthouse.store.protocol import Doubt, InboxItem, PassedOn
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, SOURCE


async def places(scene: Scene, *args: Any, **query: Any) -> list[tuple[int, int]]:
    """Where the listed entries stand."""
    return [(entry.request_key, entry.position) for entry in await scene.quarantine(*args, **query)]


async def doubted(scene: Scene, position: int = WHOLE, **fields: Any) -> InboundRequest:
    """A request of which something is in quarantine."""
    request = await scene.take(**fields)
    await scene.doubt(request, position, Objection.UNREADABLE, type="order.paid")
    return request


class TestInboundQuarantine:
    """``quarantine``, ``resolve``, ``expired`` and ``quarantined_bytes``."""

    async def test_what_is_checked_again_is_as_if_nothing_had_been_said_against_it(self, stores: Stores) -> None:
        """And nobody believes it before that."""
        scene = await stores.open()
        request = await scene.take(objection=Objection.BAD_SIGNATURE)
        await scene.store.inbound.resolve([(request.key, WHOLE)], Resolution.RECHECKED, now=NOW)
        (item,) = (await scene.inbox()).items
        assert item.waived is None

    @pytest.mark.parametrize("resolution", [Resolution.RELEASED, Resolution.REVERIFIED])
    async def test_what_is_let_out_comes_back_to_the_inbox(self, stores: Stores, resolution: Resolution) -> None:
        """Due at once, with the objection set aside."""
        scene = await stores.open()
        request = await scene.take(objection=Objection.NO_SECRET)
        entry = (request.key, WHOLE)
        assert await scene.store.inbound.resolve([entry], resolution, now=NOW + 5) == [entry]
        assert await scene.quarantine() == []
        page = await scene.inbox(now=NOW + 5)
        assert page.items == (InboxItem(request, WHOLE, Objection.NO_SECRET, 0, NOW + 5),)
        (left,) = await scene.quarantine(resolved=True)
        assert (left.resolution, left.resolved_at) == (resolution, NOW + 5)
        assert (await scene.source_books()).waiting == 1
        (result,) = await scene.pass_on(scene.reading(page.items[0], scene.values.read_event("a")))
        assert isinstance(result, PassedOn)
        books = await scene.source_books()
        assert (books.read, books.quarantined, books.events) == (1, 0, 1)

    async def test_one_event_is_let_out(self, stores: Stores) -> None:
        """Behind the whole request, in the order of positions."""
        scene = await stores.open()
        request = await doubted(scene, 3)
        other = await doubted(scene, 0)
        entries = [(other.key, 0), (request.key, 3)]
        assert await scene.store.inbound.resolve(entries, Resolution.RELEASED, now=NOW) == entries
        items = (await scene.inbox()).items
        assert [(i.request, i.position) for i in items] == [(request, 3), (other, 0)]
        record = await scene.store.inbound.request(request.key)
        assert record is not None
        assert (record.waiting, record.quarantined) == (False, 0)
        event = scene.values.read_event("a", position=3)
        await scene.pass_on(scene.reading(items[0], event))
        origin = await scene.store.inbound.origin(event.new.event.key)
        assert origin is not None
        assert (origin.request_key, origin.position) == (request.key, 3)
        books = await scene.source_books()
        assert (books.read, books.events, books.doubted) == (2, 1, 0)

    @pytest.mark.parametrize("position", [WHOLE, 2])
    async def test_what_is_doubted_again_is_in_quarantine_again(self, stores: Stores, position: int) -> None:
        """With the other objection, and the type that was known."""
        scene = await stores.open()
        request = await doubted(scene, position)
        await scene.store.inbound.resolve([(request.key, position)], Resolution.RELEASED, now=NOW)
        (item,) = (await scene.inbox()).items
        await scene.doubt(item, position, Objection.TYPE_CONTRADICTION)
        assert (await scene.inbox()).items == ()
        (entry,) = await scene.quarantine()
        assert (entry.objection, entry.type) == (Objection.TYPE_CONTRADICTION, "order.paid")
        assert (entry.resolution, entry.resolved_at) == (None, None)
        await scene.source_books()
        await scene.store.inbound.resolve([(request.key, position)], Resolution.RELEASED, now=NOW)
        (item,) = (await scene.inbox()).items
        assert item.waived is Objection.TYPE_CONTRADICTION

    async def test_what_was_refused_stays_so(self, stores: Stores) -> None:
        """Its sender was never told otherwise: it expires although somebody had a second look."""
        scene = await stores.open()
        request = await scene.take(objection=Objection.BAD_SIGNATURE, body=b"12345")
        await scene.store.inbound.resolve([(request.key, WHOLE)], Resolution.REVERIFIED, now=NOW)
        (item,) = (await scene.inbox()).items
        await scene.doubt(item, WHOLE, Objection.UNREADABLE)
        (entry,) = await scene.quarantine()
        assert not entry.acknowledged
        assert await scene.store.inbound.quarantined_bytes() == {SOURCE: 5}
        assert await scene.store.inbound.expired(before=NOW + 1, limit=9) == [(request.key, WHOLE)]

    async def test_only_what_is_in_it_leaves(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await doubted(scene)
        entry = (request.key, WHOLE)
        wanted = [(77, WHOLE), entry, (request.key, 0), entry]
        assert await scene.store.inbound.resolve(wanted, Resolution.DISCARDED, now=NOW) == [entry]
        assert await scene.store.inbound.resolve([entry], Resolution.RELEASED, now=NOW) == []
        assert await scene.store.inbound.resolve([], Resolution.RELEASED, now=NOW) == []
        (left,) = await scene.quarantine(resolved=True)
        assert left.resolution is Resolution.DISCARDED

    async def test_what_is_given_up_is_counted(self, stores: Stores) -> None:
        scene = await stores.open()
        whole, part = await doubted(scene), await doubted(scene, 1)
        entries = [(whole.key, WHOLE), (part.key, 1)]
        await scene.store.inbound.resolve(entries, Resolution.DISCARDED, now=NOW)
        assert (await scene.inbox()).items == ()
        assert await scene.store.inbound.request(whole.key) is not None
        books = await scene.source_books()
        assert (books.quarantined, books.doubted, books.read) == (1, 1, 1)

    # -- expiry -----------------------------------------------------------------------------------

    async def test_what_was_refused_expires(self, stores: Stores) -> None:
        """Oldest first; what was acknowledged never does."""
        scene = await stores.open()
        late = await scene.take(objection=Objection.BAD_SIGNATURE, received_at=NOW + 9)
        early = await scene.take(objection=Objection.BAD_SIGNATURE, received_at=NOW)
        kept = await doubted(scene)
        inbound = scene.store.inbound
        assert await inbound.expired(before=NOW, limit=9) == []
        assert await inbound.expired(before=NOW + 9, limit=9) == [(early.key, WHOLE)]
        assert await inbound.expired(before=NOW + 10, limit=9) == [(early.key, WHOLE), (late.key, WHOLE)]
        assert await inbound.expired(before=NOW + 10, limit=1) == [(early.key, WHOLE)]
        wanted = [(early.key, WHOLE), (kept.key, WHOLE)]
        assert await inbound.resolve(wanted, Resolution.EXPIRED, now=NOW) == [(early.key, WHOLE)]
        assert await inbound.request(early.key) is None
        assert await places(scene) == [(kept.key, WHOLE), (late.key, WHOLE)]
        (left,) = await scene.quarantine(resolved=True)
        assert (left.request_key, left.resolution) == (early.key, Resolution.EXPIRED)
        assert (await scene.source_books()).received == 2
        assert await inbound.expired(before=NOW + 10, limit=9) == [(late.key, WHOLE)]

    async def test_bytes_of_what_was_refused(self, stores: Stores) -> None:
        """By source; not of what left, nor of what was acknowledged."""
        scene = await stores.open()
        assert await scene.store.inbound.quarantined_bytes() == {}
        requests = [
            await scene.take(objection=Objection.BAD_SIGNATURE, source_key=source_key, body=b"x" * size)
            for source_key, size in ((5, 10), (5, 30), (6, 7), (8, 9))
        ]
        await doubted(scene, body=b"x" * 500)
        await scene.store.inbound.resolve([(requests[3].key, WHOLE)], Resolution.DISCARDED, now=NOW)
        assert await scene.store.inbound.quarantined_bytes() == {5: 40, 6: 7}

    # -- lists ------------------------------------------------------------------------------------

    async def test_lists_are_narrowed(self, stores: Stores) -> None:
        scene = await stores.open()
        acme = (await doubted(scene)).key
        other = (await scene.take(objection=Objection.NO_SECRET, source_key=6, tenant_id="other")).key
        test = (await scene.take(objection=Objection.NO_SECRET, source_key=7, environment=Environment.TEST)).key
        first, second, third = ((key, WHOLE) for key in (acme, other, test))
        for query, found in (
            ({}, [second, first]),
            ({"tenant": "acme"}, [first]),
            ({"tenant": "nobody"}, []),
            ({"source_key": 6}, [second]),
            ({"source_key": 6, "tenant": "acme"}, []),
            ({"source_key": 7}, []),
            ({"objections": (Objection.UNREADABLE,)}, [first]),
            ({"objections": (Objection.UNREADABLE, Objection.NO_SECRET)}, [second, first]),
            ({"source_key": 5, "objections": (Objection.NO_SECRET,)}, []),
            ({"resolved": True}, []),
            ({"environment": Environment.TEST}, [third]),
        ):
            given: dict[str, Any] = dict(query)
            assert await places(scene, **given) == found
        everything = [first, second, third]
        await scene.store.inbound.resolve(everything, Resolution.DISCARDED, now=NOW)
        for query, found in (
            ({}, [second, first]),
            ({"oldest_first": True}, [first, second]),
            ({"tenant": "other"}, [second]),
            ({"source_key": 5}, [first]),
            ({"objections": (Objection.NO_SECRET,)}, [second]),
        ):
            given = dict(query)
            assert await places(scene, resolved=True, **given) == found
        assert await places(scene) == []

    @pytest.mark.parametrize("source_key", [None, SOURCE])
    @pytest.mark.parametrize("resolved", [False, True])
    async def test_a_list_goes_on(self, stores: Stores, source_key: int | None, resolved: bool) -> None:  # noqa: FBT001 - a parameter
        """Page by page, by (request key, position), in both directions."""
        scene = await stores.open()
        expected: list[tuple[int, int]] = []
        for positions in ((WHOLE,), (0, 1, 2)):
            request = await scene.take()
            doubts = tuple(Doubt(position, Objection.UNREADABLE, "It is not.") for position in positions)
            await scene.pass_on(scene.reading(request, doubts=doubts))
            expected += [(request.key, position) for position in positions]
        if resolved:
            await scene.store.inbound.resolve(expected, Resolution.DISCARDED, now=NOW)
        for oldest_first in (True, False):
            query: dict[str, Any] = {"source_key": source_key, "resolved": resolved, "oldest_first": oldest_first}
            found: list[tuple[int, int]] = []
            while page := await places(scene, limit=3, after=found[-1] if found else None, **query):
                found += page
            assert found == (expected if oldest_first else expected[::-1])
