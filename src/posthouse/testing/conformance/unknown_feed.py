"""Answers of the feed that are lost."""

from posthouse.core.model import Environment
from posthouse.store.protocol import FeedAck, FeedConsumer, FeedPage, FeedQuery, Store
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.unheard import repeated
from posthouse.testing.conformance.values import DAY_MS, NOW

LIVE = FeedQuery(environment=Environment.LIVE)


async def _published(scene: Scene) -> FeedPage:
    for _ in range(3):
        await scene.accept(scene.values.new_event(7))
    found = await scene.store.feed.read(LIVE, None, limit=10)
    assert isinstance(found, FeedPage)
    return found


class FeedUnknown:
    """The cases of the feed; see :class:`TestUnknown`."""

    async def test_acknowledge(self, stores: Stores) -> None:
        """Where it is already it does not move back."""
        scene = await stores.open()
        page = await _published(scene)
        expected = FeedConsumer(Environment.LIVE, "a", page.events[1].position, NOW, NOW)

        async def acknowledge(store: Store) -> FeedAck:
            return await store.feed.acknowledge(Environment.LIVE, "a", expected.position, now=NOW)

        await scene.store.feed.acknowledge(Environment.LIVE, "a", page.events[0].position, now=NOW)
        assert await repeated(scene, acknowledge) == expected
        assert await scene.store.feed.consumers(Environment.LIVE) == [expected]

    async def test_remove(self, stores: Stores) -> None:
        """It is not there any more, which is what the repeat says."""
        scene = await stores.open()
        page = await _published(scene)
        await scene.store.feed.acknowledge(Environment.LIVE, "a", page.position, now=NOW)
        assert await repeated(scene, lambda store: store.feed.remove(Environment.LIVE, "a")) is False
        assert await scene.store.feed.consumers(Environment.LIVE) == []

    async def test_forget(self, stores: Stores) -> None:
        """Each call lets go of what is first then."""
        scene = await stores.open()
        page = await _published(scene)
        assert await repeated(scene, lambda store: store.feed.forget(before=NOW + DAY_MS, limit=1)) == 1
        found = await scene.store.feed.read(LIVE, None, limit=10)
        assert isinstance(found, FeedPage)
        assert found.events == page.events[2:]
