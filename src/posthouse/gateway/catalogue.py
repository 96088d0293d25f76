"""The node's in-memory catalogue: endpoints, sources, tenants and API keys, and the routes made from them."""

from collections.abc import Iterable

from posthouse.core.inbound import Source, SourceState
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Tenant
from posthouse.core.routing import Router
from posthouse.core.rules import Order
from posthouse.store.protocol import CatalogueFacet


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


class Catalogue:
    """A copy of the store's catalogue at :attr:`version`.

    Accepting compares the version inside its transaction, so a stale copy costs a repeat, never a
    wrong route. Writers apply their own change here after its commit.
    """

    def __init__(self, facet: CatalogueFacet) -> None:
        self._facet = facet
        self.version = -1
        self._endpoints: dict[int, Endpoint] = {}
        # Per tenant as well, so that a change costs that tenant's endpoints and not everybody's.
        self._by_tenant: dict[tuple[Environment, str], dict[int, Endpoint]] = {}
        self._tenants: dict[tuple[Environment, str], Tenant] = {}
        self._keys: dict[int, ApiKey] = {}
        self._keys_by_hash: dict[bytes, ApiKey] = {}
        self._sources: dict[int, Source] = {}
        self._sources_by_token: dict[str, Source] = {}
        self._routes: dict[tuple[Environment, str], Routes] = {}

    async def went_back(self) -> bool:
        """Whether the store has forgotten changes that this copy has: it is another server, which never got them."""
        return await self._facet.version() < self.version

    async def refresh(self, *, anew: bool = False) -> None:
        """Read everything from the store; ``anew``: whatever version this copy has."""
        snapshot = await self._facet.load()
        if snapshot.version < self.version and not anew:
            return
        self.version = snapshot.version
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

    def apply_endpoint(self, endpoint: Endpoint, version: int) -> None:
        """Take over an endpoint as it was just committed under ``version``."""
        of_tenant = self._by_tenant.setdefault((endpoint.environment, endpoint.tenant), {})
        if endpoint.state is EndpointState.DELETED:
            self._endpoints.pop(endpoint.key, None)
            of_tenant.pop(endpoint.key, None)
        else:
            self._endpoints[endpoint.key] = of_tenant[endpoint.key] = endpoint
        self._routes.pop((endpoint.environment, endpoint.tenant), None)
        self.version = max(self.version, version)

    def apply_source(self, source: Source, version: int) -> None:
        """Take over a source as it was just committed under ``version``."""
        before = self._sources.get(source.key)
        if before is not None:
            self._sources_by_token.pop(before.token, None)
        self._sources[source.key] = source
        if source.state is not SourceState.DELETED:
            self._sources_by_token[source.token] = source
        self.version = max(self.version, version)

    def apply_tenant(self, tenant: Tenant, version: int) -> None:
        """Take over a tenant as it was just committed under ``version``."""
        self._tenants[tenant.environment, tenant.id] = tenant
        self.version = max(self.version, version)

    def apply_api_key(self, api_key: ApiKey, version: int) -> None:
        """Take over an API key as it was just committed under ``version``."""
        if api_key.revoked_at is not None:
            self._keys.pop(api_key.key, None)
            self._keys_by_hash.pop(api_key.hash, None)
        else:
            self._keys[api_key.key] = api_key
            self._keys_by_hash[api_key.hash] = api_key
        self.version = max(self.version, version)
