"""What operators do to deliveries."""

import pytest
from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Lane, Obligation
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW


async def settled_as(scene: Scene, state: State, endpoint_key: int = 7) -> Obligation:
    """A delivery in this state, with one attempt unless it was discarded; as it was when it was owed."""
    owed = await scene.owe(endpoint_key)
    if state is State.DISCARDED:
        await scene.store.work.discard(owed.event_key, endpoint_key, reason="cancelled", now=NOW)
    elif state is not State.WAITING:
        await scene.settle(owed, state)
    return owed


class TestRetrying:
    """``retry``."""

    async def test_an_open_delivery_keeps_its_counts(self, stores: Stores) -> None:
        scene = await stores.open()
        waiting = await settled_as(scene, State.WAITING)
        retrying = await settled_as(scene, State.RETRYING)
        expected = [
            replace(waiting, due_at=NOW + 20),
            replace(retrying, lane=Lane.RETRY, due_at=NOW + 20, attempts=1, last_number=1),
        ]
        for owed, now_owed in zip((waiting, retrying), expected, strict=True):
            assert await scene.store.work.retry(owed.event_key, 7, now=NOW + 20) == now_owed
            (work,) = (await scene.queue(7, now_owed.lane, now=NOW + 20)).work
            assert work.obligation == now_owed
        assert await scene.total() == {"owed": 2, "waiting": 1, "retrying": 1}

    @pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.DISCARDED])
    async def test_a_settled_delivery_opens_a_new_round(self, stores: Stores, state: State) -> None:
        """In the backlog, due now, all its attempts ahead; numbers go on."""
        scene = await stores.open()
        owed = await settled_as(scene, state)
        made = 0 if state is State.DISCARDED else 1
        again = await scene.store.work.retry(owed.event_key, 7, now=NOW + 20)
        assert again == Obligation(owed.event_key, 7, Lane.BACKLOG, NOW + 20, NOW + 20, 0, 2, made)
        (work,) = (await scene.queue(7, Lane.BACKLOG, now=NOW + 20)).work
        assert work.obligation == again
        record = await scene.record(owed)
        assert (record.state, record.round, record.attempts) == (State.WAITING, 2, made)
        assert await scene.total() == {"owed": 1, "waiting": 1}

    @pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.DISCARDED])
    async def test_rounds_count(self, stores: Stores, state: State) -> None:
        scene = await stores.open()
        owed = await settled_as(scene, state)
        for round_ in (2, 3, 4):
            again = await scene.store.work.retry(owed.event_key, 7, now=NOW + round_)
            assert again is not None
            assert again.round == round_
            await scene.settle(again, State.RETRYING)
            await scene.settle(replace(again, attempts=1, last_number=again.last_number + 1), state=State.DELIVERED)
            assert await scene.total() == {"owed": 1, "delivered": 1}
        record = await scene.record(owed)
        made = 6 if state is State.DISCARDED else 7
        assert (record.state, record.round, record.attempts) == (State.DELIVERED, 4, made)
        assert [a.number for a in await scene.attempts(owed)] == list(range(1, made + 1))

    async def test_what_is_not_owed_cannot_be_retried(self, stores: Stores) -> None:
        scene = await stores.open()
        owed = await scene.owe(7)
        assert await scene.store.work.retry(owed.event_key, 8, now=NOW) is None
        assert await scene.store.work.retry(owed.event_key + 1, 7, now=NOW) is None


class TestDiscarding:
    """``discard`` and ``discard_endpoint``."""

    @pytest.mark.parametrize("state", [State.WAITING, State.RETRYING])
    async def test_an_open_delivery_is_discarded(self, stores: Stores, state: State) -> None:
        scene = await stores.open()
        owed = await settled_as(scene, state)
        assert await scene.store.work.discard(owed.event_key, 7, reason="cancelled", now=NOW + 3)
        assert await scene.survey() == []
        record = await scene.record(owed)
        assert (record.state, record.reason, record.settled_at) == (State.DISCARDED, "cancelled", NOW + 3)
        assert record.attempts == (1 if state is State.RETRYING else 0)
        assert await scene.total() == {"owed": 1, "discarded:cancelled": 1}

    @pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.DISCARDED])
    async def test_what_is_not_open_is_not_discarded(self, stores: Stores, state: State) -> None:
        scene = await stores.open()
        owed = await settled_as(scene, state)
        before = await scene.total()
        assert not await scene.store.work.discard(owed.event_key, 7, reason="late", now=NOW)
        assert not await scene.store.work.discard(owed.event_key, 8, reason="late", now=NOW)
        assert await scene.total() == before

    async def test_an_endpoint_is_discarded_in_steps(self, stores: Stores) -> None:
        """Other endpoints keep what is theirs."""
        scene = await stores.open()
        await scene.accept(*(scene.values.new_event(7, 8) for _ in range(1_500)))
        await settled_as(scene, State.RETRYING)
        discard = scene.store.work.discard_endpoint
        assert await discard(7, reason="endpoint_deleted", now=NOW, limit=1_400) == 1_400
        assert await discard(7, reason="endpoint_deleted", now=NOW, limit=1_400) == 101
        assert await discard(7, reason="endpoint_deleted", now=NOW, limit=1_400) == 0
        assert {backlog.endpoint_key for backlog in await scene.survey()} == {8}
        assert await scene.total() == {"owed": 3_001, "waiting": 1_500, "discarded:endpoint_deleted": 1_501}

    async def test_reasons_are_told_apart(self, stores: Stores) -> None:
        scene = await stores.open()
        for reason in ("cancelled", "superseded", "cancelled"):
            owed = await scene.owe(7)
            await scene.store.work.discard(owed.event_key, 7, reason=reason, now=NOW)
        assert await scene.total() == {"owed": 3, "discarded:cancelled": 2, "discarded:superseded": 1}
