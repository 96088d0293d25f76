"""Making outcomes durable."""

from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Attempt, Lane, slot_of
from posthouse.store.protocol import Settled
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, attempt
from posthouse.testing.seizing import seize


class TestSettling:
    """``settle``: what it writes, and what it refuses."""

    async def test_delivered(self, stores: Stores) -> None:
        """It is no longer open, and every fact of the attempt is kept."""
        scene = await stores.open()
        owed = await scene.owe(7)
        made = Attempt(
            number=1,
            started_at=NOW + 3,
            outcome="success",
            status=204,
            error=None,
            peer="203.0.113.7:443",
            dns_us=1,
            connect_us=2,
            tls_us=3,
            first_byte_us=4,
            total_us=5,
            reused=True,
            response_headers="a: b\r\n",
            response_body=b"\x00\xff" * 2_048,
        )
        assert await scene.settle(owed, attempt_=made) == Settled()
        assert await scene.survey() == []
        assert await scene.attempts(owed) == [made]
        record = await scene.record(owed)
        assert (record.state, record.settled_at, record.due_at) == (State.DELIVERED, NOW + 10, None)
        assert (record.last_outcome, record.last_status, record.attempts) == ("success", 204, 1)
        assert await scene.total() == {"owed": 1, "delivered": 1}

    async def test_retrying(self, stores: Stores) -> None:
        """It moves to the lane and time of its next attempt, and keeps the start of its span."""
        scene = await stores.open()
        owed = await scene.owe(7)
        assert await scene.settle(owed, State.RETRYING, due_at=NOW + 50, lane=Lane.RETRY) == Settled()
        assert (await scene.queue(7, now=NOW + 99)).work == ()
        (work,) = (await scene.queue(7, Lane.RETRY, now=NOW + 50)).work
        moved = replace(owed, lane=Lane.RETRY, due_at=NOW + 50, attempts=1, last_number=1)
        assert work.obligation == moved
        assert await scene.settle(moved, State.RETRYING, due_at=NOW + 90, lane=Lane.BACKLOG) == Settled()
        (work,) = (await scene.queue(7, Lane.BACKLOG, now=NOW + 90)).work
        assert work.obligation == replace(moved, lane=Lane.BACKLOG, due_at=NOW + 90, attempts=2, last_number=2)
        assert [a.number for a in await scene.attempts(owed)] == [1, 2]
        assert await scene.total() == {"owed": 1, "retrying": 1}

    async def test_exhausted(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        assert await scene.settle(owed, State.EXHAUSTED, reason="span_spent") == Settled()
        record = await scene.record(owed)
        assert (record.state, record.reason, record.last_status) == (State.EXHAUSTED, "span_spent", 500)
        assert await scene.total() == {"owed": 1, "exhausted": 1}

    async def test_nothing_to_settle(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.work.settle([]) == Settled()

    async def test_many_of_every_kind(self, stores: Stores) -> None:
        """More than an engine writes at once; two outcomes of one delivery in their order."""
        scene = await stores.open()
        news = [scene.values.new_event(7, 8, 9) for _ in range(200)]
        await scene.accept(*news)
        batch = [scene.outcome(work.obligation) for work in (await scene.queue(7, limit=200)).work]
        exhausted = (await scene.queue(8, limit=200)).work
        batch += [scene.outcome(work.obligation, State.EXHAUSTED) for work in exhausted]
        for work in (await scene.queue(9, limit=200)).work:
            batch.append(scene.outcome(work.obligation, State.RETRYING))
            batch.append(scene.outcome(replace(work.obligation, attempts=1, last_number=1)))
        assert await scene.store.work.settle(batch) == Settled()
        assert await scene.total() == {"owed": 600, "delivered": 400, "exhausted": 200}

    # -- without a request, or without spending an attempt ------------------------------------------

    async def test_a_rule_settles_without_an_attempt(self, stores: Stores) -> None:
        """No attempt is told that did not take place, and those before it stay."""
        scene = await stores.open()
        for state, column in ((State.EXHAUSTED, "exhausted"), (State.DISCARDED, "discarded:filtered")):
            first, again = await scene.owe(7), await scene.owe(7)
            await scene.settle(again, State.RETRYING)
            again = replace(again, attempts=1, last_number=1)
            outcomes = [replace(scene.outcome(o, state, reason="filtered"), attempt=None) for o in (first, again)]
            assert await scene.store.work.settle(outcomes) == Settled()
            assert await scene.store.work.settle(outcomes) == Settled(superseded=(0, 1))
            assert [len(await scene.attempts(owed)) for owed in (first, again)] == [0, 1]
            record = await scene.record(again)
            assert (record.state, record.reason, record.attempts) == (state, "filtered", 1)
            assert (await scene.total())[column] == 2

    async def test_a_failed_probe_spends_nothing(self, stores: Stores) -> None:
        """The attempt is kept; lane, due time and count of attempts stay."""
        scene = await stores.open()
        owed = await scene.owe(7)
        for number in (1, 2):
            probe = scene.outcome(replace(owed, last_number=number - 1), State.RETRYING, spent=False)
            assert await scene.store.work.settle([probe]) == Settled()
            (work,) = (await scene.queue(7)).work
            assert work.obligation == replace(owed, last_number=number)
        assert await scene.store.work.settle([probe]) == Settled(), "nothing that counts changes by a repeat"
        assert [a.number for a in await scene.attempts(owed)] == [1, 2]
        assert await scene.total() == {"owed": 1, "waiting": 1}
        assert await scene.settle(work.obligation) == Settled()
        assert await scene.settle(work.obligation, State.RETRYING, spent=False) == Settled(superseded=(0,))
        assert (await scene.record(owed)).attempts == 3

    async def test_a_probe_and_what_follows_it_in_one_batch(self, stores: Stores) -> None:
        """Beside outcomes of other endpoints, in any sequence."""
        scene = await stores.open()
        one, two, other = await scene.owe(7), await scene.owe(7), await scene.owe(8)
        batch = [
            scene.outcome(one, State.RETRYING, spent=False),
            scene.outcome(two, State.EXHAUSTED),
            scene.outcome(replace(other, round=2)),
            scene.outcome(replace(one, last_number=1)),
            scene.outcome(replace(two, last_number=1), State.RETRYING, spent=False),
            scene.outcome(other),
        ]
        assert await scene.store.work.settle(batch) == Settled(superseded=(2, 4))
        assert await scene.total() == {"owed": 3, "delivered": 2, "exhausted": 1}

    # -- fences -----------------------------------------------------------------------------------

    async def test_another_epoch_is_fenced(self, stores: Stores) -> None:
        """Nothing at all is written, and the rest of the batch is not touched by it."""
        scene = await stores.open()
        late, good, early = await scene.owe(7), await scene.owe(7), await scene.owe(7)
        epoch = scene.epochs[slot_of(7)]
        settled = await scene.store.work.settle(
            [scene.outcome(late, epoch=epoch - 1), scene.outcome(good), scene.outcome(early, epoch=epoch + 1)]
        )
        assert settled == Settled(fenced=(0, 2))
        assert [w.obligation for w in (await scene.queue(7)).work] == [late, early]
        assert await scene.attempts(late) == []
        assert await scene.total() == {"owed": 3, "waiting": 2, "delivered": 1}

    async def test_an_earlier_epoch_is_fenced_beside_the_present_one(self, stores: Stores) -> None:
        scene = await stores.open()
        late, good = await scene.owe(7), await scene.owe(7)
        batch = [scene.outcome(late, epoch=scene.epochs[slot_of(7)] - 1), scene.outcome(good)]
        assert await scene.store.work.settle(batch) == Settled(fenced=(0,))
        assert [w.obligation for w in (await scene.queue(7)).work] == [late]
        assert await scene.total() == {"owed": 2, "waiting": 1, "delivered": 1}

    async def test_a_slot_that_moved_on_is_fenced(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        taken = await seize(scene.store.ownership, "other", now=NOW)
        assert await scene.settle(owed) == Settled(fenced=(0,))
        assert await scene.settle(owed, epoch=taken.epochs[slot_of(7)]) == Settled()

    async def test_a_slot_that_was_given_up_is_fenced(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        await scene.store.ownership.release(scene.node)
        assert await scene.settle(owed) == Settled(fenced=(0,))
        assert await scene.total() == {"owed": 1, "waiting": 1}

    # -- deliveries that changed meanwhile --------------------------------------------------------

    async def test_discarded_meanwhile(self, stores: Stores) -> None:
        """The attempt took place, so it is kept; the delivery stays as the operator wanted it."""
        scene = await stores.open()
        owed, other = await scene.owe(7), await scene.owe(7)
        await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
        settled = await scene.store.work.settle([scene.outcome(other), scene.outcome(owed)])
        assert settled == Settled(superseded=(1,))
        assert (await scene.record(owed)).state is State.DISCARDED
        assert await scene.attempts(owed) == [attempt(1)]
        assert await scene.total() == {"owed": 2, "delivered": 1, "discarded:cancelled": 1}

    async def test_opened_again_meanwhile(self, stores: Stores) -> None:
        """A round that is over cannot settle the next one."""
        scene = await stores.open()
        owed = await scene.owe(7)
        await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
        again = await scene.store.work.retry(owed.event_key, 7, now=NOW)
        assert again is not None
        assert await scene.settle(owed, State.EXHAUSTED) == Settled(superseded=(0,))
        assert (await scene.record(owed)).state is State.WAITING
        assert await scene.settle(again, attempt_=attempt(2)) == Settled()
        assert [a.number for a in await scene.attempts(owed)] == [1, 2]
        assert await scene.total() == {"owed": 1, "delivered": 1}

    async def test_the_same_outcome_twice(self, stores: Stores) -> None:
        """Counted once, whether the delivery went on or ended."""
        scene = await stores.open()
        for state in (State.DELIVERED, State.RETRYING, State.EXHAUSTED):
            owed = await scene.owe(7)
            outcome = scene.outcome(owed, state)
            assert await scene.store.work.settle([outcome]) == Settled()
            assert await scene.store.work.settle([outcome]) == Settled(superseded=(0,))
            assert len(await scene.attempts(owed)) == 1
        assert await scene.total() == {"owed": 3, "delivered": 1, "retrying": 1, "exhausted": 1}

    async def test_two_attempts_of_one_number_are_both_kept(self, stores: Stores) -> None:
        """A request was on its way when the delivery was discarded and opened again."""
        scene = await stores.open()
        for first_is_late in (False, True):
            owed = await scene.owe(7)
            await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW)
            again = await scene.store.work.retry(owed.event_key, 7, now=NOW)
            assert again is not None
            old = scene.outcome(owed, State.RETRYING, attempt_=attempt(1, started_at=NOW + 1, status=500))
            new = scene.outcome(again, attempt_=attempt(1, started_at=NOW + 2))
            outcomes = [new, old] if first_is_late else [old, new]
            assert await scene.store.work.settle(outcomes[:1]) == Settled(superseded=() if first_is_late else (0,))
            assert await scene.store.work.settle(outcomes[1:]) == Settled(superseded=(0,) if first_is_late else ())
            made = await scene.attempts(owed)
            assert {(a.started_at, a.status) for a in made} == {(NOW + 1, 500), (NOW + 2, 200)}
            assert (await scene.record(owed)).state is State.DELIVERED

    async def test_what_never_was_is_superseded(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        assert await scene.settle(replace(owed, endpoint_key=8)) == Settled(superseded=(0,))
        assert await scene.settle(replace(owed, attempts=1)) == Settled(superseded=(0,))
        assert await scene.settle(replace(owed, round=2)) == Settled(superseded=(0,))
        assert await scene.total() == {"owed": 1, "waiting": 1}

    async def test_an_attempt_of_what_is_not_there_is_not_kept(self, stores: Stores) -> None:
        """After a failover a node may know an event that its store has forgotten; others in the call are written."""
        scene = await stores.open()
        owed = await scene.owe(7)
        forgotten = replace(owed, event_key=owed.event_key + 1)
        told = await scene.store.work.settle([scene.outcome(forgotten), scene.outcome(owed)])
        assert told == Settled(superseded=(0,))
        assert await scene.attempts(forgotten) == []
        assert len(await scene.attempts(owed)) == 1
