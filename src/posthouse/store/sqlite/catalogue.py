"""Endpoints, sources, tenants and API keys. Reading takes one step: the database hands over one JSON document."""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core.errors import IdempotencyConflict, NotFound
from posthouse.core.inbound import Source
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Scope, Tenant
from posthouse.store.protocol import CatalogueSnapshot, Remembered
from posthouse.store.shared.catalogue import ENDPOINTS, SOURCES, TENANTS
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_ALL_API_KEYS: Final = SQL["all_api_keys"]
_ALL_ENDPOINTS: Final = SQL["all_endpoints"]
_ALL_SOURCES: Final = SQL["all_sources"]
_ALL_TENANTS: Final = SQL["all_tenants"]
_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_ONE_ENDPOINT: Final = SQL["one_endpoint"]
_PUT_API_KEY: Final = SQL["put_api_key"]
_PUT_ENDPOINT: Final = SQL["put_endpoint"]
_PUT_SOURCE: Final = SQL["put_source"]
_PUT_TENANT: Final = SQL["put_tenant"]
_RAISE_VERSION: Final = SQL["raise_catalogue_version"]
_RECALL: Final = SQL["recall"]
_REMEMBER: Final = SQL["remember"]
_SET_ENDPOINT_STATE: Final = SQL["set_endpoint_state"]


class _StoredApiKey(msgspec.Struct, frozen=True):
    """An API key as the database writes it into JSON."""

    key: int
    hash: str
    prefix: str
    environment: Environment
    scope: Scope
    name: str
    created_at: int


_API_KEYS: Final = msgspec.json.Decoder(list[_StoredApiKey])


class SqliteCatalogue:
    """The catalogue facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot; see the protocol."""
        return await self._readers.read(_load)

    async def version(self) -> int:
        """The version of the whole; see the protocol."""
        version: int = await self._readers.read(lambda connection: value_of(connection, _CATALOGUE_VERSION))
        return version

    async def put_endpoint(self, endpoint: Endpoint, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
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
        return await self._writer.submit(lambda connection: _put(connection, _PUT_ENDPOINT, values, remember))

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _ONE_ENDPOINT, (key,)))
        return ENDPOINTS.of_document(rows[0][0]) if rows else None

    async def set_endpoint_state(self, key: int, state: EndpointState, *, reason: str | None, now: int) -> int:
        """Change only the state; see the protocol.

        Raises:
            NotFound: There is no endpoint with this key.
        """
        return await self._writer.submit(lambda connection: _set_state(connection, (key, state, reason, now)))

    async def put_source(self, source: Source, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
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
        return await self._writer.submit(lambda connection: _put(connection, _PUT_SOURCE, values, remember))

    async def put_tenant(self, tenant: Tenant) -> int:
        """Insert or replace by (environment, id); see the protocol."""
        values = (tenant.environment, tenant.id, tenant.name, tenant.created_at, _json(tenant.rules))
        return await self._writer.submit(lambda connection: _put(connection, _PUT_TENANT, values, None))

    async def put_api_key(self, api_key: ApiKey, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; see the protocol.

        Raises:
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
        return await self._writer.submit(lambda connection: _put(connection, _PUT_API_KEY, values, remember))

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _RECALL, (environment, key)))
        return Remembered(environment, key, *rows[0]) if rows else None


def _load(connection: apsw.Connection) -> CatalogueSnapshot:
    stored = _API_KEYS.decode(value_of(connection, _ALL_API_KEYS))
    return CatalogueSnapshot(
        version=value_of(connection, _CATALOGUE_VERSION),
        endpoints=ENDPOINTS.all_of(value_of(connection, _ALL_ENDPOINTS)),
        tenants=TENANTS.all_of(value_of(connection, _ALL_TENANTS)),
        api_keys=tuple(
            ApiKey(
                key=k.key,
                hash=bytes.fromhex(k.hash),
                prefix=k.prefix,
                environment=k.environment,
                scope=k.scope,
                name=k.name,
                created_at=k.created_at,
            )
            for k in stored
        ),
        sources=SOURCES.all_of(value_of(connection, _ALL_SOURCES)),
    )


def _put(
    connection: apsw.Connection, statement: str, values: tuple[Any, ...], remember: Remembered | None
) -> Steps[int]:
    if remember is not None:
        place = (remember.environment, remember.key)
        connection.execute(_REMEMBER, (*place, remember.fingerprint, remember.ref))
        if rows_of(connection, _RECALL, place) != [(remember.fingerprint, remember.ref)]:
            raise IdempotencyConflict
    connection.execute(statement, values)
    yield 1
    version: int = value_of(connection, _RAISE_VERSION)
    return version


def _set_state(connection: apsw.Connection, values: tuple[Any, ...]) -> Steps[int]:
    connection.execute(_SET_ENDPOINT_STATE, values)
    if connection.changes() == 0:
        raise NotFound("There is no such endpoint.")
    yield 1
    version: int = value_of(connection, _RAISE_VERSION)
    return version


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
