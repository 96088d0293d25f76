"""Endpoints, sources, tenants and API keys. Who changes one holds all rows of the version: changes are in turn."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from posthouse.core.errors import IdempotencyConflict, NotFound
from posthouse.core.inbound import Source
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Scope, Tenant
from posthouse.store.postgres.binding import storable
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import CatalogueChanges, CatalogueSnapshot, Outdated, Remembered
from posthouse.store.shared.catalogue import ENDPOINTS, SOURCES, TENANTS

T = TypeVar("T")

_PAGE_ROWS: Final = 1_000  #: made into things at once: others wait meanwhile
_ALONE: Final = Guards(catalogue=True)


class _Put(msgspec.Struct, frozen=True):
    """A thing to write: the statement that does it, and the one that asks which revision of it is there."""

    write: str
    values: tuple[Any, ...]  #: of its columns, but for the last one, its revision
    revision_of: str
    place: tuple[Any, ...]  #: what it is known by
    seen: int
    remember: Remembered | None = None
    version: int | None = None  #: the catalogue's, if it must stand still


class PostgresCatalogue:
    """The catalogue facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lanes = lanes
        self._readers = readers

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot; see the protocol."""
        return await self._readers.snapshot(_load)

    async def changes(self, since: int) -> CatalogueChanges:
        """What was written under a greater version; see the protocol."""
        ((version,),) = await self._readers.quick("catalogue_version")  # mostly nothing was: then this is all
        if version == since:
            return CatalogueChanges(since)
        return await self._readers.snapshot(lambda t: _changes(t, since))

    async def put_endpoint(self, endpoint: Endpoint, *, seen: int = 0, remember: Remembered | None = None) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
            Outdated: Another revision is there.
            IdempotencyConflict: ``remember`` names a key that stands for another thing by now.
        """
        values = (
            endpoint.key,
            endpoint.environment,
            endpoint.tenant,
            endpoint.url,
            _json(endpoint.events),
            endpoint.state,
            _told(endpoint.state_reason),
            storable(endpoint.description),
            _json(endpoint.headers),
            _json(endpoint.secrets),
            endpoint.retry,
            endpoint.connect_timeout_ms,
            endpoint.timeout_ms,
            endpoint.created_at,
            endpoint.updated_at,
            _json(endpoint.rules),
        )
        return await self._put(_Put("put_endpoint", values, "endpoint_revision", (endpoint.key,), seen, remember))

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included; see the protocol."""
        rows = await self._readers.quick("one_endpoint", key)
        return ENDPOINTS.of_columns(dict(rows[0])) if rows else None

    async def set_endpoint_state(
        self, key: int, state: EndpointState, *, seen: int, reason: str | None, now: int
    ) -> int:
        """Change only the state; see the protocol.

        Raises:
            NotFound: There is no endpoint with this key.
            Outdated: Another revision is there.
        """

        async def change(t: Transaction) -> int:
            stored = await t.rows("endpoint_revision", key)
            if not stored:
                raise NotFound("There is no such endpoint.")
            if stored[0]["revision"] != seen:
                raise Outdated
            version = await raise_version(t)
            await t.count("set_endpoint_state", key, state, _told(reason), now, version)
            return version

        return await self._lanes.misc.transact(change, _ALONE)

    async def put_source(self, source: Source, *, seen: int = 0, remember: Remembered | None = None) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
            Outdated: Another revision is there.
            IdempotencyConflict: ``remember`` names a key that stands for another thing by now.
        """
        values = (
            source.key,
            source.environment,
            source.tenant,
            storable(source.name),
            source.provider,
            source.token,
            _json(source.secrets),
            source.state,
            storable(source.description),
            source.created_at,
            source.updated_at,
            _json(source.rules),
        )
        return await self._put(_Put("put_source", values, "source_revision", (source.key,), seen, remember))

    async def put_tenant(self, tenant: Tenant, *, seen: int = 0) -> int:
        """Insert or replace by (environment, id); see the protocol.

        Raises:
            Outdated: Another revision is there.
        """
        values = (tenant.environment, tenant.id, storable(tenant.name), tenant.created_at, _json(tenant.rules))
        return await self._put(_Put("put_tenant", values, "tenant_revision", values[:2], seen))

    async def put_api_key(
        self, api_key: ApiKey, *, seen: int = 0, version: int | None = None, remember: Remembered | None = None
    ) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
            Outdated: Another revision is there, or the catalogue has another version.
            IdempotencyConflict: ``remember`` names a key that stands for another thing by now.
        """
        values = (
            api_key.key,
            api_key.hash,
            api_key.prefix,
            api_key.environment,
            api_key.scope,
            storable(api_key.name),
            api_key.created_at,
            api_key.revoked_at,
        )
        place = (api_key.key,)
        return await self._put(_Put("put_api_key", values, "api_key_revision", place, seen, remember, version))

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made; see the protocol.

        Whoever asks takes the answer for an acknowledgement: what is found is told only when it is as safe as one.
        """
        if storable(key) != key or not await self._readers.quick("recall", environment, key):
            return None
        rows = await self._lanes.misc.single("recall_for_good", environment, key)
        return Remembered(environment, key, *rows[0]) if rows else None

    async def _put(self, put: _Put) -> int:
        async def write(t: Transaction) -> int:
            await keep_in_mind(t, put.remember)
            if put.version is not None and put.version != t.version:
                raise Outdated
            stored = await t.rows(put.revision_of, *put.place)
            if put.seen != (stored[0]["revision"] if stored else 0):
                raise Outdated
            version = await raise_version(t)
            await t.count(put.write, *put.values, version)
            return version

        return await self._lanes.misc.transact(write, _ALONE)


async def keep_in_mind(t: Transaction, remember: Remembered | None) -> None:
    """Note what an Idempotency-Key makes, in the transaction that makes it.

    Raises:
        IdempotencyConflict: The key stands for another thing by now.
    """
    if remember is None:
        return
    place = (remember.environment, remember.key)
    await t.count("remember", *place, remember.fingerprint, remember.ref)
    # Looked at in a statement of its own, which sees what the one before has waited for.
    (stored,) = await t.rows("recall", *place)
    if tuple(stored) != (remember.fingerprint, remember.ref):
        raise IdempotencyConflict


async def raise_version(t: Transaction) -> int:
    """One more change of the catalogue, all rows of which are held; the new version."""
    version: int = max(row["version"] for row in await t.rows("raise_catalogue_version"))
    return version


async def _load(t: Transaction) -> CatalogueSnapshot:
    (version,) = await t.rows("catalogue_version")
    return CatalogueSnapshot(
        version=version["version"],
        endpoints=await _all(t, "some_endpoints", ENDPOINTS.of_columns, ("key",), (-1,)),
        tenants=await _all(t, "some_tenants", TENANTS.of_columns, ("environment", "id"), ("", "")),
        api_keys=await _all(t, "some_api_keys", _api_key, ("key",), (-1,)),
        sources=await _all(t, "some_sources", SOURCES.of_columns, ("key",), (-1,)),
    )


async def _changes(t: Transaction, since: int) -> CatalogueChanges:
    (version,) = await t.rows("catalogue_version")
    place = ("revision", "key")
    named = ("revision", "environment", "id")
    return CatalogueChanges(
        version=version["version"],
        endpoints=await _all(t, "changed_endpoints", ENDPOINTS.of_columns, place, (since + 1, -1)),
        tenants=await _all(t, "changed_tenants", TENANTS.of_columns, named, (since + 1, "", "")),
        api_keys=await _all(t, "changed_api_keys", _api_key, place, (since + 1, -1)),
        sources=await _all(t, "changed_sources", SOURCES.of_columns, place, (since + 1, -1)),
    )


async def _all(
    t: Transaction,
    name: str,
    made: Callable[[dict[str, Any]], T],
    place_of: tuple[str, ...],
    place: tuple[Any, ...],
) -> tuple[T, ...]:
    """All things that a statement gives part by part, each behind the place of the last one."""
    things: list[T] = []
    while rows := await t.rows(name, *place, _PAGE_ROWS):
        things += (made(dict(row)) for row in rows)
        place = tuple(rows[-1][column] for column in place_of)
        if len(rows) < _PAGE_ROWS:
            break
    return tuple(things)


def _api_key(values: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**values, "environment": Environment(values["environment"]), "scope": Scope(values["scope"])})


def _told(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
