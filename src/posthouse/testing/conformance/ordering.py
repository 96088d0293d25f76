"""Deliveries that keep order: of one endpoint and ordering key one at a time."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from posthouse.core.delivery import OPEN, State
from posthouse.core.model import Environment, Lane, Obligation
from posthouse.core.rules import SUPERSEDED, Order, Rules
from posthouse.store.protocol import AcceptRequest, DeliveryQuery, NewEvent, Settled, Work
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, attempt

LATER = NOW + 1_000_000_000  #: when everything that is open is due
STEP = 100  #: deliveries that a test reads or changes in one call


async def ahead(scene: Scene, endpoint_key: int) -> list[Work]:
    """Every open delivery of an endpoint that stands behind none, whatever its lane and due time."""
    work: list[Work] = []
    for lane in Lane:
        after: tuple[int, int] | None = None
        more = True
        while more:
            refill = await scene.queue(endpoint_key, lane, now=LATER, limit=STEP, after=after)
            work += refill.work
            more = refill.more
            if more:
                after = (work[-1].obligation.due_at, work[-1].obligation.event_key)
    return work


async def check_order(scene: Scene, endpoint_key: int) -> None:
    """Of each ordering key of which deliveries stand behind, or keep it, exactly one is ahead.

    Works while the endpoint is brought in line with another order, too: what keeps no order stands behind nothing.
    """
    keys = {r.event.key: r.event.ordering_key for r in await scene.records(limit=1_000)}
    found = await ahead(scene, endpoint_key)
    kept = [w.obligation.ordering_key for w in found if w.obligation.ordering_key is not None]
    assert len(kept) == len(set(kept)), "one at a time"
    assert all(w.obligation.ordering_key in (None, keys[w.event.key]) for w in found)
    query = DeliveryQuery(environment=Environment.LIVE, endpoint_key=endpoint_key, limit=1_000)
    open_events = {r.event_key for r in await scene.store.ledger.deliveries(query) if r.state in OPEN}
    behind = open_events - {w.event.key for w in found}
    assert {keys[event_key] for event_key in behind} <= set(kept), "somebody is ahead of what stands behind"


async def drain(scene: Scene, endpoint_key: int) -> dict[str, list[int]]:
    """Deliver everything that is open; by ordering key the events, in the sequence in which they were sent."""
    sent: dict[str, list[int]] = {}
    while found := await ahead(scene, endpoint_key):
        outcomes = []
        for work in found:
            owed = work.obligation
            made = attempt(owed.last_number + 1, started_at=LATER)
            outcomes.append(scene.outcome(owed, attempt_=made, settled_at=NOW))
            if owed.ordering_key is not None:
                sent.setdefault(owed.ordering_key, []).append(owed.event_key)
        assert await scene.store.work.settle(outcomes) == Settled()
    return sent


class TestOrder:
    """One at a time: accepting, settling, superseding, opening again, giving up."""

    # -- accepting --------------------------------------------------------------------------------

    async def test_of_one_key_one_is_work(self, stores: Stores) -> None:
        """The others are open, and nobody finds them."""
        scene = await stores.open()
        first, second, other = [ordered(scene, 7, key=key) for key in ("a", "a", "b")]
        await scene.accept(first, second, other)
        third = ordered(scene, 7)
        await scene.accept(third)
        assert [(w.event.key, w.obligation.ordering_key, w.newer) for w in (await scene.queue(7)).work] == [
            (first.event.key, "a", True),
            (other.event.key, "b", False),
        ]
        (backlog,) = await scene.survey()
        assert (backlog.lane, backlog.event_key) == (Lane.LIVE, first.event.key)
        assert (await scene.queue(7)).next_due_at is None
        assert await scene.total() == {"owed": 4, "waiting": 4}
        assert len(await scene.deliveries(state=State.WAITING)) == 4

    async def test_order_is_kept_by_endpoint(self, stores: Stores) -> None:
        """One event may be owed in order here, and without order there."""
        scene = await stores.open()
        orders = (Order.FIFO, Order.NONE, Order.LATEST)
        for _ in range(3):
            await scene.accept(scene.values.new_event(7, 8, 9, ordering_key="a", orders=orders))
        assert [len(await ahead(scene, endpoint_key)) for endpoint_key in (7, 8, 9)] == [1, 3, 1]
        assert {w.obligation.ordering_key for w in await ahead(scene, 8)} == {None}

    async def test_events_without_a_key_stand_behind_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.accept(*(scene.values.new_event(7, orders=(Order.FIFO,)) for _ in range(3)))
        assert len(await ahead(scene, 7)) == 3

    async def test_requests_of_one_transaction_know_each_other(self, stores: Stores) -> None:
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(10)]
        await asyncio.gather(*(scene.accept(new, version=0) for new in news))
        assert [w.event.key for w in await ahead(scene, 7)] == [news[0].event.key]
        assert await drain(scene, 7) == {"a": [new.event.key for new in news]}

    async def test_what_is_refused_leaves_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.accept(scene.values.named("taken"))
        refused = AcceptRequest((ordered(scene, 7), scene.values.named("taken", b"other")), 0)
        good = ordered(scene, 7)
        await scene.store.intake.accept([refused, AcceptRequest((good,), 0)])
        (work,) = await ahead(scene, 7)
        assert (work.event.key, work.newer) == (good.event.key, False)
        assert await scene.total() == {"owed": 1, "waiting": 1}

    async def test_latest_supersedes_what_stands_behind(self, stores: Stores) -> None:
        """The one ahead may be on its way, so it stays."""
        scene = await stores.open()
        news = [ordered(scene, 7, Order.LATEST, accepted_at=NOW + n) for n in range(5)]
        await scene.accept(*news[:3])
        for new in news[3:]:
            await scene.accept(new)
        assert await scene.total() == {"owed": 5, "waiting": 2, "discarded:superseded": 3}
        assert await scene.deliveries(state=State.DISCARDED, endpoint_key=7) == [(n.event.key, 7) for n in news[3:0:-1]]
        assert await drain(scene, 7) == {"a": [news[0].event.key, news[4].event.key]}

    async def test_latest_supersedes_any_number(self, stores: Stores) -> None:
        """More than an engine writes at once."""
        scene = await stores.open()
        await scene.accept(*(ordered(scene, 7) for _ in range(2_500)))
        await scene.accept(ordered(scene, 7, Order.LATEST), ordered(scene, 7, Order.LATEST, key="b"))
        assert await scene.total() == {"owed": 2_502, "waiting": 3, "discarded:superseded": 2_499}

    # -- settling ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.DISCARDED])
    async def test_who_is_settled_lets_the_oldest_out(self, stores: Stores, state: State) -> None:
        """Due at once, its span opened then, in the lane that it had."""
        scene = await stores.open()
        first, second = ordered(scene, 7), ordered(scene, 7, lane=Lane.BACKLOG)
        await scene.accept(first, second, ordered(scene, 7))
        (head,) = (await scene.queue(7)).work
        assert await scene.settle(head.obligation, state, settled_at=NOW + 50, reason=reason_of(state)) == Settled()
        (work,) = await ahead(scene, 7)
        at = NOW + 50
        assert work.obligation == Obligation(second.event.key, 7, Lane.BACKLOG, at, at, ordering_key="a")
        assert work.newer

    async def test_who_is_tried_again_stays_ahead(self, stores: Stores) -> None:
        """Whether an attempt was spent or not."""
        scene = await stores.open()
        await scene.accept(ordered(scene, 7), ordered(scene, 7))
        for spent in (True, False, True):
            (work,) = await ahead(scene, 7)
            assert await scene.settle(work.obligation, State.RETRYING, spent=spent) == Settled()
        (again,) = await ahead(scene, 7)
        assert again.event == work.event
        assert (again.obligation.attempts, again.obligation.last_number) == (2, 3)

    async def test_many_keys_and_endpoints_in_one_batch(self, stores: Stores) -> None:
        """Some keep order, some do not; more than an engine writes at once."""
        scene = await stores.open()
        orders = (Order.FIFO, Order.NONE)
        keys = [f"key-{n}" for n in range(300)]
        for _ in range(2):
            await scene.accept(*(scene.values.new_event(7, 8, ordering_key=key, orders=orders) for key in keys))
        batch = [scene.outcome(work.obligation) for work in (*await ahead(scene, 7), *await ahead(scene, 8))]
        fenced = scene.outcome(batch[3].obligation, epoch=0)
        assert await scene.store.work.settle([fenced, *batch]) == Settled(fenced=(0,))
        assert await scene.total() == {"owed": 1_200, "delivered": 900, "waiting": 300}
        await check_order(scene, 7)

    async def test_the_same_outcome_twice_lets_one_out(self, stores: Stores) -> None:
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(4)]
        await scene.accept(*news)
        (work,) = await ahead(scene, 7)
        outcome = scene.outcome(work.obligation)
        assert await scene.store.work.settle([outcome, outcome]) == Settled(superseded=(1,))
        assert [w.event.key for w in await ahead(scene, 7)] == [news[1].event.key]

    # -- superseding ------------------------------------------------------------------------------

    async def test_a_newer_one_takes_the_place(self, stores: Stores) -> None:
        """The newest is let out; what stands between is out of date too."""
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(4)]
        await scene.accept(*news)
        first = (news[0].event.key, 7)
        assert await scene.store.work.supersede([first], now=NOW + 30) == [first]
        (work,) = await ahead(scene, 7)
        assert (work.event.key, work.obligation.due_at, work.newer) == (news[3].event.key, NOW + 30, False)
        assert await scene.total() == {"owed": 4, "waiting": 1, "discarded:superseded": 3}
        record = await scene.record(Obligation(*first, Lane.LIVE, NOW, NOW))
        assert (record.state, record.reason, record.settled_at) == (State.DISCARDED, SUPERSEDED, NOW + 30)

    async def test_nothing_newer_supersedes_nothing(self, stores: Stores) -> None:
        """Neither does an older one that was opened again, nor what stands behind itself, nor what keeps no order."""
        scene = await stores.open()
        await keep(scene, 7, Order.LATEST)
        old, new = ordered(scene, 7, Order.LATEST), ordered(scene, 7, Order.LATEST)
        await scene.accept(old)
        await scene.store.work.discard(old.event.key, 7, reason="cancelled", now=NOW)
        await scene.accept(new)
        await scene.store.work.retry(old.event.key, 7, now=NOW)
        free = await scene.owe(8, ordering_key="a")
        (work,) = await ahead(scene, 7)
        assert (work.event.key, work.newer) == (new.event.key, False)
        places = [(new.event.key, 7), (old.event.key, 7), (free.event_key, 8), (free.event_key, 9)]
        assert await scene.store.work.supersede(places, now=NOW) == []
        assert await drain(scene, 7) == {"a": [new.event.key, old.event.key]}

    # -- operators --------------------------------------------------------------------------------

    async def test_what_is_opened_again_stands_behind(self, stores: Stores) -> None:
        """In event order among those that stand there."""
        scene = await stores.open()
        await keep(scene, 7, Order.FIFO)
        news = [ordered(scene, 7) for _ in range(4)]
        await scene.accept(*news)
        for _ in range(2):
            (work,) = await ahead(scene, 7)
            await scene.settle(work.obligation, State.EXHAUSTED)
        for new in news[1::-1]:
            again = await scene.store.work.retry(new.event.key, 7, now=NOW)
            assert again == Obligation(new.event.key, 7, Lane.BACKLOG, NOW, NOW, 0, 2, 1, "a")
        assert await drain(scene, 7) == {"a": [news[n].event.key for n in (2, 0, 1, 3)]}

    async def test_what_is_opened_again_alone_is_ahead(self, stores: Stores) -> None:
        """And without an order its key says nothing."""
        scene = await stores.open()
        await keep(scene, 7, Order.FIFO)
        await keep(scene, 8, Order.NONE)
        new = scene.values.new_event(7, 8, ordering_key="a", orders=(Order.FIFO, Order.NONE))
        await scene.accept(new)
        for endpoint_key, key in ((7, "a"), (8, None)):
            await scene.store.work.discard(new.event.key, endpoint_key, reason="cancelled", now=NOW)
            again = await scene.store.work.retry(new.event.key, endpoint_key, now=NOW)
            assert again is not None
            assert again.ordering_key == key
            assert [w.obligation for w in await ahead(scene, endpoint_key)] == [again]

    async def test_what_stands_behind_stays_there_when_it_is_hastened(self, stores: Stores) -> None:
        scene = await stores.open()
        first, second = ordered(scene, 7), ordered(scene, 7)
        await scene.accept(first, second)
        assert await scene.store.work.retry(second.event.key, 7, now=NOW + 5) is not None
        assert [w.event.key for w in await ahead(scene, 7)] == [first.event.key]

    async def test_a_discarded_one_lets_out_what_stands_behind(self, stores: Stores) -> None:
        """One that stands behind itself lets out nobody."""
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(4)]
        await scene.accept(*news)
        for gone, sent in ((1, 0), (0, 2), (2, 3)):
            assert await scene.store.work.discard(news[gone].event.key, 7, reason="cancelled", now=NOW + 9)
            (work,) = await ahead(scene, 7)
            assert work.event.key == news[sent].event.key
        assert (work.obligation.due_at, work.obligation.opened_at) == (NOW + 9, NOW + 9)

    async def test_an_endpoint_is_discarded_with_what_stands_behind(self, stores: Stores) -> None:
        """In steps, each of which leaves one ahead."""
        scene = await stores.open()
        await scene.accept(
            *(ordered(scene, 7, key=key) for _ in range(5) for key in ("a", "b")), scene.values.new_event(7)
        )
        counts = []
        while count := await scene.store.work.discard_endpoint(7, reason="endpoint_deleted", now=NOW, limit=3):
            counts.append(count)
            await check_order(scene, 7)
        assert counts == [3, 3, 3, 2]
        assert await scene.total() == {"owed": 11, "discarded:endpoint_deleted": 11}

    async def test_order_outlives_the_process(self, stores: Stores) -> None:
        scene = await stores.open()
        news = [ordered(scene, 7) for _ in range(3)]
        await scene.accept(*news)
        await scene.settle((await ahead(scene, 7))[0].obligation)
        scene = await stores.open()
        assert await drain(scene, 7) == {"a": [new.event.key for new in news[1:]]}


class TestReordering:
    """``reorder``: an endpoint keeps another order from now on."""

    async def test_open_deliveries_get_in_line(self, stores: Stores) -> None:
        """The oldest of each key first, with the due time and the lane that it had."""
        scene = await stores.open()
        owed = [await scene.owe(7, ordering_key=key, accepted_at=NOW - n) for n, key in enumerate("aabbb")]
        free = await scene.owe(7)
        await scene.settle(owed[0], State.RETRYING, due_at=NOW + 70)
        assert await reorder(scene, 7, Order.FIFO, limit=2) == 5
        first = replace(owed[0], lane=Lane.RETRY, due_at=NOW + 70, attempts=1, last_number=1, ordering_key="a")
        found = {w.obligation.event_key: w.obligation for w in await ahead(scene, 7)}
        assert found == {o.event_key: o for o in (first, replace(owed[2], ordering_key="b"), free)}
        assert await reorder(scene, 7, Order.LATEST, limit=2) == 0

    async def test_what_came_by_the_new_order_stands_behind_what_is_older(self, stores: Stores) -> None:
        scene = await stores.open()
        old = await scene.owe(7, ordering_key="a")
        new = ordered(scene, 7)
        await scene.accept(new)
        assert len(await ahead(scene, 7)) == 2
        assert await reorder(scene, 7, Order.FIFO) == 1
        assert await drain(scene, 7) == {"a": [old.event_key, new.event.key]}

    async def test_without_order_everything_is_due(self, stores: Stores) -> None:
        """In steps of any size; who was ahead keeps its own time."""
        scene = await stores.open()
        await scene.accept(*(ordered(scene, 7, key=key, accepted_at=NOW - 3) for _ in range(4) for key in ("a", "b")))
        assert await reorder(scene, 7, Order.NONE, limit=3, now=NOW + 1) == 8
        found = [w.obligation for w in await ahead(scene, 7)]
        assert {o.ordering_key for o in found} == {None}
        assert [(o.due_at, o.opened_at) for o in found] == [(NOW - 3, NOW - 3)] * 2 + [(NOW + 1, NOW + 1)] * 6
        assert await reorder(scene, 7, Order.NONE) == 0

    async def test_others_are_not_touched(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.owe(8, ordering_key="a")
        await scene.accept(ordered(scene, 9), ordered(scene, 9))
        assert await reorder(scene, 7, Order.FIFO) == 0
        assert await reorder(scene, 7, Order.NONE) == 0
        assert [len(await ahead(scene, endpoint_key)) for endpoint_key in (8, 9)] == [1, 1]

    async def test_an_interrupted_one_is_finished(self, stores: Stores) -> None:
        """Events without a key lie between, and another node's process starts anew."""
        scene = await stores.open()
        for n in range(10):
            await scene.owe(7, ordering_key="a" if n % 2 else None)
        assert await scene.store.work.reorder(7, Order.FIFO, now=NOW, limit=2) == 2
        scene = await stores.open()
        assert await reorder(scene, 7, Order.FIFO, limit=2) == 3
        assert [len(keys) for keys in (await drain(scene, 7)).values()] == [5]

    async def test_what_moves_meanwhile_is_found(self, stores: Stores) -> None:
        """Also if it moves to where the steps have been."""
        scene = await stores.open()
        owed = [await scene.owe(7, ordering_key="a", accepted_at=NOW + n) for n in range(6)]
        assert await scene.store.work.reorder(7, Order.FIFO, now=NOW, limit=4) == 4
        await scene.store.work.retry(owed[5].event_key, 7, now=NOW - 99)
        assert await reorder(scene, 7, Order.FIFO, limit=4) == 2
        assert await drain(scene, 7) == {"a": [o.event_key for o in owed]}

    @pytest.mark.parametrize("order", [Order.FIFO, Order.NONE])
    async def test_on_its_way_meanwhile(self, stores: Stores, order: Order) -> None:
        """Outcomes of what was sent by the former order are taken, and leave one ahead of the rest."""
        scene = await stores.open()
        before = Order.NONE if order is Order.FIFO else Order.FIFO
        await scene.accept(*(ordered(scene, 7, before) for _ in range(6)))
        on_their_way = [w.obligation for w in await ahead(scene, 7)][:3]
        await reorder(scene, 7, order)
        for owed in reversed(on_their_way):
            assert await scene.settle(owed) == Settled()
            await check_order(scene, 7)
        await drain(scene, 7)
        assert await scene.total() == {"owed": 6, "delivered": 6}


def ordered(scene: Scene, endpoint_key: int, order: Order = Order.FIFO, *, key: str = "a", **fields: Any) -> NewEvent:
    """An event with an ordering key, owed to one endpoint that keeps order."""
    return scene.values.new_event(endpoint_key, ordering_key=key, orders=(order,), **fields)


async def keep(scene: Scene, endpoint_key: int, order: Order) -> None:
    """The catalogue says that this endpoint keeps this order."""
    endpoint = replace(scene.values.endpoint(rules=Rules(order=order)), key=endpoint_key)
    stored = await scene.store.catalogue.endpoint(endpoint_key)
    await scene.store.catalogue.put_endpoint(endpoint, seen=0 if stored is None else stored.revision)


async def reorder(scene: Scene, endpoint_key: int, order: Order, *, now: int = NOW, limit: int = STEP) -> int:
    """Bring an endpoint in line; how many deliveries changed. After each step one is ahead of each key."""
    changed = 0
    while part := await scene.store.work.reorder(endpoint_key, order, now=now, limit=limit):
        assert part <= limit
        changed += part
        await check_order(scene, endpoint_key)
    return changed


def reason_of(state: State) -> str | None:
    """A reason where one is wanted."""
    return None if state is State.DELIVERED else "because"
