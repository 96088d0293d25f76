"""Endpoints, sources, tenants and API keys. Reading takes one step: the database hands over one JSON document."""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core.errors import IdempotencyConflict, NotFound
from posthouse.core.inbound import Source
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Scope, Tenant
from posthouse.store.protocol import CatalogueChanges, CatalogueSnapshot, Outdated, Remembered
from posthouse.store.shared.catalogue import ENDPOINTS, SOURCES, TENANTS
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_ALL_API_KEYS: Final = SQL["all_api_keys"]
_API_KEY_REVISION: Final = SQL["api_key_revision"]
_ALL_ENDPOINTS: Final = SQL["all_endpoints"]
_ALL_SOURCES: Final = SQL["all_sources"]
_ALL_TENANTS: Final = SQL["all_tenants"]
_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_CHANGED_API_KEYS: Final = SQL["changed_api_keys"]
_CHANGED_ENDPOINTS: Final = SQL["changed_endpoints"]
_CHANGED_SOURCES: Final = SQL["changed_sources"]
_CHANGED_TENANTS: Final = SQL["changed_tenants"]
_ENDPOINT_REVISION: Final = SQL["endpoint_revision"]
_ONE_ENDPOINT: Final = SQL["one_endpoint"]
_PUT_API_KEY: Final = SQL["put_api_key"]
_PUT_ENDPOINT: Final = SQL["put_endpoint"]
_PUT_SOURCE: Final = SQL["put_source"]
_PUT_TENANT: Final = SQL["put_tenant"]
_RAISE_VERSION: Final = SQL["raise_catalogue_version"]
_RECALL: Final = SQL["recall"]
_REMEMBER: Final = SQL["remember"]
_SET_ENDPOINT_STATE: Final = SQL["set_endpoint_state"]
_SOURCE_REVISION: Final = SQL["source_revision"]
_TENANT_REVISION: Final = SQL["tenant_revision"]


class _StoredApiKey(msgspec.Struct, frozen=True):
    """An API key as the database writes it into JSON."""

    key: int
    hash: str
    prefix: str
    environment: Environment
    scope: Scope
    name: str
    created_at: int
    revoked_at: int | None
    revision: int


class _Put(msgspec.Struct, frozen=True):
    """A thing to write: the statement that does it, and the one that asks which revision of it is there."""

    write: str
    values: tuple[Any, ...]  #: of its columns, but for the last one, its revision
    revision_of: str
    place: tuple[Any, ...]  #: what it is known by
    seen: int
    remember: Remembered | None = None
    version: int | None = None  #: the catalogue's, if it must stand still


_API_KEYS: Final = msgspec.json.Decoder(list[_StoredApiKey])


class SqliteCatalogue:
    """The catalogue facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot; see the protocol."""
        return await self._readers.read(_load)

    async def changes(self, since: int) -> CatalogueChanges:
        """What was written under a greater version; see the protocol."""
        return await self._readers.read(lambda connection: _changes(connection, since))

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
            endpoint.state_reason,
            endpoint.description,
            _json(endpoint.headers),
            _json(endpoint.secrets),
            endpoint.retry,
            endpoint.connect_timeout_ms,
            endpoint.timeout_ms,
            endpoint.created_at,
            endpoint.updated_at,
            _json(endpoint.rules),
        )
        return await self._put(_Put(_PUT_ENDPOINT, values, _ENDPOINT_REVISION, (endpoint.key,), seen, remember))

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _ONE_ENDPOINT, (key,)))
        return ENDPOINTS.of_document(rows[0][0]) if rows else None

    async def set_endpoint_state(
        self, key: int, state: EndpointState, *, seen: int, reason: str | None, now: int
    ) -> int:
        """Change only the state; see the protocol.

        Raises:
            NotFound: There is no endpoint with this key.
            Outdated: Another revision is there.
        """
        return await self._writer.submit(lambda connection: _set_state(connection, (key, state, reason, now), seen))

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
            source.name,
            source.provider,
            source.token,
            _json(source.secrets),
            source.state,
            source.description,
            source.created_at,
            source.updated_at,
            _json(source.rules),
        )
        return await self._put(_Put(_PUT_SOURCE, values, _SOURCE_REVISION, (source.key,), seen, remember))

    async def put_tenant(self, tenant: Tenant, *, seen: int = 0) -> int:
        """Insert or replace by (environment, id); see the protocol.

        Raises:
            Outdated: Another revision is there.
        """
        values = (tenant.environment, tenant.id, tenant.name, tenant.created_at, _json(tenant.rules))
        return await self._put(_Put(_PUT_TENANT, values, _TENANT_REVISION, values[:2], seen))

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
            api_key.name,
            api_key.created_at,
            api_key.revoked_at,
        )
        place = (api_key.key,)
        return await self._put(_Put(_PUT_API_KEY, values, _API_KEY_REVISION, place, seen, remember, version))

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _RECALL, (environment, key)))
        return Remembered(environment, key, *rows[0]) if rows else None

    async def _put(self, put: _Put) -> int:
        return await self._writer.submit(lambda connection: _written(connection, put))


def _load(connection: apsw.Connection) -> CatalogueSnapshot:
    return CatalogueSnapshot(
        version=value_of(connection, _CATALOGUE_VERSION),
        endpoints=ENDPOINTS.all_of(value_of(connection, _ALL_ENDPOINTS)),
        tenants=TENANTS.all_of(value_of(connection, _ALL_TENANTS)),
        api_keys=_api_keys(value_of(connection, _ALL_API_KEYS)),
        sources=SOURCES.all_of(value_of(connection, _ALL_SOURCES)),
    )


def _changes(connection: apsw.Connection, since: int) -> CatalogueChanges:
    version: int = value_of(connection, _CATALOGUE_VERSION)
    if version == since:
        return CatalogueChanges(version)
    return CatalogueChanges(
        version=version,
        endpoints=ENDPOINTS.all_of(value_of(connection, _CHANGED_ENDPOINTS, (since,))),
        tenants=TENANTS.all_of(value_of(connection, _CHANGED_TENANTS, (since,))),
        api_keys=_api_keys(value_of(connection, _CHANGED_API_KEYS, (since,))),
        sources=SOURCES.all_of(value_of(connection, _CHANGED_SOURCES, (since,))),
    )


def _api_keys(document: str) -> tuple[ApiKey, ...]:
    stored = _API_KEYS.decode(document)
    return tuple(ApiKey(**{**msgspec.structs.asdict(k), "hash": bytes.fromhex(k.hash)}) for k in stored)


def _written(connection: apsw.Connection, put: _Put) -> Steps[int]:
    if put.remember is not None:
        place = (put.remember.environment, put.remember.key)
        connection.execute(_REMEMBER, (*place, put.remember.fingerprint, put.remember.ref))
        if rows_of(connection, _RECALL, place) != [(put.remember.fingerprint, put.remember.ref)]:
            raise IdempotencyConflict
    if put.version is not None and value_of(connection, _CATALOGUE_VERSION) != put.version:
        raise Outdated
    _compare(put.seen, rows_of(connection, put.revision_of, put.place))
    version: int = value_of(connection, _RAISE_VERSION)
    connection.execute(put.write, (*put.values, version))
    yield 1
    return version


def _set_state(connection: apsw.Connection, values: tuple[Any, ...], seen: int) -> Steps[int]:
    stored = rows_of(connection, _ENDPOINT_REVISION, values[:1])
    if not stored:
        raise NotFound("There is no such endpoint.")
    _compare(seen, stored)
    version: int = value_of(connection, _RAISE_VERSION)
    connection.execute(_SET_ENDPOINT_STATE, (*values, version))
    yield 1
    return version


def _compare(seen: int, stored: list[tuple[int]]) -> None:
    """Raises Outdated if another revision of a thing is there than the one that was seen; 0: there is none."""
    if seen != (stored[0][0] if stored else 0):
        raise Outdated


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
