"""Due times that a clock has set which was ahead."""

from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Lane, Obligation, slot_of
from posthouse.core.rules import Order
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, attempt

HOUR = 3_600_000
AHEAD = NOW + HOUR  #: what the clock said before it was set back to ``NOW``


async def attempted(scene: Scene, *, at: int, delay: int, lane: Lane = Lane.RETRY) -> Obligation:
    """A delivery that failed at this time and is due again after this delay."""
    owed = await scene.owe(7, accepted_at=at)
    made = attempt(1, started_at=at, outcome="status", status=500)
    await scene.settle(owed, State.RETRYING, attempt_=made, due_at=at + delay, lane=lane)
    return replace(owed, lane=lane, due_at=at + delay, attempts=1, last_number=1)


async def due_at(scene: Scene, obligation: Obligation) -> int | None:
    """When the next attempt is due."""
    return (await scene.record(obligation)).due_at


class TestRetiming:
    """``retime``: nobody waits for a time that only a clock ahead of this one knew."""

    async def test_nothing_changes_while_the_clock_only_goes_forward(self, stores: Stores) -> None:
        scene = await stores.open()
        waiting = await scene.owe(7, accepted_at=NOW)
        long = await attempted(scene, at=NOW, delay=240 * HOUR)
        short = await attempted(scene, at=NOW - HOUR, delay=1_000)
        assert await scene.retime() == []
        assert [await due_at(scene, owed) for owed in (waiting, long, short)] == [NOW, NOW + 240 * HOUR, short.due_at]

    async def test_what_was_never_attempted_is_due(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = [await scene.owe(7, lane=lane, accepted_at=AHEAD) for lane in (Lane.LIVE, Lane.BACKLOG)]
        assert await scene.retime() == [(o.event_key, 7) for o in owed]
        for one in owed:
            assert [w.obligation for w in (await scene.queue(7, one.lane)).work] == [replace(one, due_at=NOW)]

    async def test_what_was_attempted_waits_as_long_anew(self, stores: Stores) -> None:
        """Neither at once, which would spend attempts, nor until the clock is where it was."""
        scene = await stores.open()
        short = await attempted(scene, at=AHEAD, delay=5_000)
        long = await attempted(scene, at=AHEAD, delay=10 * HOUR)
        assert len(await scene.retime()) == 2
        assert [await due_at(scene, owed) for owed in (short, long)] == [NOW + 5_000, NOW + 10 * HOUR]

    async def test_what_was_attempted_before_now_keeps_its_time(self, stores: Stores) -> None:
        """It waits no longer than its own delay, whatever the clock did."""
        scene = await stores.open()
        owed = await attempted(scene, at=NOW - 1, delay=10 * HOUR)
        assert await scene.retime() == []
        assert await due_at(scene, owed) == NOW - 1 + 10 * HOUR

    async def test_a_new_round_counts_by_itself(self, stores: Stores) -> None:
        """It is not attempted yet, although the delivery was."""
        scene = await stores.open()
        owed = await scene.owe(7, accepted_at=NOW - HOUR)
        await scene.settle(owed, attempt_=attempt(1, started_at=NOW - HOUR))
        again = await scene.store.work.retry(owed.event_key, 7, now=AHEAD)
        assert again is not None
        assert await scene.retime() == [(owed.event_key, 7)]
        assert await due_at(scene, owed) == NOW

    async def test_what_is_no_work_is_timed_too(self, stores: Stores) -> None:
        """It is parked, or stands behind another one, and comes back with a time of this clock."""
        scene = await stores.open()
        parked = await scene.owe(7, lane=Lane.PARKED, accepted_at=AHEAD)
        orders = (Order.FIFO,)
        first, second = [scene.values.new_event(7, accepted_at=AHEAD, ordering_key="a", orders=orders) for _ in "ab"]
        await scene.accept(first, second)
        keys = [(key, 7) for key in (parked.event_key, first.event.key, second.event.key)]
        assert await scene.retime() == keys
        (work,) = (await scene.queue(7)).work
        assert (work.event.key, work.obligation.due_at) == (first.event.key, NOW)
        assert [w.obligation for w in (await scene.queue(7, Lane.PARKED)).work] == [replace(parked, due_at=NOW)]

    async def test_in_steps_each_delivery_comes_once(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = [await attempted(scene, at=AHEAD, delay=240 * HOUR) for _ in range(25)]
        seen: list[tuple[int, int]] = []
        after = (0, 0)
        while part := await scene.retime(after=after, limit=10):
            assert len(part) <= 10
            seen += part
            after = part[-1]
        assert seen == [(one.event_key, 7) for one in owed]
        assert {await due_at(scene, one) for one in owed} == {NOW + 240 * HOUR}

    async def test_counts_and_books_stay(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await attempted(scene, at=AHEAD, delay=5_000)
        await scene.retime()
        (work,) = (await scene.queue(7, Lane.RETRY, now=NOW + 5_000)).work
        assert work.obligation == replace(owed, due_at=NOW + 5_000)
        assert await scene.settle(work.obligation, attempt_=attempt(2)) == await scene.store.work.settle([])
        assert await scene.total() == {"owed": 1, "delivered": 1}

    async def test_only_those_of_some_slots_are_timed(self, stores: Stores) -> None:
        """Who owns the others has a clock of its own. What is in between does not end it."""
        scene = await stores.open()
        owed = [await scene.owe(7 if n == 8 else 8, accepted_at=AHEAD) for n in range(9)]
        retime = scene.store.work.retime
        assert await retime((slot_of(7),), now=NOW, after=(0, 0), limit=2) == [(owed[8].event_key, 7)]
        assert [await due_at(scene, one) for one in owed] == [AHEAD] * 8 + [NOW]
        assert await retime((), now=NOW, after=(0, 0), limit=2) == []
