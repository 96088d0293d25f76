"""Whatever happens to deliveries, the embedded store and the model answer the same."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Environment, Lane, Obligation
from posthouse.core.rules import Order, Rules
from posthouse.store.open import open_store
from posthouse.store.protocol import DeliveryQuery, NewEvent, Settled, Settlement
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.model import Model
from posthouse.testing.conformance.ordering import check_order, drain
from posthouse.testing.conformance.scene import columns
from posthouse.testing.conformance.values import NOW, attempt
from posthouse.testing.manual_clock import ManualClock

ENDPOINTS = (3, 5, 8)

#: Steps name deliveries by a number that is taken modulo how many there are.
any_delivery = st.integers(0, 10)
endpoint = st.sampled_from(ENDPOINTS)
order = st.sampled_from(list(Order))
event = st.tuples(
    st.lists(endpoint, unique=True).map(tuple),
    st.sampled_from(list(Lane)),
    st.integers(-20, 20),
    st.sampled_from([None, "a", "a", "b"]),  # its ordering key
)
#: A state, whether a request was made, and whether it spent an attempt.
outcome = st.one_of(
    st.tuples(st.sampled_from([State.DELIVERED, State.RETRYING, State.EXHAUSTED]), st.just(True), st.just(True)),
    st.tuples(st.sampled_from([State.DISCARDED, State.EXHAUSTED]), st.booleans(), st.just(True)),
    st.tuples(st.just(State.RETRYING), st.just(True), st.just(False)),
)
step = st.one_of(
    st.tuples(st.just("accept"), st.lists(event, min_size=1, max_size=4)),
    st.tuples(
        st.just("settle"),
        st.lists(st.tuples(any_delivery, outcome, st.integers(-20, 20), st.booleans()), max_size=5),
    ),
    st.tuples(st.just("retry"), any_delivery, st.integers(-20, 20)),
    st.tuples(st.just("discard"), any_delivery, st.sampled_from(["cancelled", "superseded"])),
    st.tuples(st.just("discard_endpoint"), endpoint, st.integers(1, 3)),
    st.tuples(st.just("supersede"), st.lists(any_delivery, max_size=3), st.integers(-20, 20)),
    st.tuples(st.just("keep"), endpoint, order),
    st.tuples(st.just("reorder"), endpoint, st.integers(1, 3), st.integers(-20, 20)),
    st.just(("reopen",)),
)


class Run:
    """Plays steps to both."""

    def __init__(self, stores: Stores, scene: Scene) -> None:
        self.stores = stores
        self.scene = scene
        self.model = Model()
        self.seen: list[Obligation] = []  # obligations as they were at some time; some are out of date
        self.started = NOW

    async def accept(self, items: list[tuple[tuple[int, ...], Lane, int, str | None]]) -> None:
        """One request; each event is owed in the order that the endpoints keep at this time."""
        news: list[NewEvent] = []
        for owed, lane, at, ordering_key in items:
            orders = tuple(self.model.orders.get(endpoint_key, Order.NONE) for endpoint_key in owed)
            fields: dict[str, Any] = {
                "lane": lane,
                "accepted_at": NOW + at,
                "ordering_key": ordering_key,
                "orders": orders,
            }
            news.append(self.scene.values.new_event(*owed, **fields))
        assert isinstance(await self.scene.accept(*news), tuple)
        for new in news:
            self.model.accept(new)
        self.look()

    async def settle(self, items: list[tuple[int, tuple[State, bool, bool], int, bool]]) -> None:
        """Some outcomes are of obligations that changed since."""
        settlements: list[Settlement] = []
        superseded: list[int] = []
        for which, (state, made, spent), at, late in items:
            source = self.seen if late else list(self.model.open())
            if not source:
                continue
            owed = source[which % len(source)]
            self.started += 1
            settlement = replace(
                self.scene.outcome(owed, state, due_at=NOW + at, settled_at=NOW - at, reason="because", spent=spent),
                attempt=attempt(owed.last_number + 1, started_at=self.started) if made else None,
                reason=None if state is State.DELIVERED else "because",
            )
            if not self.model.settle(settlement):
                superseded.append(len(settlements))
            settlements.append(settlement)
        assert await self.scene.store.work.settle(settlements) == Settled(superseded=tuple(superseded))
        self.look()

    async def retry(self, which: int, now: int) -> None:
        if self.model.deliveries:
            event_key, endpoint_key = self.which(which)
            expected = self.model.retry(event_key, endpoint_key, now=NOW + now)
            assert await self.scene.store.work.retry(event_key, endpoint_key, now=NOW + now) == expected
            self.look()

    async def discard(self, which: int, reason: str) -> None:
        if self.model.deliveries:
            event_key, endpoint_key = self.which(which)
            expected = self.model.discard(event_key, endpoint_key, reason=reason, now=NOW)
            assert await self.scene.store.work.discard(event_key, endpoint_key, reason=reason, now=NOW) == expected

    async def discard_endpoint(self, endpoint_key: int, limit: int) -> None:
        expected = self.model.discard_endpoint(endpoint_key, reason="endpoint_deleted", now=NOW, limit=limit)
        assert expected == await self.scene.store.work.discard_endpoint(
            endpoint_key, reason="endpoint_deleted", now=NOW, limit=limit
        )

    async def supersede(self, which: list[int], now: int) -> None:
        if self.model.deliveries:
            places = [self.which(number) for number in which]
            expected = self.model.supersede(places, now=NOW + now)
            assert await self.scene.store.work.supersede(places, now=NOW + now) == expected

    async def keep(self, endpoint_key: int, order: Order) -> None:
        """The catalogue says another order; what is open is not brought in line yet."""
        self.model.orders[endpoint_key] = order
        endpoint = replace(self.scene.values.endpoint(rules=Rules(order=order)), key=endpoint_key)
        stored = await self.scene.store.catalogue.endpoint(endpoint_key)
        await self.scene.store.catalogue.put_endpoint(endpoint, seen=0 if stored is None else stored.revision)

    async def reorder(self, endpoint_key: int, limit: int, now: int) -> None:
        """In steps, each of which leaves one ahead of each key."""
        order = self.model.orders.get(endpoint_key, Order.NONE)
        changed = 0
        while part := await self.scene.store.work.reorder(endpoint_key, order, now=NOW + now, limit=limit):
            assert part <= limit
            changed += part
            await check_order(self.scene, endpoint_key)
        assert changed == self.model.reorder(endpoint_key, order, now=NOW + now)

    async def reopen(self) -> None:
        self.scene = await self.stores.open()

    def which(self, number: int) -> tuple[int, int]:
        return list(self.model.deliveries)[number % len(self.model.deliveries)]

    def look(self) -> None:
        self.seen = (self.seen + self.model.open())[-20:]

    async def compare(self) -> None:
        """Queues, books, lists and attempts."""
        store, model = self.scene.store, self.model
        survey = {(b.endpoint_key, b.lane): (b.next_due_at, b.event_key) for b in await self.scene.survey()}
        assert survey == model.survey()
        for endpoint_key in ENDPOINTS:
            for lane in Lane:
                work = (await self.scene.queue(endpoint_key, lane)).work
                assert [w.obligation for w in work] == model.queue(endpoint_key, lane, now=NOW)
                assert [w.newer for w in work] == [model.newer(w.obligation) for w in work]
        books = {b.endpoint_key: columns(b) for b in await store.ledger.audit(Environment.LIVE)}
        assert {key: column for key, column in books.items() if column} == model.books()
        assert await self.scene.events() == sorted(model.events, reverse=True)
        for state in (None, *State):
            records = await store.ledger.deliveries(DeliveryQuery(environment=Environment.LIVE, state=state, limit=500))
            shown = {(r.event_key, r.endpoint_key): (r.state, r.reason, r.round, r.attempts) for r in records}
            assert shown == {
                place: (model.state_of(d), d.reason, d.obligation.round, len(d.numbers))
                for place, d in model.deliveries.items()
                if state in (None, model.state_of(d))
            }
        for (event_key, endpoint_key), delivery in model.deliveries.items():
            numbers = [a.number for a in await store.ledger.attempts(event_key, endpoint_key)]
            assert numbers == sorted(delivery.numbers)


async def play(steps: list[tuple[Any, ...]], directory: Path) -> None:
    stores = Stores(lambda: open_store(directory, clock=ManualClock(), commit_interval_ms=0))
    run = Run(stores, await stores.open())
    try:
        for name, *arguments in steps:
            await getattr(run, name)(*arguments)
            for endpoint_key in ENDPOINTS:
                await check_order(run.scene, endpoint_key)
        await run.compare()
        for endpoint_key in ENDPOINTS:
            for sent in (await drain(run.scene, endpoint_key)).values():
                assert sent[1:] == sorted(sent[1:]), "the oldest of those that stand behind is let out first"
    finally:
        await stores.close()


@settings(max_examples=80)
@given(st.lists(step, max_size=25))
def test_the_store_and_the_model_answer_the_same(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(steps, Path(directory)))
