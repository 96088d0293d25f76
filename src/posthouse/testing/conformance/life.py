"""Opening, closing, opening again; the admin facet."""

import asyncio

import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.inbound import WHOLE, Objection, Resolution
from posthouse.core.jobs import Job, JobFilter, JobKind
from posthouse.core.model import Environment
from posthouse.store.protocol import Remembered
from posthouse.testing.conformance.reopening import settled_as
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, tenant


class TestLife:
    """What outlives a process, and how a store ends."""

    async def test_everything_is_there_after_opening_again(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        await catalogue.put_endpoint(endpoint, remember=Remembered(Environment.LIVE, "k", b"f", endpoint.key))
        await catalogue.put_api_key(scene.values.api_key())
        await catalogue.put_tenant(tenant())
        named = scene.values.named("a")
        await scene.accept(named)
        owed = [await settled_as(scene, state, endpoint.key) for state in State]
        await scene.store.work.retry(owed[-1].event_key, endpoint.key, now=NOW)
        before = (await catalogue.load(), await scene.total(), await scene.deliveries(), await scene.events())
        queues = await scene.survey()

        scene = await stores.open()
        catalogue = scene.store.catalogue
        after = (await catalogue.load(), await scene.total(), await scene.deliveries(), await scene.events())
        assert after == before
        assert await scene.survey() == queues
        assert await catalogue.recall(Environment.LIVE, "k") is not None
        result = await scene.accept(scene.values.named("a"))
        assert isinstance(result, tuple)
        assert (result[0].key, result[0].duplicate) == (named.event.key, True)

    async def test_epochs_go_on_after_opening_again(self, stores: Stores) -> None:
        before = (await stores.open()).epochs
        assert (await stores.open()).epochs == {slot: epoch + 1 for slot, epoch in before.items()}

    async def test_closing_finishes_what_was_submitted(self, stores: Stores) -> None:
        scene = await stores.open()
        accepting = [asyncio.ensure_future(scene.accept(scene.values.new_event(7), version=0)) for _ in range(10)]
        await asyncio.sleep(0)
        await scene.store.close()
        assert all(isinstance(result, tuple) for result in await asyncio.gather(*accepting))
        assert len(await (await stores.open()).events()) == 10

    async def test_a_closed_store_refuses(self, stores: Stores) -> None:
        """Closing twice is closing once."""
        scene = await stores.open()
        await asyncio.gather(scene.store.close(), scene.store.close())
        await scene.store.close()
        for call in (
            scene.accept(scene.values.new_event(7), version=0),
            scene.queue(7),
            scene.events(),
            scene.store.admin.probe(now=NOW),
        ):
            with pytest.raises(StoreUnavailable):
                await call

    async def test_one_bad_write_spoils_no_other(self, stores: Stores) -> None:
        """Writers share transactions; a fault of one of them is its own."""
        scene = await stores.open()
        taken = scene.values.new_event(7)
        await scene.accept(taken)
        news = [scene.values.new_event(7), taken, scene.values.new_event(7)]
        results = await asyncio.gather(
            *(scene.accept(new, version=0) for new in news),
            scene.store.admin.probe(now=NOW),
            return_exceptions=True,
        )
        assert [isinstance(result, BaseException) for result in results] == [False, True, False, False]
        assert await scene.total() == {"owed": 3, "waiting": 3}
        assert not scene.store.failed.done()

    async def test_the_key_floor_is_the_greatest_key(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.admin.key_floor() == 0
        event = scene.values.new_event()
        await scene.accept(event)
        assert await scene.store.admin.key_floor() == event.event.key
        endpoint = scene.values.endpoint()
        await scene.store.catalogue.put_endpoint(endpoint)
        assert await scene.store.admin.key_floor() == endpoint.key
        api_key = scene.values.api_key()
        await scene.store.catalogue.put_api_key(api_key)
        assert await scene.store.admin.key_floor() == api_key.key
        job = Job(
            key=scene.values.key(),
            environment=Environment.LIVE,
            kind=JobKind.RETRY,
            filter=JobFilter(newest=0),
            created_at=NOW,
        )
        await scene.store.jobs.add(job)
        assert await scene.store.admin.key_floor() == job.key

    async def test_the_key_floor_knows_what_comes_in(self, stores: Stores) -> None:
        """Also a request that is not kept any more."""
        scene = await stores.open()
        source = scene.values.source()
        await scene.store.catalogue.put_source(source)
        assert await scene.store.admin.key_floor() == source.key
        incident = scene.values.incident()
        await scene.store.inbound.open_incident(incident)
        assert await scene.store.admin.key_floor() == incident.key
        request = await scene.take()
        assert await scene.store.admin.key_floor() == request.key
        refused = await scene.take(objection=Objection.BAD_SIGNATURE)
        await scene.store.inbound.resolve([(refused.key, WHOLE)], Resolution.EXPIRED, now=NOW)
        assert await scene.store.admin.key_floor() == refused.key

    async def test_a_probe_writes(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.store.admin.probe(now=NOW)
        stats = await scene.store.admin.stats()
        assert stats.bytes_used > 0
        assert stats.bytes_wal >= 0
        assert stats.schema_version >= 1
        assert stats.library
