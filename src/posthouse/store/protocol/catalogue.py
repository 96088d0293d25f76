"""Endpoints, sources, tenants and API keys."""

from typing import Protocol

import msgspec

from posthouse.core.errors import PosthouseError
from posthouse.core.inbound import Source
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Tenant


class CatalogueSnapshot(msgspec.Struct, frozen=True):
    """Everything that routing and authentication need, read at one version."""

    version: int
    endpoints: tuple[Endpoint, ...]  #: deleted ones left out
    tenants: tuple[Tenant, ...]
    api_keys: tuple[ApiKey, ...]  #: revoked ones left out
    sources: tuple[Source, ...] = ()  #: deleted ones too: what they took may still wait


class CatalogueChanges(msgspec.Struct, frozen=True):
    """What is not as it was at an earlier version, read at one version: each thing once, as it is now."""

    version: int
    endpoints: tuple[Endpoint, ...] = ()  #: deleted ones too
    tenants: tuple[Tenant, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()  #: revoked ones too
    sources: tuple[Source, ...] = ()  #: deleted ones too


class Outdated(PosthouseError):
    """Somebody else changed it first; nothing was written. Read the changes and decide again.

    No caller of the API ever sees it: who decides by a copy of the catalogue decides again.
    """


class Remembered(msgspec.Struct, frozen=True):
    """An Idempotency-Key of a management call: which thing it made, and from what."""

    environment: Environment
    key: str
    fingerprint: bytes
    ref: int  #: key of the thing that was made


class CatalogueFacet(Protocol):
    """Endpoints, sources, tenants and API keys. Every write raises the catalogue's version by one.

    Several nodes decide by copies. So whoever writes a thing says which ``revision`` of it was ``seen``; 0: it must be
    new. If the store has another one it raises :class:`Outdated`, and nothing was written. What is written has the new
    version as its revision, whatever revision the given thing names.
    """

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot."""
        ...

    async def changes(self, since: int) -> CatalogueChanges:
        """What was written under a greater version than ``since``, in one snapshot.

        A version that is smaller than ``since`` means that the store forgot some: what was read of it before does not
        count, and must be read anew.
        """
        ...

    async def put_endpoint(self, endpoint: Endpoint, *, seen: int = 0, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version. Raises Outdated."""
        ...

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included."""
        ...

    async def set_endpoint_state(
        self, key: int, state: EndpointState, *, seen: int, reason: str | None, now: int
    ) -> int:
        """Change only the state (also to DELETED); the new catalogue version. Raises Outdated and NotFound."""
        ...

    async def put_source(self, source: Source, *, seen: int = 0, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version. Raises Outdated."""
        ...

    async def put_tenant(self, tenant: Tenant, *, seen: int = 0) -> int:
        """Insert or replace by (environment, id); the new catalogue version. Raises Outdated."""
        ...

    async def put_api_key(
        self, api_key: ApiKey, *, seen: int = 0, version: int | None = None, remember: Remembered | None = None
    ) -> int:
        """Insert or replace by key; the new catalogue version. Raises Outdated.

        ``version``: the catalogue's version that was decided by, where the decision is about all keys and not about
        this one: whether it is the first one, or the last. Another version in the store raises Outdated too.
        """
        ...

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made, if anything."""
        ...
