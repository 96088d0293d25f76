"""Endpoints, sources, tenants and API keys."""

from typing import Protocol

import msgspec

from posthouse.core.inbound import Source
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Tenant


class CatalogueSnapshot(msgspec.Struct, frozen=True):
    """Everything that routing and authentication need, read at one version."""

    version: int
    endpoints: tuple[Endpoint, ...]  #: deleted ones left out
    tenants: tuple[Tenant, ...]
    api_keys: tuple[ApiKey, ...]  #: revoked ones left out
    sources: tuple[Source, ...] = ()  #: deleted ones too: what they took may still wait


class Remembered(msgspec.Struct, frozen=True):
    """An Idempotency-Key of a management call: which thing it made, and from what."""

    environment: Environment
    key: str
    fingerprint: bytes
    ref: int  #: key of the thing that was made


class CatalogueFacet(Protocol):
    """Endpoints, sources, tenants and API keys. Every write raises the catalogue's version by one."""

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot."""
        ...

    async def version(self) -> int:
        """The version that :meth:`load` would give."""
        ...

    async def put_endpoint(self, endpoint: Endpoint, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version."""
        ...

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included."""
        ...

    async def set_endpoint_state(self, key: int, state: EndpointState, *, reason: str | None, now: int) -> int:
        """Change only the state (also to DELETED); the new catalogue version."""
        ...

    async def put_source(self, source: Source, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version."""
        ...

    async def put_tenant(self, tenant: Tenant) -> int:
        """Insert or replace by (environment, id); the new catalogue version."""
        ...

    async def put_api_key(self, api_key: ApiKey, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version."""
        ...

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made, if anything."""
        ...
