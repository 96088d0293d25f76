"""Endpoints, sources, tenants and API keys."""

import asyncio

import pytest
from msgspec.structs import replace

from posthouse.core.errors import IdempotencyConflict, NotFound, PosthouseError
from posthouse.core.inbound import SourceState
from posthouse.core.model import EndpointState, Environment
from posthouse.store.protocol import CatalogueSnapshot, Remembered
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, tenant


class TestCatalogue:
    """Every promise of the catalogue facet."""

    async def test_a_new_store_has_an_empty_catalogue(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.catalogue.load() == CatalogueSnapshot(0, (), (), ())

    async def test_everything_comes_back_as_it_was(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoints = (scene.values.endpoint(), scene.values.endpoint(environment=Environment.TEST, secrets=()))
        keys = (scene.values.api_key(), scene.values.api_key(environment=Environment.TEST))
        for endpoint in endpoints:
            await catalogue.put_endpoint(endpoint)
        for api_key in keys:
            await catalogue.put_api_key(api_key)
        await catalogue.put_tenant(tenant("acme"))
        endpoints = (replace(endpoints[0], revision=1), replace(endpoints[1], revision=2))
        keys = (replace(keys[0], revision=3), replace(keys[1], revision=4))
        expected = CatalogueSnapshot(5, endpoints, (replace(tenant("acme"), revision=5),), keys)
        assert await catalogue.load() == expected
        assert await catalogue.endpoint(endpoints[0].key) == endpoints[0]

    async def test_every_write_raises_the_version_by_one(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        assert await catalogue.put_endpoint(endpoint) == 1
        assert await catalogue.put_endpoint(endpoint, seen=1) == 2
        paused = catalogue.set_endpoint_state(endpoint.key, EndpointState.PAUSED, seen=2, reason=None, now=NOW)
        assert await paused == 3
        assert await catalogue.put_tenant(tenant()) == 4
        assert await catalogue.put_api_key(scene.values.api_key()) == 5
        assert (await catalogue.load()).version == 5
        together = await asyncio.gather(*(catalogue.put_endpoint(scene.values.endpoint()) for _ in range(5)))
        assert sorted(together) == [6, 7, 8, 9, 10]

    async def test_a_key_that_exists_is_replaced(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint, api_key = scene.values.endpoint(), scene.values.api_key()
        await catalogue.put_endpoint(endpoint)
        await catalogue.put_api_key(api_key)
        await catalogue.put_tenant(tenant("acme"))
        changed = replace(endpoint, url="https://example.org/", events=("*",), updated_at=NOW + 1)
        await catalogue.put_endpoint(changed, seen=1)
        await catalogue.put_api_key(replace(api_key, name="new"), seen=2)
        await catalogue.put_tenant(tenant("acme", name="New"), seen=3)
        snapshot = await catalogue.load()
        assert snapshot.endpoints == (replace(changed, revision=4),)
        assert [k.name for k in snapshot.api_keys] == ["new"]
        assert [t.name for t in snapshot.tenants] == ["New"]

    async def test_a_state_changes_alone(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        await catalogue.put_endpoint(endpoint)
        await catalogue.set_endpoint_state(endpoint.key, EndpointState.DISABLED, seen=1, reason="gone", now=NOW + 5)
        expected = replace(endpoint, state=EndpointState.DISABLED, state_reason="gone", updated_at=NOW + 5, revision=2)
        assert await catalogue.endpoint(endpoint.key) == expected
        assert (await catalogue.load()).endpoints == (expected,)

    async def test_deleted_endpoints_and_revoked_keys_are_left_out(self, stores: Stores) -> None:
        """An endpoint stays readable by its key: old deliveries name it."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        await catalogue.put_endpoint(endpoint)
        await catalogue.set_endpoint_state(endpoint.key, EndpointState.DELETED, seen=1, reason=None, now=NOW)
        await catalogue.put_api_key(scene.values.api_key(revoked_at=NOW))
        snapshot = await catalogue.load()
        assert (snapshot.version, snapshot.endpoints, snapshot.api_keys) == (3, (), ())
        found = await catalogue.endpoint(endpoint.key)
        assert found is not None
        assert found.state is EndpointState.DELETED

    async def test_endpoints_that_never_were(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.catalogue.endpoint(5) is None
        with pytest.raises(NotFound):
            await scene.store.catalogue.set_endpoint_state(5, EndpointState.PAUSED, seen=0, reason=None, now=NOW)
        assert (await scene.store.catalogue.load()).version == 0

    async def test_what_a_call_made_is_remembered(self, stores: Stores) -> None:
        """Per environment."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint, api_key = scene.values.endpoint(), scene.values.api_key()
        first = Remembered(Environment.LIVE, "k", b"\x00f", endpoint.key)
        second = Remembered(Environment.TEST, "k", b"g", api_key.key)
        await catalogue.put_endpoint(endpoint, remember=first)
        await catalogue.put_api_key(api_key, remember=second)
        assert await catalogue.recall(Environment.LIVE, "k") == first
        assert await catalogue.recall(Environment.TEST, "k") == second
        assert await catalogue.recall(Environment.LIVE, "other") is None

    async def test_of_calls_with_one_key_one_makes_something(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoints = [scene.values.endpoint() for _ in range(4)]
        results = await asyncio.gather(
            *(catalogue.put_endpoint(e, remember=Remembered(Environment.LIVE, "k", b"f", e.key)) for e in endpoints),
            return_exceptions=True,
        )
        assert sum(isinstance(result, IdempotencyConflict) for result in results) == 3
        snapshot = await catalogue.load()
        assert (snapshot.version, len(snapshot.endpoints)) == (1, 1)
        remembered = await catalogue.recall(Environment.LIVE, "k")
        assert remembered is not None
        assert remembered.ref == snapshot.endpoints[0].key

    # -- sources ----------------------------------------------------------------------------------

    async def test_sources_come_back_as_they_were(self, stores: Stores) -> None:
        """By key, deleted ones too: what they took may still wait."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        sources = (
            scene.values.source(),
            scene.values.source(environment=Environment.TEST, secrets=()),
            scene.values.source(state=SourceState.DELETED),
        )
        for source in sources:
            await catalogue.put_source(source)
        stored = tuple(replace(source, revision=n) for n, source in enumerate(sources, 1))
        assert await (await stores.open()).store.catalogue.load() == CatalogueSnapshot(3, (), (), (), stored)

    async def test_a_source_is_replaced_by_key(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        source = scene.values.source()
        assert await catalogue.put_source(source) == 1
        changed = replace(source, state=SourceState.PAUSED, token="other", updated_at=NOW + 1)  # noqa: S106 - no secret
        assert await catalogue.put_source(changed, seen=1) == 2
        assert (await catalogue.load()).sources == (replace(changed, revision=2),)

    async def test_a_token_belongs_to_one_source(self, stores: Stores) -> None:
        """Even to a deleted one: its sender may still call."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        source = scene.values.source(state=SourceState.DELETED)
        await catalogue.put_source(source)
        with pytest.raises(PosthouseError):
            await catalogue.put_source(scene.values.source(token=source.token))
        snapshot = await catalogue.load()
        assert (snapshot.version, snapshot.sources) == (1, (replace(source, revision=1),))

    async def test_what_made_a_source_is_remembered(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        sources = [scene.values.source() for _ in range(2)]
        await catalogue.put_source(sources[0], remember=Remembered(Environment.LIVE, "k", b"f", sources[0].key))
        with pytest.raises(IdempotencyConflict):
            await catalogue.put_source(sources[1], remember=Remembered(Environment.LIVE, "k", b"f", sources[1].key))
        assert (await catalogue.load()).sources == (replace(sources[0], revision=1),)
