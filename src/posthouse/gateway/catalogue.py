"""The node's in-memory catalogue: endpoints, sources, tenants and API keys, and the routes made from them."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from posthouse.core.inbound import Source, SourceState
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Tenant
from posthouse.core.routing import Router
from posthouse.core.rules import DEFAULT_TENANT_RULES, Order
from posthouse.store.protocol import CatalogueChanges, CatalogueFacet, CatalogueSnapshot


class Routes:
    """Where the events of one tenant go, and what its endpoints' rules say about that.

    Attributes:
        router: which endpoints take which types.
        filters: endpoint key → its filter, of those that have one.
        orders: endpoint key → the order that it keeps, of those that keep one.
        sources: endpoint key → the sources whose events it wants and no others, of those that name some.
    """

    __slots__ = ("filters", "orders", "router", "sources")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        endpoints = tuple(endpoints)
        self.router = Router({e.key: e.events for e in endpoints})
        self.filters = {e.key: e.rules.filter for e in endpoints if e.rules.filter is not None}
        self.orders = {e.key: e.rules.order for e in endpoints if e.rules.order is not Order.NONE}
        self.sources = {e.key: frozenset(e.rules.sources) for e in endpoints if e.rules.sources}

    def match(self, event_type: str, source_key: int | None) -> tuple[int, ...]:
        """Keys of the endpoints that take this type from this source (None: it is published), ascending."""
        owed = self.router.match(event_type)
        if not self.sources:
            return owed
        wanted = self.sources
        return tuple(key for key in owed if key not in wanted or source_key in wanted[key])


class DeliveryListener(Protocol):
    """Hears of endpoints and tenants that other nodes changed; the engine."""

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """This is the endpoint as it is now."""
        ...

    def tenant_changed(self, tenant: Tenant) -> None:
        """This is the tenant as it is now."""
        ...


class SourceListener(Protocol):
    """Hears of sources that other nodes changed; the inbox."""

    def source_changed(self, source: Source) -> None:
        """This is the source as it is now."""
        ...


class Catalogue:
    """A copy of the store's catalogue at :attr:`version`.

    Accepting compares the version inside its transaction, so a stale copy costs a repeat, never a
    wrong route. Writers apply their own change here after its commit; what other nodes changed is read from the store
    and told to whoever listens, as a change of this node is.

    Attributes:
        version: everything up to this version of the store's catalogue is in the copy.
        behind: set while the store is known to have another version.
    """

    def __init__(self, facet: CatalogueFacet) -> None:
        self._facet = facet
        self.version = -1
        self.behind = asyncio.Event()
        self._ahead: set[int] = set()  # later versions, each of which made one change that is in the copy already
        self._applied = 0
        self._listeners: tuple[DeliveryListener, SourceListener] | None = None
        self._reading = asyncio.Lock()
        self._asked = self._answered = 0
        self._endpoints: dict[int, Endpoint] = {}
        # Per tenant as well, so that a change costs that tenant's endpoints and not everybody's.
        self._by_tenant: dict[tuple[Environment, str], dict[int, Endpoint]] = {}
        self._tenants: dict[tuple[Environment, str], Tenant] = {}
        self._keys: dict[int, ApiKey] = {}
        self._keys_by_hash: dict[bytes, ApiKey] = {}
        self._sources: dict[int, Source] = {}
        self._sources_by_token: dict[str, Source] = {}
        self._routes: dict[tuple[Environment, str], Routes] = {}

    # -- from the store -----------------------------------------------------------------------

    def tell(self, deliveries: DeliveryListener, sources: SourceListener) -> None:
        """Let these hear of what :meth:`refresh` finds, once the copy has it."""
        self._listeners = deliveries, sources

    def heard_of(self, version: int) -> None:
        """Somebody saw this version in the store."""
        if version != self.version:
            self.behind.set()

    async def refresh(self) -> None:
        """Take over what was changed since the copy was made; the first time, everything.

        All who wait share one answer. Raises StoreUnavailable.
        """
        self._asked += 1
        mine = self._asked
        async with self._reading:
            while self._answered < mine:
                answered, applied, since = self._asked, self._applied, self.version
                if since < 0:
                    self._replace(await self._facet.load())
                else:
                    changes = await self._facet.changes(since)
                    if changes.version < since:  # a failover forgot some of what the copy was made from
                        self._start_anew(await self._facet.load())
                    elif self._applied == applied:
                        self.apply(changes)
                    else:  # a writer of this node was faster: what was read may be older than what it applied
                        continue
                self._answered = answered

    def apply(self, changes: CatalogueChanges) -> None:
        """Take over what is not as it was at :attr:`version`, and tell of it.

        What is in the copy already is passed over: whoever put it there told of it.
        """
        endpoints = [e for e in changes.endpoints if self._is_news(e)]
        tenants = [t for t in changes.tenants if self._tenants.get((t.environment, t.id)) != t]
        sources = [s for s in changes.sources if self._sources.get(s.key) != s]
        for endpoint in endpoints:
            self._put_endpoint(endpoint)
        self._tenants.update(((t.environment, t.id), t) for t in tenants)
        for source in sources:
            self._put_source(source)
        for api_key in changes.api_keys:
            self._put_api_key(api_key)
        self.version = changes.version
        self._ahead.clear()
        self._tell(endpoints, tenants, sources)

    def _is_news(self, endpoint: Endpoint) -> bool:
        known = self._endpoints.get(endpoint.key)
        return known != endpoint and not (known is None and endpoint.state is EndpointState.DELETED)

    def _start_anew(self, snapshot: CatalogueSnapshot) -> None:
        """Forget what the store forgot, and tell of all that is not as it was."""
        endpoints, tenants, sources = self._endpoints, self._tenants, self._sources
        self._replace(snapshot)
        lost = [replace(e, state=EndpointState.DELETED) for e in endpoints.values() if e.key not in self._endpoints]
        nobody = [replace(t, rules=DEFAULT_TENANT_RULES) for place, t in tenants.items() if place not in self._tenants]
        unknown = [replace(s, state=SourceState.DELETED) for s in sources.values() if s.key not in self._sources]
        self._tell(
            [*lost, *(e for e in snapshot.endpoints if endpoints.get(e.key) != e)],
            [*nobody, *(t for t in snapshot.tenants if tenants.get((t.environment, t.id)) != t)],
            [*unknown, *(s for s in snapshot.sources if sources.get(s.key) != s)],
        )

    def _replace(self, snapshot: CatalogueSnapshot) -> None:
        self.version = snapshot.version
        self._ahead.clear()
        self._endpoints = {e.key: e for e in snapshot.endpoints}
        self._by_tenant = {}
        for e in snapshot.endpoints:
            self._by_tenant.setdefault((e.environment, e.tenant), {})[e.key] = e
        self._tenants = {(t.environment, t.id): t for t in snapshot.tenants}
        self._keys = {k.key: k for k in snapshot.api_keys}
        self._keys_by_hash = {k.hash: k for k in snapshot.api_keys}
        self._sources = {s.key: s for s in snapshot.sources}
        self._sources_by_token = {s.token: s for s in snapshot.sources if s.state is not SourceState.DELETED}
        self._routes.clear()

    def _tell(self, endpoints: Iterable[Endpoint], tenants: Iterable[Tenant], sources: Iterable[Source]) -> None:
        if self._listeners is None:
            return
        deliveries, inbox = self._listeners
        for tenant in tenants:
            deliveries.tenant_changed(tenant)
        for endpoint in endpoints:
            deliveries.endpoint_changed(endpoint)
        for source in sources:
            inbox.source_changed(source)

    # -- reading ------------------------------------------------------------------------------

    def routes(self, environment: Environment, tenant: str) -> Routes:
        """Where the events of a tenant go. Held endpoints are owed events too."""
        routes = self._routes.get((environment, tenant))
        if routes is None:
            routes = Routes(self._by_tenant.get((environment, tenant), {}).values())
            self._routes[environment, tenant] = routes
        return routes

    def endpoint(self, key: int) -> Endpoint | None:
        """The endpoint with this key, unless it is deleted."""
        return self._endpoints.get(key)

    def endpoints(self, environment: Environment, tenant: str | None = None) -> list[Endpoint]:
        """All endpoints of an environment (and tenant), oldest first."""
        if tenant is not None:
            found = self._by_tenant.get((environment, tenant), {}).values()
            return sorted(found, key=lambda e: e.key)
        return sorted((e for e in self._endpoints.values() if e.environment == environment), key=lambda e: e.key)

    def every_endpoint(self) -> list[Endpoint]:
        """All endpoints of all environments, in no order."""
        return list(self._endpoints.values())

    def endpoints_of(self, environment: Environment, tenant: str) -> Iterable[Endpoint]:
        """All endpoints of a tenant, in no order."""
        return self._by_tenant.get((environment, tenant), {}).values()

    def endpoint_count(self, environment: Environment, tenant: str) -> int:
        """How many endpoints a tenant has."""
        return len(self._by_tenant.get((environment, tenant), {}))

    def tenant(self, environment: Environment, tenant_id: str) -> Tenant | None:
        """The tenant with this id."""
        return self._tenants.get((environment, tenant_id))

    def tenants(self, environment: Environment) -> list[Tenant]:
        """All tenants of an environment, by id."""
        return sorted((t for t in self._tenants.values() if t.environment == environment), key=lambda t: t.id)

    def source(self, key: int) -> Source | None:
        """The source with this key, also if it is deleted."""
        return self._sources.get(key)

    def source_by_token(self, token: str) -> Source | None:
        """The source whose URL ends in this token, unless it is deleted."""
        return self._sources_by_token.get(token)

    def sources(self, environment: Environment, tenant: str | None = None) -> list[Source]:
        """All sources of an environment (and tenant) that are not deleted, oldest first."""
        found = (s for s in self._sources_by_token.values() if s.environment == environment)
        return sorted((s for s in found if tenant is None or s.tenant == tenant), key=lambda s: s.key)

    def api_key(self, key: int) -> ApiKey | None:
        """The API key with this key, unless it is revoked."""
        return self._keys.get(key)

    def api_key_by_hash(self, digest: bytes) -> ApiKey | None:
        """The API key whose text has this SHA-256, unless it is revoked."""
        return self._keys_by_hash.get(digest)

    def api_keys(self, environment: Environment) -> list[ApiKey]:
        """All API keys of an environment, oldest first."""
        return sorted((k for k in self._keys.values() if k.environment == environment), key=lambda k: k.key)

    # -- after a commit -----------------------------------------------------------------------

    def apply_endpoint(self, endpoint: Endpoint, version: int) -> Endpoint:
        """Take over an endpoint as it was just committed under ``version``; returns it with that revision."""
        endpoint = replace(endpoint, revision=version)
        if self._is_newer(version):
            self._put_endpoint(endpoint)
        return endpoint

    def apply_source(self, source: Source, version: int) -> Source:
        """Take over a source as it was just committed under ``version``; returns it with that revision."""
        source = replace(source, revision=version)
        if self._is_newer(version):
            self._put_source(source)
        return source

    def apply_tenant(self, tenant: Tenant, version: int) -> Tenant:
        """Take over a tenant as it was just committed under ``version``; returns it with that revision."""
        tenant = replace(tenant, revision=version)
        if self._is_newer(version):
            self._tenants[tenant.environment, tenant.id] = tenant
        return tenant

    def apply_api_key(self, api_key: ApiKey, version: int) -> ApiKey:
        """Take over an API key as it was just committed under ``version``; returns it with that revision."""
        api_key = replace(api_key, revision=version)
        if self._is_newer(version):
            self._put_api_key(api_key)
        return api_key

    def named(self, tenants: Iterable[Tenant], version: int) -> None:
        """An event that was routed by ``version`` has named these, and is durable: those that were new are stored.

        The store gave them a version that nobody was told, so they stand here as they were named until it is read.
        """
        for tenant in tenants:
            self._tenants.setdefault((tenant.environment, tenant.id), tenant)
            self.heard_of(version + 1)

    def _is_newer(self, version: int) -> bool:
        """Whether the copy does not have the one change of ``version`` yet; it counts as if it had from now on.

        Of the versions between others know. The copy is not as the store was at any version then, and keeps its own.
        """
        if version <= self.version:
            self.behind.set()
            return False
        self._applied += 1
        self._ahead.add(version)
        while self.version + 1 in self._ahead:
            self.version += 1
            self._ahead.remove(self.version)
        if self._ahead:
            self.behind.set()
        return True

    def _put_endpoint(self, endpoint: Endpoint) -> None:
        of_tenant = self._by_tenant.setdefault((endpoint.environment, endpoint.tenant), {})
        if endpoint.state is EndpointState.DELETED:
            self._endpoints.pop(endpoint.key, None)
            of_tenant.pop(endpoint.key, None)
        else:
            self._endpoints[endpoint.key] = of_tenant[endpoint.key] = endpoint
        self._routes.pop((endpoint.environment, endpoint.tenant), None)

    def _put_source(self, source: Source) -> None:
        before = self._sources.get(source.key)
        if before is not None:
            self._sources_by_token.pop(before.token, None)
        self._sources[source.key] = source
        if source.state is not SourceState.DELETED:
            self._sources_by_token[source.token] = source

    def _put_api_key(self, api_key: ApiKey) -> None:
        if api_key.revoked_at is not None:
            self._keys.pop(api_key.key, None)
            self._keys_by_hash.pop(api_key.hash, None)
        else:
            self._keys[api_key.key] = api_key
            self._keys_by_hash[api_key.hash] = api_key
