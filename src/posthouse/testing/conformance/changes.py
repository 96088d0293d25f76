"""What keeps the copies of several nodes together: revisions, changes since a version, writes over what was seen."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from posthouse.core.errors import IdempotencyConflict
from posthouse.core.inbound import SourceState
from posthouse.core.model import EndpointState, Environment
from posthouse.store.protocol import (
    AcceptRequest,
    CatalogueChanges,
    CatalogueFacet,
    Outdated,
    PassedOn,
    Remembered,
    StaleCatalogue,
)
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, tenant

#: Of each kind of thing: one of it, how it is written, and where it stands among changes.
KINDS: dict[str, tuple[Callable[[Scene], Any], Callable[[CatalogueFacet], Callable[..., Awaitable[int]]]]] = {
    "endpoints": (lambda scene: scene.values.endpoint(), lambda catalogue: catalogue.put_endpoint),
    "tenants": (lambda scene: tenant(f"t{scene.values.key()}"), lambda catalogue: catalogue.put_tenant),
    "api_keys": (lambda scene: scene.values.api_key(), lambda catalogue: catalogue.put_api_key),
    "sources": (lambda scene: scene.values.source(), lambda catalogue: catalogue.put_source),
}


class TestChanges:
    """Every promise of revisions, on every kind of thing."""

    async def test_nothing_has_changed_at_first(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.catalogue.changes(0) == CatalogueChanges(0)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_what_was_written_since_is_there_once_as_it_is_now(self, stores: Stores, kind: str) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        make, put = KINDS[kind][0], KINDS[kind][1](catalogue)
        things = [make(scene) for _ in range(3)]
        for thing in things:
            await put(thing)
        assert await put(things[0], seen=1) == 4
        stored = [replace(things[0], revision=4), replace(things[1], revision=2), replace(things[2], revision=3)]
        for since in range(6):
            changes = await catalogue.changes(since)
            expected = [thing for thing in stored if thing.revision > since]
            assert changes.version == 4
            assert sorted(getattr(changes, kind), key=stored.index) == expected
            assert replace(changes, **{kind: ()}) == CatalogueChanges(4)

    async def test_what_is_gone_is_a_change_too(self, stores: Stores) -> None:
        """Copies must hear of it."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint, api_key, source = scene.values.endpoint(), scene.values.api_key(), scene.values.source()
        await catalogue.put_endpoint(endpoint)
        await catalogue.put_api_key(api_key)
        await catalogue.put_source(source)
        await catalogue.set_endpoint_state(endpoint.key, EndpointState.DELETED, seen=1, reason="r", now=NOW)
        await catalogue.put_api_key(replace(api_key, revoked_at=NOW), seen=2)
        await catalogue.put_source(replace(source, state=SourceState.DELETED), seen=3)
        changes = await catalogue.changes(3)
        deleted = replace(endpoint, state=EndpointState.DELETED, state_reason="r", updated_at=NOW, revision=4)
        assert changes == CatalogueChanges(
            6,
            endpoints=(deleted,),
            api_keys=(replace(api_key, revoked_at=NOW, revision=5),),
            sources=(replace(source, state=SourceState.DELETED, revision=6),),
        )
        assert await catalogue.endpoint(endpoint.key) == deleted

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_write_over_something_else_than_was_seen_is_refused(self, stores: Stores, kind: str) -> None:
        """So what two nodes change at once is never lost: who is second decides again."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        make, put = KINDS[kind][0], KINDS[kind][1](catalogue)
        thing = make(scene)
        with pytest.raises(Outdated):
            await put(thing, seen=1)  # it was never there
        await put(thing)
        await put(make(scene))
        await put(replace(thing, created_at=1), seen=1)
        for seen in (0, 1, 2, 4):
            with pytest.raises(Outdated):
                await put(replace(thing, created_at=2), seen=seen)
        changes = await catalogue.changes(2)
        assert changes == replace(CatalogueChanges(3), **{kind: (replace(thing, created_at=1, revision=3),)})
        assert await put(replace(thing, created_at=2), seen=3) == 4

    async def test_a_state_is_set_over_what_was_seen(self, stores: Stores) -> None:
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        await catalogue.put_endpoint(endpoint)
        await catalogue.put_endpoint(endpoint, seen=1)
        with pytest.raises(Outdated):
            await catalogue.set_endpoint_state(endpoint.key, EndpointState.PAUSED, seen=1, reason=None, now=NOW)
        assert await catalogue.endpoint(endpoint.key) == replace(endpoint, revision=2)
        assert (await catalogue.changes(2)).version == 2

    async def test_a_refused_write_remembers_nothing(self, stores: Stores) -> None:
        """Its Idempotency-Key is free for the decision that is made again."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        endpoint = scene.values.endpoint()
        await catalogue.put_endpoint(endpoint)
        remembered = Remembered(Environment.LIVE, "k", b"f", endpoint.key)
        with pytest.raises(Outdated):
            await catalogue.put_endpoint(endpoint, seen=7, remember=remembered)
        assert await catalogue.recall(Environment.LIVE, "k") is None
        assert await catalogue.put_endpoint(endpoint, seen=1, remember=remembered) == 2
        other = replace(remembered, fingerprint=b"g")
        with pytest.raises(IdempotencyConflict):
            await catalogue.put_endpoint(endpoint, seen=2, remember=other)

    async def test_an_api_key_may_be_decided_by_the_whole_catalogue(self, stores: Stores) -> None:
        """So of two nodes one makes the first key, and no two revoke the last two."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        first, second = scene.values.api_key(), scene.values.api_key()
        assert await catalogue.put_api_key(first, version=0) == 1
        with pytest.raises(Outdated):
            await catalogue.put_api_key(second, version=0)
        assert await catalogue.put_api_key(second, version=1) == 2
        await catalogue.put_api_key(replace(first, revoked_at=NOW), seen=1, version=2)
        with pytest.raises(Outdated):
            await catalogue.put_api_key(replace(second, revoked_at=NOW), seen=2, version=2)
        assert [key.key for key in (await catalogue.load()).api_keys] == [second.key]

    async def test_a_tenant_that_an_event_names_first_is_a_change(self, stores: Stores) -> None:
        """Only if it was new: everybody's copy is behind by it."""
        scene = await stores.open()
        catalogue = scene.store.catalogue
        known = tenant("known")
        await catalogue.put_tenant(known)
        for version, new in ((1, (known,)), (1, (tenant("a"), tenant("b"), known)), (2, (tenant("a"),))):
            event = scene.values.new_event()
            (result,) = await scene.store.intake.accept([AcceptRequest((event,), version, new)])
            assert isinstance(result, tuple)
        assert await scene.accept(scene.values.new_event(), version=1) == StaleCatalogue(2)
        changes = await catalogue.changes(1)
        assert changes.version == 2
        assert {(t.id, t.revision) for t in changes.tenants} == {("a", 2), ("b", 2)}

    async def test_a_tenant_that_a_request_names_first_is_a_change(self, stores: Stores) -> None:
        scene = await stores.open()
        for version, name in enumerate("aab"):
            reading = scene.reading(
                await scene.take(),
                scene.values.read_event(f"e{version}"),
                catalogue_version=min(version, 1),
                new_tenants=(tenant(name),),
            )
            (result,) = await scene.pass_on(reading)
            assert isinstance(result, PassedOn)
        changes = await scene.store.catalogue.changes(0)
        assert changes.version == 2
        assert {(t.id, t.revision) for t in changes.tenants} == {("a", 1), ("b", 2)}
