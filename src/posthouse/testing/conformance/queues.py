"""Finding open work."""

import pytest

from posthouse.core.model import SLOTS, Lane, Obligation, slot_of
from posthouse.store.protocol import Backlog, Refill
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW


class TestQueues:
    """``survey`` and ``fetch``."""

    async def test_a_new_store_has_no_work(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.survey() == []
        assert await scene.queue(7) == Refill((), more=False, next_due_at=None)

    async def test_the_survey_names_every_queue_with_its_first_due_time(self, stores: Stores) -> None:
        """And the event of the delivery that stands first in it."""
        scene = await stores.open()
        owed = [
            await scene.owe(endpoint_key, lane=lane, accepted_at=at)
            for endpoint_key, lane, at in (
                (9, Lane.RETRY, NOW + 7),
                (3, Lane.LIVE, NOW + 1),
                (3, Lane.LIVE, NOW),
                (3, Lane.BACKLOG, NOW - 4),
                (9, Lane.RETRY, NOW + 6),
                (5, Lane.LIVE, NOW),
            )
        ]
        assert sorted(await scene.survey(), key=lambda b: (b.endpoint_key, b.lane)) == [
            Backlog(3, Lane.LIVE, NOW, owed[2].event_key),
            Backlog(3, Lane.BACKLOG, NOW - 4, owed[3].event_key),
            Backlog(5, Lane.LIVE, NOW, owed[5].event_key),
            Backlog(9, Lane.RETRY, NOW + 6, owed[4].event_key),
        ]

    async def test_of_those_due_at_one_time_the_survey_names_the_first_event(self, stores: Stores) -> None:
        """It is the delivery that a fetch finds first, whichever of them was stored last."""
        scene = await stores.open()
        first, second, third = [await scene.owe(7, accepted_at=NOW) for _ in range(3)]
        await scene.store.work.retry(first.event_key, 7, now=NOW + 1)
        assert await scene.survey() == [Backlog(7, Lane.LIVE, NOW, second.event_key)]
        await scene.store.work.retry(first.event_key, 7, now=NOW)
        assert await scene.survey() == [Backlog(7, Lane.LIVE, NOW, first.event_key)]
        await scene.store.work.discard(first.event_key, 7, reason="test", now=NOW)
        await scene.store.work.discard(second.event_key, 7, reason="test", now=NOW)
        assert await scene.survey() == [Backlog(7, Lane.LIVE, NOW, third.event_key)]
        assert [work.obligation for work in (await scene.queue(7)).work] == [third]

    async def test_the_survey_of_some_slots(self, stores: Stores) -> None:
        scene = await stores.open()
        for endpoint_key in range(1, 40):
            await scene.owe(endpoint_key)
        even = {slot for slot in range(SLOTS) if slot % 2 == 0}
        found = {backlog.endpoint_key for backlog in await scene.survey(even)}
        assert found == {key for key in range(1, 40) if slot_of(key) in even}
        assert await scene.survey(()) == []

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_a_survey_in_pages_names_every_queue_once(self, stores: Stores, limit: int) -> None:
        """Of so many endpoints at most in a page. Those that have nothing but parked work end none."""
        scene = await stores.open()
        for endpoint_key in range(1, 13):
            lanes = (Lane.PARKED,) if endpoint_key % 3 else (Lane.LIVE, Lane.BACKLOG, Lane.PARKED)
            for lane in lanes:
                await scene.owe(endpoint_key, lane=lane)
        for slots in (range(SLOTS), [slot_of(key) for key in (3, 5, 12)], [slot_of(4)]):
            found: list[tuple[int, Lane]] = []
            after: int | None = None
            while page := await scene.store.work.survey(slots, after=after, limit=limit):
                assert len({backlog.endpoint_key for backlog in page}) <= limit
                after = page[-1].endpoint_key
                found += [(backlog.endpoint_key, backlog.lane) for backlog in page]
            wanted = [key for key in range(3, 13, 3) if slot_of(key) in slots]
            assert sorted(found) == [(key, lane) for key in wanted for lane in (Lane.LIVE, Lane.BACKLOG)]

    async def test_a_queue_is_ordered_by_due_time_then_event(self, stores: Stores) -> None:
        scene = await stores.open()
        first, second = await scene.owe(7, accepted_at=NOW - 1), await scene.owe(7, accepted_at=NOW - 1)
        earlier, later = await scene.owe(7, accepted_at=NOW - 9), await scene.owe(7, accepted_at=NOW)
        assert [w.obligation for w in (await scene.queue(7)).work] == [earlier, first, second, later]

    async def test_queues_are_apart(self, stores: Stores) -> None:
        """By endpoint and by lane."""
        scene = await stores.open()
        live, backlog = await scene.owe(7), await scene.owe(7, lane=Lane.BACKLOG)
        other = await scene.owe(8)
        assert [w.obligation for w in (await scene.queue(7)).work] == [live]
        assert [w.obligation for w in (await scene.queue(7, Lane.BACKLOG)).work] == [backlog]
        assert [w.obligation for w in (await scene.queue(8)).work] == [other]

    async def test_what_is_not_due_waits_and_says_until_when(self, stores: Stores) -> None:
        scene = await stores.open()
        due = await scene.owe(7, accepted_at=NOW)
        await scene.owe(7, accepted_at=NOW + 9)
        await scene.owe(7, accepted_at=NOW + 5)
        refill = await scene.queue(7)
        assert [w.obligation for w in refill.work] == [due]
        assert (refill.more, refill.next_due_at) == (False, NOW + 5)
        assert len((await scene.queue(7, now=NOW + 4)).work) == 1
        assert len((await scene.queue(7, now=NOW + 5)).work) == 2

    async def test_a_limit_leaves_the_rest(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = [await scene.owe(7) for _ in range(3)]
        two, all_three = await scene.queue(7, limit=2), await scene.queue(7, limit=3)
        assert ([w.obligation for w in two.work], two.more) == (owed[:2], True)
        assert ([w.obligation for w in all_three.work], all_three.more) == (owed, False)

    async def test_a_queue_is_gone_through_once(self, stores: Stores) -> None:
        """Each fetch goes on behind the last one of the fetch before, whatever is still in the store."""
        scene = await stores.open()
        owed = [await scene.owe(7, accepted_at=NOW - n // 2) for n in range(7, -1, -1)]
        await scene.owe(7, accepted_at=NOW + 5)
        seen: list[Obligation] = []
        after: tuple[int, int] | None = None
        more = True
        while more:
            refill = await scene.queue(7, limit=3, after=after)
            seen += [work.obligation for work in refill.work]
            after, more = (seen[-1].due_at, seen[-1].event_key), refill.more
            assert refill.next_due_at == NOW + 5
        assert seen == owed
        late = await scene.queue(7, limit=3, after=after)
        assert (late.work, late.more) == ((), False)

    async def test_bytes_are_bounded_but_one_always_comes(self, stores: Stores) -> None:
        scene = await stores.open()
        for size in (10, 10, 10, 50):
            await scene.owe(7, data=b"x" * size)
        for bytes_max, count in ((5, 1), (19, 1), (20, 2), (79, 3), (80, 4)):
            refill = await scene.queue(7, bytes_max=bytes_max)
            assert (len(refill.work), refill.more) == (count, count < 4)

    async def test_work_shows_as_soon_as_it_is_accepted(self, stores: Stores) -> None:
        """A read sees everything whose answer came before it."""
        scene = await stores.open()
        for n in range(1, 20):
            await scene.owe(7)
            assert len((await scene.queue(7)).work) == n
            assert (await scene.deliveries(limit=100))[0][1] == 7
