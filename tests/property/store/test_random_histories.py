"""Whatever happens to deliveries, the embedded store and the model answer the same."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.delivery import State
from posthouse.core.model import Environment, Lane, Obligation
from posthouse.store.open import open_store
from posthouse.store.protocol import DeliveryQuery, Settled, Settlement
from posthouse.testing.conformance import Scene, Stores
from posthouse.testing.conformance.model import Model
from posthouse.testing.conformance.scene import columns
from posthouse.testing.conformance.values import NOW, attempt
from posthouse.testing.manual_clock import ManualClock

ENDPOINTS = (3, 5, 8)

#: Steps name deliveries by a number that is taken modulo how many there are.
any_delivery = st.integers(0, 10)
outcome = st.sampled_from([State.DELIVERED, State.RETRYING, State.EXHAUSTED])
step = st.one_of(
    st.tuples(
        st.just("accept"),
        st.lists(st.sampled_from(ENDPOINTS), unique=True).map(tuple),
        st.sampled_from(list(Lane)),
        st.integers(-20, 20),
    ),
    st.tuples(
        st.just("settle"),
        st.lists(st.tuples(any_delivery, outcome, st.integers(-20, 20), st.booleans()), max_size=5),
    ),
    st.tuples(st.just("retry"), any_delivery, st.integers(-20, 20)),
    st.tuples(st.just("discard"), any_delivery, st.sampled_from(["cancelled", "superseded"])),
    st.tuples(st.just("discard_endpoint"), st.sampled_from(ENDPOINTS), st.integers(1, 3)),
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

    async def accept(self, owed: tuple[int, ...], lane: Lane, at: int) -> None:
        new = self.scene.values.new_event(*owed, lane=lane, accepted_at=NOW + at)
        assert isinstance(await self.scene.accept(new, version=0), tuple)
        self.model.accept(new)
        self.look()

    async def settle(self, items: list[tuple[int, State, int, bool]]) -> None:
        """Some outcomes are of obligations that changed since."""
        settlements: list[Settlement] = []
        superseded: list[int] = []
        for which, state, due_at, late in items:
            source = self.seen if late else list(self.model.open())
            if not source:
                continue
            owed = source[which % len(source)]
            self.started += 1
            made = attempt(owed.last_number + 1, started_at=self.started)
            settlement = self.scene.outcome(owed, state, attempt_=made, due_at=NOW + due_at)
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
            expected = self.model.discard(event_key, endpoint_key, reason=reason)
            assert await self.scene.store.work.discard(event_key, endpoint_key, reason=reason, now=NOW) == expected

    async def discard_endpoint(self, endpoint_key: int, limit: int) -> None:
        expected = self.model.discard_endpoint(endpoint_key, reason="endpoint_deleted", limit=limit)
        assert expected == await self.scene.store.work.discard_endpoint(
            endpoint_key, reason="endpoint_deleted", now=NOW, limit=limit
        )

    async def reopen(self) -> None:
        self.scene = await self.stores.open()

    def which(self, number: int) -> tuple[int, int]:
        return list(self.model.deliveries)[number % len(self.model.deliveries)]

    def look(self) -> None:
        self.seen = (self.seen + self.model.open())[-20:]

    async def compare(self) -> None:
        """Queues, books, lists and attempts."""
        store, model = self.scene.store, self.model
        survey = {(b.endpoint_key, b.lane): (b.next_due_at, b.event_key) for b in await store.work.survey()}
        assert survey == model.survey()
        for endpoint_key in ENDPOINTS:
            for lane in Lane:
                refill = await self.scene.queue(endpoint_key, lane)
                assert [w.obligation for w in refill.work] == model.queue(endpoint_key, lane, now=NOW)
        books = {b.endpoint_key: columns(b) for b in await store.ledger.audit(Environment.LIVE)}
        assert books == model.books()
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
        await run.compare()
    finally:
        await stores.close()


@settings(max_examples=120)
@given(st.lists(step, max_size=25))
def test_the_store_and_the_model_answer_the_same(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(steps, Path(directory)))
