"""Bulk jobs among traffic, in random order, with the store opened again now and then: the books always balance."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind, JobMode
from posthouse.core.model import Lane, Obligation
from posthouse.core.rules import Order
from posthouse.store.open import open_store
from posthouse.store.protocol import NewEvent
from posthouse.testing.conformance import Stores
from posthouse.testing.conformance.jobs import begin, finish, finish_work
from posthouse.testing.conformance.values import NOW
from posthouse.testing.manual_clock import ManualClock

ENDPOINTS = (3, 4)
#: The second endpoint keeps order.
ORDERS = {3: Order.NONE, 4: Order.FIFO}

number = st.integers(0, 50)
filters = st.fixed_dictionaries(
    {},
    optional={
        "endpoint_key": st.sampled_from(ENDPOINTS),
        "types": st.sampled_from([("a",), ("a", "b")]),
        "ordering_key": st.sampled_from("xy"),
        "older_than": st.integers(NOW - 5, NOW + 5),
    },
)
step = st.one_of(
    st.tuples(
        st.just("accept"),
        st.lists(st.sampled_from(ENDPOINTS), max_size=2, unique=True),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from("ab"),
        st.integers(-3, 3),
    ),
    st.tuples(
        st.just("settle"), number, st.sampled_from([State.DELIVERED, State.RETRYING, State.EXHAUSTED]), st.booleans()
    ),
    st.tuples(st.just("retry"), number),
    st.tuples(st.just("discard"), number),
    st.tuples(st.just("begin"), st.sampled_from(JobKind), filters, st.sampled_from(JobMode), st.booleans()),
    st.tuples(st.just("count"), number, st.integers(1, 4)),
    st.tuples(st.just("work"), number, st.integers(1, 4)),
    st.tuples(st.just("reopen")),
)


class Run:
    """One history."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.scene: Any = None
        self.owed: list[tuple[int, int]] = []
        self.jobs: list[int] = []
        self.due = NOW + 100

    async def start(self) -> None:
        self.scene = await self.stores.open()
        for key in ENDPOINTS:
            endpoint = self.scene.values.endpoint()
            rules = type(endpoint.rules)(order=ORDERS[key])
            fields = {name: getattr(endpoint, name) for name in endpoint.__struct_fields__}
            await self.scene.store.catalogue.put_endpoint(type(endpoint)(**{**fields, "key": key, "rules": rules}))

    async def accept(self, owed: list[int], key: str | None, event_type: str, at: int) -> None:
        event = self.scene.values.event(ordering_key=key, type=event_type, accepted_at=NOW + at)
        orders = () if key is None else tuple(ORDERS[endpoint_key] for endpoint_key in owed)
        await self.scene.accept(NewEvent(event, tuple(owed), Lane.LIVE, orders=orders))
        self.owed += [(event.key, endpoint_key) for endpoint_key in owed]

    async def settle(self, which: int, state: State, late: bool) -> None:
        """Settle what stands at the head of some queue; ``late``: as it was before somebody changed it."""
        heads: list[Obligation] = []
        for endpoint_key in ENDPOINTS:
            for lane in (Lane.LIVE, Lane.RETRY, Lane.BACKLOG):
                heads += [work.obligation for work in (await self.scene.queue(endpoint_key, lane, now=self.due)).work]
        if heads:
            head = heads[which % len(heads)]
            if late:
                await self.scene.store.work.retry(head.event_key, head.endpoint_key, now=NOW + 9)
            await self.scene.settle(head, state, lane=Lane.RETRY)

    async def retry(self, which: int) -> None:
        if self.owed:
            await self.scene.store.work.retry(*self.owed[which % len(self.owed)], now=NOW)

    async def discard(self, which: int) -> None:
        if self.owed:
            place = self.owed[which % len(self.owed)]
            await self.scene.store.work.discard(*place, reason="cancelled", now=NOW)

    async def begin(self, kind: JobKind, wanted: dict[str, Any], mode: JobMode, dry_run: bool) -> None:
        reopens = kind in (JobKind.RETRY, JobKind.REPLAY)
        job = await begin(self.scene, kind, mode=mode if reopens else JobMode.ALL, dry_run=dry_run, **wanted)
        self.jobs.append(job.key)

    async def count(self, which: int, limit: int) -> None:
        if self.jobs:
            await self.scene.store.jobs.count(self.jobs[which % len(self.jobs)], limit=limit)

    async def work(self, which: int, limit: int) -> None:
        if self.jobs:
            await self.scene.store.jobs.work(self.jobs[which % len(self.jobs)], limit=limit, now=NOW + 1)

    async def reopen(self) -> None:
        self.scene = await self.stores.open()

    async def finish(self) -> None:
        """Every job ends, whatever it was in the middle of; then a quiet store counts exactly."""
        for key in self.jobs:
            job = await self.scene.store.jobs.job(key)
            steps = await (finish(self.scene, job) if job.total is None else finish_work(self.scene, job))
            ended = steps[-1].job
            assert ended.total == ended.done + ended.skipped >= ended.counted
        for kind in JobKind:
            dry = (await finish(self.scene, await begin(self.scene, kind, dry_run=True), limit=2))[-1].job
            wet = (await finish(self.scene, await begin(self.scene, kind), limit=3))[-1].job
            assert (wet.total, wet.done, wet.skipped) == (dry.total, dry.done, dry.skipped)
            assert wet.total == wet.done + wet.skipped
            await self.check()

    async def check(self) -> None:
        """What was owed is accounted for."""
        assert (await self.scene.total())["owed"] == len(self.owed)


async def play(steps: list[tuple[Any, ...]], directory: Path) -> None:
    stores = Stores(lambda: open_store(directory, clock=ManualClock(), commit_interval_ms=0))
    run = Run(stores)
    try:
        await run.start()
        for name, *arguments in steps:
            await getattr(run, name)(*arguments)
            await run.check()
        await run.finish()
    finally:
        await stores.close()


@settings(max_examples=50)
@given(st.lists(step, max_size=30))
def test_jobs_and_traffic_keep_the_books_balanced(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(steps, Path(directory)))
