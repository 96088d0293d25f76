"""What outlives a node of endpoints that are not well."""

from msgspec.structs import replace

from posthouse.core.model import Health, slot_of
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW
from posthouse.testing.seizing import seize


class TestHealth:
    """``health`` and ``put_health``."""

    async def test_all_are_well_at_first(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.health() == []

    async def test_it_comes_back_as_it_was(self, stores: Stores) -> None:
        """Also after opening again; by endpoint."""
        scene = await stores.open()
        down = Health(endpoint_key=9, failing_since=NOW, opened_at=NOW + 5, probes=3, warned=2, usual_rate=12.5)
        failing = Health(endpoint_key=7, failing_since=NOW - 1)
        for health in (down, failing):
            await scene.put_health(health.endpoint_key, health)
        assert await scene.health() == [failing, down]
        assert await (await stores.open()).health() == [failing, down]

    async def test_the_latest_word_counts(self, stores: Stores) -> None:
        """Of one that is well nothing is kept."""
        scene = await stores.open()
        first, other = Health(endpoint_key=7, failing_since=NOW), Health(endpoint_key=8, failing_since=NOW)
        for health in (first, other, replace(first, opened_at=NOW, probes=1)):
            await scene.put_health(health.endpoint_key, health)
        assert await scene.health() == [replace(first, opened_at=NOW, probes=1), other]
        for endpoint_key in (7, 7, 9):
            await scene.put_health(endpoint_key, None)
        assert await scene.health() == [other]

    async def test_only_those_of_some_slots_are_read(self, stores: Stores) -> None:
        scene = await stores.open()
        known = [Health(endpoint_key=key, failing_since=NOW) for key in range(1, 9)]
        for health in known:
            await scene.put_health(health.endpoint_key, health)
        assert await scene.health(()) == []
        assert await scene.health((slot_of(3), slot_of(5))) == [known[2], known[4]]

    async def test_only_the_owner_writes_it(self, stores: Stores) -> None:
        """Whoever had the slot before knows no better than who has it now."""
        scene = await stores.open()
        first, late = Health(endpoint_key=7, failing_since=NOW), Health(endpoint_key=7, failing_since=NOW, probes=9)
        assert await scene.put_health(7, first)
        grant = await seize(scene.store.ownership, "other", now=NOW)
        assert not await scene.put_health(7, late)
        assert not await scene.put_health(7, None)
        assert await scene.health() == [first]
        assert await scene.store.work.put_health(7, late, epoch=grant.epochs[slot_of(7)])
        await scene.store.ownership.release("other")
        assert not await scene.store.work.put_health(7, None, epoch=grant.epochs[slot_of(7)])
        assert await scene.health() == [late]
