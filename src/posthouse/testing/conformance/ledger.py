"""Reading what happened, and recounting it."""

from typing import Any

import pytest

from posthouse.core import ids
from posthouse.core.delivery import State
from posthouse.core.model import Environment, Lane
from posthouse.core.rules import Order
from posthouse.store.protocol import DeliveryQuery, DeliveryRecord, EventRecord
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.scene import Scene, Stores, columns
from posthouse.testing.conformance.values import NOW, SOURCE

MINUTE = 60_000


class TestLedger:
    """Lists, single things, attempts."""

    async def test_one_that_stands_behind_names_the_event_that_goes_first(self, stores: Stores) -> None:
        scene = await stores.open()
        first, second, third = [
            await scene.owe(7, accepted_at=NOW + n, ordering_key="k", orders=(Order.FIFO,)) for n in range(3)
        ]
        other = await scene.owe(7, accepted_at=NOW, ordering_key="l", orders=(Order.FIFO,))

        async def named() -> list[int | None]:
            return [(await scene.record(obligation)).behind_event for obligation in (first, second, third, other)]

        assert await named() == [None, first.event_key, first.event_key, None]
        head = (await scene.queue(7)).work[0].obligation
        assert head.event_key == first.event_key
        await scene.settle(head)
        assert await named() == [None, None, second.event_key, None]

    # -- events -----------------------------------------------------------------------------------

    async def test_events_come_newest_first(self, stores: Stores) -> None:
        scene = await stores.open()
        keys = [(await scene.owe(7, accepted_at=NOW + n * MINUTE)).event_key for n in range(5)]
        assert await scene.events() == keys[::-1]
        assert await scene.events(limit=2) == [keys[4], keys[3]]
        assert await scene.events(limit=2, after=keys[3]) == [keys[2], keys[1]]
        assert await scene.events(after=keys[0]) == []

    async def test_events_by_every_filter(self, stores: Stores) -> None:
        scene = await stores.open()
        first = await scene.owe(7, accepted_at=NOW)
        second = await scene.owe(7, accepted_at=NOW + MINUTE, tenant="other", type="user.created")
        test = await scene.owe(7, accepted_at=NOW + MINUTE, environment=Environment.TEST)
        last = await scene.owe(7, accepted_at=NOW + 2 * MINUTE)
        assert await scene.events() == [last.event_key, second.event_key, first.event_key]
        assert await scene.events(Environment.TEST) == [test.event_key]
        assert await scene.events(tenant="other") == [second.event_key]
        assert await scene.events(tenant="acme") == [last.event_key, first.event_key]
        assert await scene.events(tenant="none") == []
        assert await scene.events(type="user.created") == [second.event_key]
        assert await scene.events(tenant="acme", type="user.created") == []
        assert await scene.events(since=NOW + MINUTE) == [last.event_key, second.event_key]
        assert await scene.events(until=NOW + MINUTE) == [first.event_key]
        assert await scene.events(since=NOW, until=NOW + 1, tenant="acme") == [first.event_key]
        assert await scene.events(since=NOW + 3 * MINUTE) == []

    async def test_events_of_a_source(self, stores: Stores) -> None:
        """Those that came in through it, newest first, page by page; one that came again stands there once."""
        scene = await stores.open()
        keys = []
        for n in range(4):
            fields: dict[str, Any] = {"type": f"t.{n % 2}", "tenant": "ab"[n // 2], "accepted_at": NOW + n * MINUTE}
            mine = scene.values.read_event(f"m{n}", 7, **fields)
            await scene.bring_in(mine)
            keys.append(mine.new.event.key)
            await scene.bring_in(scene.values.read_event(f"o{n}", 7, **fields), source_key=SOURCE + 1)
            await scene.owe(7, **fields)
        await scene.bring_in(scene.values.read_event("m0", 7))
        test = scene.values.read_event("t", environment=Environment.TEST)
        await scene.bring_in(test)
        assert await scene.events(source_key=SOURCE) == keys[::-1]
        assert await scene.events(Environment.TEST, source_key=SOURCE) == [test.new.event.key]
        assert await scene.events(source_key=SOURCE, limit=3) == keys[:0:-1]
        assert await scene.events(source_key=SOURCE, limit=3, after=keys[1]) == [keys[0]]
        assert await scene.events(source_key=SOURCE, tenant="b") == [keys[3], keys[2]]
        assert await scene.events(source_key=SOURCE, type="t.0") == [keys[2], keys[0]]
        assert await scene.events(source_key=SOURCE, tenant="b", type="t.0") == [keys[2]]
        assert await scene.events(source_key=SOURCE, since=NOW + MINUTE, until=NOW + 3 * MINUTE) == [keys[2], keys[1]]
        assert await scene.events(source_key=SOURCE + 2) == []

    async def test_tenants_of_one_moment_are_apart(self, stores: Stores) -> None:
        """However close together their events lie in the store, and whatever became of them."""
        scene = await stores.open()
        mine, theirs = [], []
        for _ in range(3):
            mine += await self._three_states(scene, accepted_at=NOW)
            theirs += await self._three_states(scene, accepted_at=NOW, tenant="other")
        for tenant, own in (("acme", mine), ("other", theirs)):
            events = sorted({event_key for event_key, _ in own}, reverse=True)
            assert await scene.events(tenant=tenant) == events
            assert await scene.deliveries(tenant=tenant) == sorted(own, reverse=True)
            for state in (State.DISCARDED, State.DELIVERED, State.WAITING):
                assert [event_key for event_key, _ in await scene.deliveries(tenant=tenant, state=state)] == events

    async def test_times_are_those_of_acceptance(self, stores: Stores) -> None:
        """Keys may run ahead of a clock that was set back; the filter does not ask them."""
        scene = await stores.open()
        scene.values.key(NOW + MINUTE)
        behind = await scene.owe(7, accepted_at=NOW)
        assert ids.time_of(behind.event_key) == NOW + MINUTE
        assert await scene.events(since=NOW, until=NOW + 1) == [behind.event_key]
        assert await scene.deliveries(since=NOW, until=NOW + 1) == [(behind.event_key, 7)]

    async def test_an_event_is_found_by_its_id(self, stores: Stores) -> None:
        """Generated ids and publishers' own; more than one only if tenants share it."""
        scene = await stores.open()
        find = scene.store.ledger.find_events
        made, mine = scene.values.new_event(7, 8), scene.values.named("mine")
        other = scene.values.named("mine", tenant="other")
        test = scene.values.named("mine", environment=Environment.TEST)
        await scene.accept(made, mine, other, test)
        assert await find(Environment.LIVE, made.event.id, None) == [EventRecord(made.event, 2)]
        assert await find(Environment.LIVE, made.event.id, "acme") == [EventRecord(made.event, 2)]
        assert await find(Environment.LIVE, made.event.id, "other") == []
        assert await find(Environment.TEST, made.event.id, None) == []
        assert [r.event for r in await find(Environment.LIVE, "mine", None)] == [other.event, mine.event]
        assert [r.event for r in await find(Environment.LIVE, "mine", "acme")] == [mine.event]
        assert [r.event for r in await find(Environment.TEST, "mine", None)] == [test.event]
        assert await find(Environment.LIVE, "none", None) == []
        assert await find(Environment.LIVE, ids.make_id(ids.EVENT, mine.event.key), None) == []

    # -- deliveries -------------------------------------------------------------------------------

    async def test_records_say_everything(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7, accepted_at=NOW - 5, tenant="ünï", type="a.b")
        given: dict[str, Any] = {
            "event_key": owed.event_key,
            "endpoint_key": 7,
            "event_id": ids.make_id(ids.EVENT, owed.event_key),
            "event_type": "a.b",
            "environment": Environment.LIVE,
            "tenant": "ünï",
            "opened_at": NOW - 5,
            "round": 1,
        }
        nothing: dict[str, Any] = {"settled_at": None, "reason": None, "last_outcome": None, "last_status": None}
        waiting = DeliveryRecord(state=State.WAITING, lane=Lane.LIVE, attempts=0, due_at=NOW - 5, **given, **nothing)
        assert await scene.record(owed) == waiting
        await scene.settle(owed, State.RETRYING, due_at=NOW + 9)
        failed = {**nothing, "last_outcome": "status", "last_status": 500}
        retrying = DeliveryRecord(state=State.RETRYING, lane=Lane.RETRY, attempts=1, due_at=NOW + 9, **given, **failed)
        assert await scene.record(owed) == retrying
        await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW + 2)
        failed |= {"settled_at": NOW + 2, "reason": "cancelled"}
        discarded = DeliveryRecord(state=State.DISCARDED, lane=Lane.RETRY, attempts=1, due_at=None, **given, **failed)
        assert await scene.record(owed) == discarded
        assert await scene.store.ledger.deliveries(DeliveryQuery(environment=Environment.LIVE)) == [discarded]

    async def test_a_delivery_that_never_was(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        assert await scene.store.ledger.delivery(owed.event_key, 8) is None
        assert await scene.store.ledger.delivery(owed.event_key - 1, 7) is None
        assert await scene.store.ledger.attempts(owed.event_key, 7) == []

    @pytest.mark.parametrize("endpoint_key", [None, 7])
    async def test_deliveries_by_state(self, stores: Stores, endpoint_key: int | None) -> None:
        """A delivery stands in the list of its state now, and in no other."""
        scene = await stores.open()
        by_state = {state: [await settled_as(scene, state) for _ in range(2)] for state in State}
        again = [await settled_as(scene, state) for state in (State.DELIVERED, State.EXHAUSTED, State.DISCARDED)]
        for owed in again:
            await scene.store.work.retry(owed.event_key, 7, now=NOW)
        by_state[State.WAITING] += again
        for state, owed_then in by_state.items():
            expected = [(owed.event_key, 7) for owed in reversed(owed_then)]
            assert await scene.deliveries(state=state, endpoint_key=endpoint_key) == expected
            assert await scene.deliveries(state=state, endpoint_key=8) == []
        assert len(await scene.deliveries(endpoint_key=endpoint_key)) == 13

    async def test_deliveries_by_every_filter(self, stores: Stores) -> None:
        scene = await stores.open()
        a = await self._three_states(scene, accepted_at=NOW)
        b = await self._three_states(scene, accepted_at=NOW + MINUTE, tenant="other")
        c = await self._three_states(scene, accepted_at=NOW + MINUTE, environment=Environment.TEST)
        assert await scene.deliveries() == b + a
        assert await scene.deliveries(Environment.TEST) == c
        assert await scene.deliveries(tenant="acme") == a
        assert await scene.deliveries(tenant="other") == b
        assert await scene.deliveries(tenant="none") == []
        assert await scene.deliveries(endpoint_key=8) == [b[1], a[1]]
        assert await scene.deliveries(endpoint_key=8, tenant="acme") == [a[1]]
        assert await scene.deliveries(event_key=b[0][0]) == b
        assert await scene.deliveries(event_key=c[0][0]) == []
        assert await scene.deliveries(event_key=a[0][0], endpoint_key=8, state=State.DELIVERED) == [a[1]]
        assert await scene.deliveries(event_key=a[0][0], endpoint_key=8, state=State.WAITING) == []
        assert await scene.deliveries(since=NOW + 1) == b
        assert await scene.deliveries(until=NOW + MINUTE) == a
        for state, place in ((State.DISCARDED, 0), (State.DELIVERED, 1), (State.WAITING, 2)):
            assert await scene.deliveries(state=state) == [b[place], a[place]]
            assert await scene.deliveries(state=state, tenant="acme") == [a[place]]
            assert await scene.deliveries(state=state, until=NOW + MINUTE) == [a[place]]
            assert await scene.deliveries(Environment.TEST, state=state) == [c[place]]

    async def test_pages_join_into_the_whole_list(self, stores: Stores) -> None:
        """Whatever the filter and the size of the page."""
        scene = await stores.open()
        for n in range(6):
            await self._three_states(scene, accepted_at=NOW + n * 5_000)
        queries: list[dict[str, Any]] = [{}, {"tenant": "acme"}, {"endpoint_key": 8}, {"event_key": None}]
        queries += [{"state": state} for state in State]
        for query in queries:
            whole = await scene.deliveries(limit=100, **query)
            assert whole == sorted(whole, reverse=True)
            for limit in (1, 2, 5):
                paged: list[tuple[int, int]] = []
                while page := await scene.deliveries(limit=limit, after=paged[-1] if paged else None, **query):
                    assert len(page) <= limit
                    paged += page
                assert paged == whole

    async def _three_states(self, scene: Scene, **fields: Any) -> list[tuple[int, int]]:
        """One event that is delivered to 8, discarded for 9 and open for 7; as the ledger lists it."""
        new = scene.values.new_event(7, 8, 9, **fields)
        await scene.accept(new)
        (work,) = (await scene.queue(8, now=NOW + 9 * MINUTE)).work
        await scene.settle(work.obligation)
        await scene.store.work.discard(new.event.key, 9, reason="cancelled", now=NOW)
        return [(new.event.key, endpoint_key) for endpoint_key in (9, 8, 7)]


class TestAudit:
    """The books."""

    async def test_every_column(self, stores: Stores) -> None:
        scene = await stores.open()
        endpoint = scene.values.endpoint()
        await scene.store.catalogue.put_endpoint(endpoint)
        for count, state in enumerate(State, 1):
            for _ in range(count):
                await settled_as(scene, state, endpoint.key)
        (books,) = await scene.store.ledger.audit(Environment.LIVE)
        assert (books.environment, books.tenant, books.endpoint_key) == (Environment.LIVE, "acme", endpoint.key)
        assert columns(books) == {
            "owed": 15,
            "waiting": 1,
            "retrying": 2,
            "delivered": 3,
            "exhausted": 4,
            "discarded:cancelled": 5,
        }

    async def test_what_was_opened_again_counts_once(self, stores: Stores) -> None:
        scene = await stores.open()
        for state in State:
            owed = await settled_as(scene, state)
            again = await scene.store.work.retry(owed.event_key, 7, now=NOW)
            assert again is not None
        assert await scene.total() == {"owed": 5, "waiting": 4, "retrying": 1}

    async def test_books_are_kept_by_environment_tenant_and_endpoint(self, stores: Stores) -> None:
        scene = await stores.open()
        mine, theirs = scene.values.endpoint(), scene.values.endpoint(tenant="other")
        test = scene.values.endpoint(environment=Environment.TEST)
        for endpoint in (mine, theirs, test):
            await scene.store.catalogue.put_endpoint(endpoint)
        await scene.owe(mine.key)
        await scene.owe(theirs.key, tenant="other")
        await scene.owe(test.key, environment=Environment.TEST)
        audit = scene.store.ledger.audit
        assert {b.endpoint_key for b in await audit(Environment.LIVE)} == {mine.key, theirs.key}
        assert [b.endpoint_key for b in await audit(Environment.LIVE, "other")] == [theirs.key]
        assert [b.endpoint_key for b in await audit(Environment.TEST)] == [test.key]
        assert await audit(Environment.LIVE, "none") == []

    async def test_debts_to_endpoints_that_nobody_knows_show(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        await scene.settle(owed)
        await scene.owe(7, tenant="other")
        books = {b.tenant: columns(b) for b in await scene.store.ledger.audit(Environment.LIVE)}
        assert sum((b["owed"] for b in books.values()), 0) == 2
        assert set(books) == {"acme", "other"}
