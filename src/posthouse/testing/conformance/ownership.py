"""Slots, leases and epochs."""

from posthouse.core.model import SLOTS
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import LEASE_MS, NOW


class TestOwnership:
    """Every promise of the ownership facet. The scene's node holds all slots when a test starts."""

    async def test_the_first_node_gets_everything(self, stores: Stores) -> None:
        scene = await stores.open()
        assert set(scene.epochs) == set(range(SLOTS))
        owners = await scene.store.ownership.owners()
        assert owners == {slot: (scene.node, epoch, NOW + LEASE_MS) for slot, epoch in scene.epochs.items()}

    async def test_held_slots_are_not_taken(self, stores: Stores) -> None:
        scene = await stores.open()
        acquire = scene.store.ownership.acquire
        assert await acquire("other", now=NOW + LEASE_MS - 1, lease_ms=LEASE_MS) == {}
        assert await acquire(scene.node, now=NOW, lease_ms=LEASE_MS) == scene.epochs

    async def test_expired_slots_are_taken_with_the_next_epoch(self, stores: Stores) -> None:
        scene = await stores.open()
        acquire = scene.store.ownership.acquire
        taken = await acquire("other", now=NOW + LEASE_MS, lease_ms=LEASE_MS)
        assert taken == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}
        assert await acquire(scene.node, now=NOW + LEASE_MS, lease_ms=LEASE_MS) == {}

    async def test_slots_of_a_dead_node_are_taken_at_once(self, stores: Stores) -> None:
        scene = await stores.open()
        taken = await scene.store.ownership.acquire("other", now=NOW, lease_ms=LEASE_MS, dead=("x", scene.node))
        assert taken == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}

    async def test_a_lease_is_prolonged_at_the_same_epoch(self, stores: Stores) -> None:
        """Nothing that is on its way may be fenced by it; also where the lease ran out, if nobody took it."""
        scene = await stores.open()
        acquire = scene.store.ownership.acquire
        later = NOW + 3 * LEASE_MS
        assert await acquire(scene.node, now=later, lease_ms=LEASE_MS) == scene.epochs
        assert await acquire("other", now=later + LEASE_MS - 1, lease_ms=LEASE_MS) == {}

    async def test_released_slots_are_free_at_once(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.release(scene.node)
        await ownership.release(scene.node)
        assert {(owner, until) for owner, _epoch, until in (await ownership.owners()).values()} == {
            (None, NOW + LEASE_MS)
        }
        taken = await ownership.acquire("other", now=NOW, lease_ms=LEASE_MS)
        assert taken == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}

    async def test_a_node_that_gave_up_and_comes_back_gets_the_next_epoch(self, stores: Stores) -> None:
        """Between the two nobody owned the slot."""
        scene = await stores.open()
        await scene.store.ownership.release(scene.node)
        again = await scene.store.ownership.acquire(scene.node, now=NOW, lease_ms=LEASE_MS)
        assert again == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}

    async def test_a_release_touches_no_other_node(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.store.ownership.release("other")
        assert await scene.store.ownership.acquire(scene.node, now=NOW, lease_ms=LEASE_MS) == scene.epochs
