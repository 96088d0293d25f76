"""What is old goes, what is owed stays, and the books are as they were."""

from typing import Any

import pytest

from posthouse.core.delivery import State
from posthouse.core.inbound import WHOLE, InboundRequest, Objection, Resolution
from posthouse.core.jobs import JobKind
from posthouse.core.model import Environment, Obligation
from posthouse.store.protocol import Doubt, PassedOn, ReadEvent, ReadRequest, Remembered
from posthouse.testing.conformance.jobs import begin, finish
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import DAY_MS, NOW, item

KEEP_MS = 30 * DAY_MS
OLD = NOW - 40 * DAY_MS
STEPS_MAX = 1_000


async def retain(scene: Scene, *, now: int = NOW, limit: int = 3) -> None:
    """Drop what is old, until nothing more is to do."""
    for _ in range(STEPS_MAX):
        if not await scene.store.admin.retain(now=now, keep_ms=KEEP_MS, limit=limit):
            return
    raise AssertionError("it never ends")


async def old(scene: Scene, state: State = State.DELIVERED, *, at: int = OLD, endpoint_key: int = 7) -> Obligation:
    """A delivery of an old event in this state."""
    owed = await scene.owe(endpoint_key, accepted_at=at)
    if state is State.DISCARDED:
        await scene.store.work.discard(owed.event_key, endpoint_key, reason="cancelled", now=at)
    elif state is not State.WAITING:
        await scene.settle(owed, state)
    return owed


def found(scene: Scene, name: str, *owed: int, **fields: Any) -> ReadEvent:
    """An event of an old request."""
    return scene.values.read_event(name, *owed, accepted_at=OLD, **fields)


async def passed_on(scene: Scene, request: InboundRequest, *events: ReadEvent, **fields: Any) -> None:
    """Pass an old request on, as was done when it came."""
    reading = ReadRequest(
        item=item(request),
        environment=Environment.LIVE,
        tenant="acme",
        catalogue_version=0,
        events=events,
        incident_keys=(scene.values.key(OLD),),
        **fields,
    )
    (result,) = await scene.pass_on(reading, now=OLD)
    assert isinstance(result, PassedOn)


async def opened(stores: Stores, place: str) -> Scene:
    """A store; where large tables are divided into days, what is old lies in a day of its own or in the rest."""
    scene = await stores.open()
    if place == "in its day":
        await scene.store.admin.make_room(now=OLD)
    return scene


@pytest.mark.parametrize("place", ["in its day", "in the rest"])
class TestRetention:
    """``retain`` and ``retained_from``."""

    async def test_what_is_settled_goes(self, stores: Stores, place: str) -> None:
        """With all that belongs to it; what is younger stays."""
        scene = await opened(stores, place)
        owed = [await old(scene, State.DELIVERED) for _ in range(8)]
        young = await old(scene, State.DELIVERED, at=NOW)
        await retain(scene)
        assert await scene.events() == [young.event_key]
        assert await scene.deliveries() == [(young.event_key, 7)]
        assert await scene.attempts(owed[0]) == []
        assert await scene.store.ledger.delivery(owed[0].event_key, 7) is None
        assert await scene.store.work.retry(owed[0].event_key, 7, now=NOW) is None
        assert not await scene.store.work.discard(owed[0].event_key, 7, reason="late", now=NOW)

    async def test_the_books_keep_what_is_gone(self, stores: Stores, place: str) -> None:
        """Each state, each reason, also of what was opened again."""
        scene = await opened(stores, place)
        for state in (State.DELIVERED, State.DELIVERED, State.EXHAUSTED, State.DISCARDED, State.WAITING):
            await old(scene, state)
        owed = await old(scene, State.EXHAUSTED, endpoint_key=8)
        again = await scene.store.work.retry(owed.event_key, 8, now=OLD + 1)
        assert again is not None
        await scene.settle(again)
        await scene.accept(scene.values.new_event(accepted_at=OLD))  # owed to nobody
        before = await scene.store.ledger.audit(Environment.LIVE)
        await retain(scene)
        assert len(await scene.events()) == 1
        assert await scene.store.ledger.audit(Environment.LIVE) == before
        assert await scene.total() == {
            "owed": 6,
            "delivered": 3,
            "exhausted": 1,
            "discarded:cancelled": 1,
            "waiting": 1,
        }
        scene = await stores.open()
        assert await scene.store.ledger.audit(Environment.LIVE) == before

    async def test_what_is_owed_stays(self, stores: Stores, place: str) -> None:
        """With its attempts and the rounds of its other deliveries; it goes once it is settled."""
        scene = await opened(stores, place)
        new = scene.values.new_event(7, 8, accepted_at=OLD)
        await scene.accept(new)
        ours, other = (Obligation(new.event.key, key, new.lane, OLD, OLD) for key in (7, 8))
        await scene.settle(ours, State.RETRYING)
        await scene.settle(other, State.DELIVERED)
        gone = await old(scene, State.DELIVERED)
        before = await scene.store.ledger.audit(Environment.LIVE)
        records = [await scene.record(ours), await scene.record(other)]
        await retain(scene)
        assert await scene.events() == [new.event.key]
        assert [await scene.record(ours), await scene.record(other)] == records
        assert [len(await scene.attempts(each)) for each in (ours, other, gone)] == [1, 1, 0]
        assert await scene.deliveries() == [(new.event.key, 8), (new.event.key, 7)]
        assert await scene.store.ledger.audit(Environment.LIVE) == before
        (work,) = (await scene.queue(7, records[0].lane, now=NOW + 5_000)).work
        assert work.event.data == new.event.data
        await scene.settle(work.obligation)
        assert await scene.events() == [new.event.key]
        await retain(scene, now=NOW + DAY_MS)
        assert await scene.events() == []
        assert await scene.total() == {"owed": 3, "delivered": 3}

    async def test_whole_days_go(self, stores: Stores, place: str) -> None:
        """What is younger than it must be kept stays, and so does all of its day."""
        scene = await opened(stores, place)
        edge = (NOW - KEEP_MS) // DAY_MS * DAY_MS
        await old(scene, at=edge - 1)
        stays = await old(scene, at=edge)
        await retain(scene)
        assert await scene.events() == [stays.event_key]
        assert await scene.store.admin.retained_from() == edge

    async def test_what_may_be_gone_is_said_first(self, stores: Stores, place: str) -> None:
        """And never taken back."""
        scene = await opened(stores, place)
        assert await scene.store.admin.retained_from() == 0
        owed = await old(scene)
        assert await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=100)
        assert await scene.store.admin.retained_from() == (NOW - KEEP_MS) // DAY_MS * DAY_MS
        assert await scene.events() == [owed.event_key]
        await retain(scene)
        assert await scene.store.admin.retained_from() == (NOW - KEEP_MS) // DAY_MS * DAY_MS
        assert (
            not await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS + 5 * DAY_MS, limit=100) or await scene.total()
        )
        await retain(scene, now=NOW - DAY_MS)
        assert await scene.store.admin.retained_from() == (NOW - KEEP_MS) // DAY_MS * DAY_MS

    async def test_no_key_is_made_twice(self, stores: Stores, place: str) -> None:
        """Also if nothing is left that has it, and the clock was set back."""
        scene = await opened(stores, place)
        owed = await old(scene)
        await retain(scene)
        assert await scene.events() == []
        assert await scene.store.admin.key_floor() >= owed.event_key

    @pytest.mark.parametrize("kind", [JobKind.RETRY, JobKind.REPLAY])
    async def test_what_an_unfinished_job_may_open_stays(self, stores: Stores, place: str, kind: JobKind) -> None:
        scene = await opened(stores, place)
        first = await old(scene, State.EXHAUSTED, at=OLD - 5 * DAY_MS)
        second = await old(scene, State.EXHAUSTED)
        newest = scene.values.key()
        job = await begin(scene, kind, newest=newest, since=OLD - DAY_MS)
        await retain(scene)
        assert await scene.events() == [second.event_key], "it lies before all that the job looks at"
        assert first.event_key < second.event_key
        steps = await finish(scene, job)
        assert steps[-1].job.done == 1
        assert await scene.total() == {"owed": 2, "exhausted": 1, "waiting": 1}

    async def test_a_repeat_is_recognised_as_long_as_its_event_is_kept(self, stores: Stores, place: str) -> None:
        scene = await opened(stores, place)
        kept = scene.values.new_event(7, identities=(("id", "kept"),), fingerprint=b"same", id="kept", accepted_at=OLD)
        await scene.accept(kept)
        await scene.accept(scene.values.named("gone", accepted_at=OLD))
        endpoint = scene.values.endpoint()
        await scene.store.catalogue.put_endpoint(
            endpoint, remember=Remembered(Environment.LIVE, "k", b"f", scene.values.key(OLD))
        )
        await retain(scene)
        again = await scene.accept(scene.values.named("kept"), scene.values.named("gone"))
        assert isinstance(again, tuple)
        assert [accepted.duplicate for accepted in again] == [True, False]
        assert again[0].key == kept.event.key

    async def test_lists_find_what_is_left(self, stores: Stores, place: str) -> None:
        """By tenant, by endpoint: where to look for it is known still."""
        scene = await opened(stores, place)
        await old(scene)
        new = scene.values.new_event(7, 8, accepted_at=OLD)
        await scene.accept(new)
        await scene.settle(Obligation(new.event.key, 8, new.lane, OLD, OLD), State.DELIVERED)
        await retain(scene)
        assert await scene.events(tenant="acme") == [new.event.key]
        assert await scene.deliveries(endpoint_key=8) == [(new.event.key, 8)]
        assert await scene.deliveries(tenant="acme", state=State.DELIVERED) == [(new.event.key, 8)]

    async def test_lists_find_what_is_left_at_the_end_of_a_day(self, stores: Stores, place: str) -> None:
        """Where the day behind it is gone too."""
        scene = await opened(stores, place)
        midnight = OLD // DAY_MS * DAY_MS
        if place == "in its day":
            await scene.store.admin.make_room(now=midnight - 1)
        last = await old(scene, State.WAITING, at=midnight - 1)
        await old(scene, at=midnight)
        await retain(scene)
        assert await scene.events(tenant="acme") == [last.event_key]
        assert await scene.events() == [last.event_key]

    async def test_requests_go_once_their_events_are_gone(self, stores: Stores, place: str) -> None:
        """The books of their source stay as they were."""
        scene = await opened(stores, place)
        read, done, waiting, doubted, given_up = [await scene.take(received_at=OLD) for _ in range(5)]
        refused = await scene.take(objection=Objection.BAD_SIGNATURE, received_at=OLD)
        await passed_on(scene, read, found(scene, "a"), found(scene, "b", 7, position=1))
        await passed_on(scene, done, found(scene, "c"), found(scene, "a", position=1))
        await passed_on(scene, doubted, found(scene, "d"), doubts=(Doubt(1, Objection.UNREADABLE, "It cannot be."),))
        await passed_on(scene, given_up, doubts=(Doubt(0, Objection.UNREADABLE, "It cannot be."),))
        await scene.store.inbound.resolve([(given_up.key, 0), (refused.key, WHOLE)], Resolution.DISCARDED, now=OLD)
        young = await scene.take()
        before = await scene.source_books()
        await retain(scene)
        assert await scene.requests() == [young.key, doubted.key, waiting.key, read.key]
        assert await scene.quarantine(resolved=True) == []
        assert await scene.source_books() == before
        assert len(await scene.events()) == 1
        (open_,) = (await scene.queue(7)).work
        await scene.settle(open_.obligation)
        await retain(scene, now=NOW + DAY_MS)
        assert await scene.requests() == [young.key, doubted.key, waiting.key]
        assert await scene.source_books() == before
        assert [entry.request_key for entry in await scene.quarantine()] == [doubted.key]
        assert [left.request.key for left in (await scene.inbox()).items] == [waiting.key, young.key]

    async def test_nothing_old_is_nothing_to_do(self, stores: Stores, place: str) -> None:
        scene = await opened(stores, place)
        owed = await old(scene, at=NOW)
        await retain(scene)
        assert not await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=100)
        assert await scene.events() == [owed.event_key]
