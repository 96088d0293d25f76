"""Deliveries that an operator has put aside."""

from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.model import Lane
from posthouse.store.protocol import Settled
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW


class TestParking:
    """The parked lane is open, and it is no work."""

    async def test_what_is_parked_is_no_work(self, stores: Stores) -> None:
        """It is owed all the same, and who asks for it finds it."""
        scene = await stores.open()
        parked, other = await scene.owe(7, lane=Lane.PARKED), await scene.owe(8, lane=Lane.RETRY)
        assert [b.endpoint_key for b in await scene.survey()] == [other.endpoint_key]
        assert [w.obligation for w in (await scene.queue(7, Lane.PARKED)).work] == [parked]
        assert (await scene.record(parked)).lane is Lane.PARKED
        assert await scene.total() == {"owed": 2, "waiting": 2}

    async def test_a_retry_brings_it_into_the_backlog(self, stores: Stores) -> None:
        scene = await stores.open()
        parked = await scene.owe(7, lane=Lane.PARKED)
        again = await scene.store.work.retry(parked.event_key, 7, now=NOW + 4)
        assert again == replace(parked, lane=Lane.BACKLOG, due_at=NOW + 4)
        assert [w.obligation for w in (await scene.queue(7, Lane.BACKLOG, now=NOW + 4)).work] == [again]

    async def test_one_that_was_on_its_way_stays_parked(self, stores: Stores) -> None:
        """If it is to be tried again; else it is settled like any other."""
        scene = await stores.open()
        parked = await scene.owe(7, lane=Lane.PARKED)
        sent = replace(parked, lane=Lane.LIVE)
        assert await scene.settle(sent, State.RETRYING, due_at=NOW + 50, lane=Lane.RETRY) == Settled()
        (work,) = (await scene.queue(7, Lane.PARKED, now=NOW + 50)).work
        assert work.obligation == replace(parked, due_at=NOW + 50, attempts=1, last_number=1)
        assert await scene.settle(replace(work.obligation, lane=Lane.RETRY)) == Settled()
        assert await scene.total() == {"owed": 1, "delivered": 1}

    async def test_it_is_discarded_like_any_other(self, stores: Stores) -> None:
        """History tells lanes that things are sent from."""
        scene = await stores.open()
        one, two = await scene.owe(7, lane=Lane.PARKED), await scene.owe(7, lane=Lane.PARKED)
        assert await scene.store.work.discard(one.event_key, 7, reason="cancelled", now=NOW)
        assert await scene.settle(two, State.EXHAUSTED) == Settled()
        assert [(await scene.record(owed)).lane for owed in (one, two)] == [Lane.BACKLOG, Lane.BACKLOG]
        assert await scene.total() == {"owed": 2, "exhausted": 1, "discarded:cancelled": 1}
