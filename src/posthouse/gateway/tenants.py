"""Tenants: customers whose endpoints and events belong together."""

from typing import Final

from posthouse.core.errors import Conflict, InvalidInput, NotFound
from posthouse.core.limits import NAME_CHARS_MAX
from posthouse.core.model import Environment, Tenant
from posthouse.core.ports import Clock
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.publish import check_tenant_id
from posthouse.gateway.repeats import KeyedLocks
from posthouse.store.protocol import CatalogueFacet

_NAME_HINT: Final = "Use a name that people recognise, such as 'Acme Inc.'."


class Tenants:
    """Creates, lists and finds tenants. A tenant's id makes a repeated creation recognisable."""

    def __init__(self, facet: CatalogueFacet, catalogue: Catalogue, clock: Clock) -> None:
        self._facet = facet
        self._catalogue = catalogue
        self._clock = clock
        self._locks = KeyedLocks()

    async def create(self, environment: Environment, tenant_id: str, name: str | None = None) -> Tenant:
        """The tenant with this id, made if it is new.

        Raises InvalidInput, and Conflict if the tenant exists under another name.
        """
        check_tenant_id(tenant_id)
        wanted = tenant_id if name is None else check_name(name)
        tenant = await self.ensure(environment, tenant_id, name=wanted)
        if name is not None and tenant.name != name:
            raise Conflict(f"The tenant exists, with the name '{tenant.name}'.", hint="Use another id.")
        return tenant

    async def ensure(self, environment: Environment, tenant_id: str, *, name: str | None = None) -> Tenant:
        """The tenant with this id; a new one is stored, named ``name`` or else like its id."""
        async with self._locks.of((environment, tenant_id)):
            tenant = self._catalogue.tenant(environment, tenant_id)
            if tenant is None:
                tenant = Tenant(
                    environment=environment, id=tenant_id, name=name or tenant_id, created_at=self._clock.now_ms()
                )
                self._catalogue.apply_tenant(tenant, await self._facet.put_tenant(tenant))
            return tenant

    def get(self, environment: Environment, tenant_id: str) -> Tenant:
        """The tenant with this id. Raises NotFound."""
        tenant = self._catalogue.tenant(environment, tenant_id)
        if tenant is None:
            raise NotFound("There is no tenant with this id.")
        return tenant

    def page(self, environment: Environment, *, after: str | None, limit: int) -> list[Tenant]:
        """Up to ``limit`` tenants, by id, from the one behind ``after`` on."""
        found = self._catalogue.tenants(environment)
        return [tenant for tenant in found if after is None or tenant.id > after][:limit]


def check_name(text: str, path: str = "name") -> str:
    """``text`` if it may be a name that people read; raises InvalidInput."""
    if not 1 <= len(text) <= NAME_CHARS_MAX or not text.isprintable():
        raise InvalidInput.at(
            path, "invalid", f"A name has 1 to {NAME_CHARS_MAX} printable characters.", hint=_NAME_HINT
        )
    return text
