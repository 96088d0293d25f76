"""Answers about nodes that are lost; a part of ``TestUnknown``."""

from posthouse.core.model import SLOTS
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.unheard import repeated
from posthouse.testing.conformance.values import NOW
from posthouse.testing.seizing import joining, seize


class UnknownOfNodes:
    """Every method of the ownership facet that writes: done and not heard, then done again."""

    async def test_join(self, stores: Stores) -> None:
        """It has one number."""
        scene = await stores.open()
        number = await repeated(scene, lambda store: store.ownership.join(joining("other")))
        assert [(node.name, node.number) for node in await scene.store.ownership.nodes()] == [
            (scene.node, number - 1),
            ("other", number),
        ]

    async def test_beat(self, stores: Stores) -> None:
        """Nobody compares it with anything but what it was before."""
        scene = await stores.open()
        (before,) = await scene.store.ownership.nodes()
        roll = await repeated(scene, lambda store: store.ownership.beat(scene.node, now=NOW + 1))
        assert [node.beat for node in roll.nodes] == [before.beat + 2]

    async def test_acquire(self, stores: Stores) -> None:
        """It holds what it took, at the epochs that it took it at."""
        scene = await stores.open()
        grant = await repeated(scene, lambda store: seize(store.ownership, "next", now=NOW))
        assert grant.epochs == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}
        assert grant.unquiet == set(range(SLOTS))

    async def test_release(self, stores: Stores) -> None:
        scene = await stores.open()
        await repeated(scene, lambda store: store.ownership.release(scene.node))
        assert {owner for owner, _epoch, _until in (await scene.store.ownership.owners()).values()} == {None}

    async def test_calm(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        epochs = (await seize(ownership, "next", now=NOW)).epochs
        await repeated(scene, lambda store: store.ownership.calm("next", {3: epochs[3], 4: epochs[4] - 1}))
        grant = await ownership.acquire("next")
        assert grant.unquiet == set(range(SLOTS)) - {3}

    async def test_leave(self, stores: Stores) -> None:
        scene = await stores.open()
        await repeated(scene, lambda store: store.ownership.leave(scene.node))
        assert await scene.store.ownership.nodes() == []
        assert {owner for owner, _epoch, _until in (await scene.store.ownership.owners()).values()} == {None}

    async def test_bury(self, stores: Stores) -> None:
        """Who repeats it hears that it buried nobody."""
        scene = await stores.open()
        assert await repeated(scene, lambda store: store.ownership.bury({scene.node: 0})) == []
        assert await scene.store.ownership.nodes() == []
        await scene.store.ownership.join(joining("next"))
        grant = await scene.store.ownership.acquire("next")
        assert grant.epochs == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}
        assert grant.unquiet == set(range(SLOTS))
