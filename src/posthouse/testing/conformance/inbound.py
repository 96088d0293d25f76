"""Requests to sources: kept first, read in their order."""

import asyncio

import pytest

from posthouse.core.errors import PosthouseError
from posthouse.core.inbound import WHOLE, Objection, Quarantined
from posthouse.core.limits import INBOX_POSTPONED_MS_MAX
from posthouse.core.model import Environment
from posthouse.store.protocol import InboxItem
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, SOURCE, item


class TestInbound:
    """``take``, ``waiting``, ``fetch`` and ``postpone``."""

    async def test_a_request_stays_as_it_came(self, stores: Stores) -> None:
        """Byte for byte, also after opening again."""
        scene = await stores.open()
        request = await scene.take()
        page = await (await stores.open()).inbox()
        assert page.items == (InboxItem(request, WHOLE, None, 0, NOW),)
        assert (page.more, page.next_due_at) == (False, None)

    async def test_what_is_refused_goes_to_quarantine(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take(objection=Objection.BAD_SIGNATURE)
        assert (await scene.inbox()).items == ()
        assert await scene.store.inbound.waiting() == {}
        assert await scene.quarantine() == [
            Quarantined(
                request_key=request.key,
                position=WHOLE,
                source_key=SOURCE,
                environment=Environment.LIVE,
                tenant="acme",
                objection=Objection.BAD_SIGNATURE,
                detail="It is not signed.",
                type=None,
                at=NOW,
                acknowledged=False,
            )
        ]

    async def test_many_requests_in_one_call(self, stores: Stores) -> None:
        """More rows than an engine writes at once."""
        scene = await stores.open()
        arrivals = [scene.values.arrival(5 + n % 3, body=b"x") for n in range(1_200)]
        await scene.store.inbound.take(arrivals)
        await scene.store.inbound.take([])
        page = await scene.inbox(6, limit=1_000)
        assert [i.request for i in page.items] == [a.request for a in arrivals if a.request.source_key == 6]
        assert await scene.requests(limit=2_000) == [a.request.key for a in reversed(arrivals)]

    async def test_calls_at_the_same_time_spoil_nothing_for_others(self, stores: Stores) -> None:
        """A key that exists is an error of who gave it."""
        scene = await stores.open()
        first = scene.values.arrival()
        await scene.take(first)
        arrivals = [scene.values.arrival(), first, scene.values.arrival()]
        results = await asyncio.gather(
            *(scene.store.inbound.take([arrival]) for arrival in arrivals), return_exceptions=True
        )
        assert [isinstance(result, PosthouseError) for result in results] == [False, True, False]
        assert len((await scene.inbox()).items) == 3

    async def test_an_inbox_is_read_in_the_order_of_keys(self, stores: Stores) -> None:
        """Each source has its own."""
        scene = await stores.open()
        for request in (first := await scene.take(), second := await scene.take(), await scene.take(source_key=9)):
            await scene.store.inbound.postpone(request.key, WHOLE, attempts=0, due_at=NOW)
        assert [i.request for i in (await scene.inbox()).items] == [first, second]
        assert [i.request.source_key for i in (await scene.inbox(9)).items] == [9]
        assert (await scene.inbox(4)).items == ()

    async def test_a_page_has_bounds(self, stores: Stores) -> None:
        scene = await stores.open()
        requests = [await scene.take(body=b"x" * 100) for _ in range(4)]
        keys = [request.key for request in requests]
        for bounds, found, more in (
            ({"limit": 4}, keys, False),
            ({"limit": 3}, keys[:3], True),
            ({"bytes_max": 200}, keys[:2], True),
            ({"bytes_max": 299}, keys[:2], True),
            ({"bytes_max": 1}, keys[:1], True),
            ({"after": (keys[0], WHOLE)}, keys[1:], False),
            ({"after": (keys[3], WHOLE)}, [], False),
        ):
            page = await scene.inbox(**bounds)
            assert ([i.request.key for i in page.items], page.more) == (found, more)

    async def test_what_is_postponed_is_not_due(self, stores: Stores) -> None:
        """It keeps its place for when it is."""
        scene = await stores.open()
        first, second = await scene.take(), await scene.take()
        await scene.store.inbound.postpone(first.key, WHOLE, attempts=2, due_at=NOW + 50)
        page = await scene.inbox()
        assert ([i.request for i in page.items], page.more, page.next_due_at) == ([second], False, NOW + 50)
        page = await scene.inbox(now=NOW + 50)
        assert page.items == (InboxItem(first, WHOLE, None, 2, NOW + 50), item(second))
        assert page.next_due_at is None

    async def test_what_a_clock_wrote_that_was_set_back_since_is_due(self, stores: Stores) -> None:
        """Nothing is postponed that far, so it would wait as long as the clock was wrong."""
        scene = await stores.open()
        ahead = await scene.take(received_at=NOW + INBOX_POSTPONED_MS_MAX + 1)
        soon = await scene.take(received_at=NOW + INBOX_POSTPONED_MS_MAX)
        page = await scene.inbox()
        assert ([i.request for i in page.items], page.next_due_at) == ([ahead], soon.received_at)
        assert await scene.store.inbound.pass_on([scene.reading(soon)], now=NOW)
        assert (await scene.inbox()).next_due_at is None

    async def test_what_is_gone_cannot_be_postponed(self, stores: Stores) -> None:
        scene = await stores.open()
        request = await scene.take()
        await scene.pass_on(scene.reading(request))
        await scene.store.inbound.postpone(request.key, WHOLE, attempts=1, due_at=NOW + 50)
        await scene.store.inbound.postpone(77, WHOLE, attempts=1, due_at=NOW + 50)
        assert await scene.store.inbound.waiting() == {}

    async def test_who_waits(self, stores: Stores) -> None:
        """Of each source when its first item is due."""
        scene = await stores.open()
        early = await scene.take(received_at=NOW - 30)
        await scene.take(received_at=NOW - 20)
        late = await scene.take(source_key=9)
        await scene.store.inbound.postpone(late.key, WHOLE, attempts=1, due_at=NOW + 70)
        assert await scene.store.inbound.waiting() == {SOURCE: NOW - 30, 9: NOW + 70}
        await scene.store.inbound.postpone(early.key, WHOLE, attempts=1, due_at=NOW + 60)
        assert await scene.store.inbound.waiting() == {SOURCE: NOW - 20, 9: NOW + 70}

    @pytest.mark.parametrize("body", [b"", b"\x00" * 300_000])
    async def test_bodies_of_any_length(self, stores: Stores, body: bytes) -> None:
        scene = await stores.open()
        request = await scene.take(body=body, head="", url="/in/x", method="PUT", status=202)
        assert [i.request for i in (await scene.inbox()).items] == [request]
