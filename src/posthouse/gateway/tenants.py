"""Tenants: customers whose endpoints and events belong together, and the rules that hold for all of these."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from posthouse.core import limits
from posthouse.core.errors import Conflict, InvalidInput, NotFound
from posthouse.core.model import Environment, Tenant
from posthouse.core.ports import Clock
from posthouse.core.publishing import check_tenant_id
from posthouse.core.rate import parse_rate
from posthouse.core.rules import DEFAULT_TENANT_RULES, TenantRules
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import decided
from posthouse.gateway.faults import Faults, between
from posthouse.gateway.hints import Hints
from posthouse.gateway.repeats import KeyedLocks
from posthouse.store.protocol import CatalogueFacet

_NAME_HINT: Final = "Use a name that people recognise, such as 'Acme Inc.'."


class TenantChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change about a tenant; unset fields stay, and None takes a rule away."""

    name: str | UnsetType = UNSET
    weight: int | UnsetType | None = UNSET
    rate: str | UnsetType | None = UNSET
    in_flight_max: int | UnsetType | None = UNSET
    fresh_seconds: int | UnsetType | None = UNSET


class Tenants:
    """Creates, changes, lists and finds tenants. A tenant's id makes a repeated creation recognisable."""

    def __init__(self, facet: CatalogueFacet, catalogue: Catalogue, hints: Hints, clock: Clock) -> None:
        self._facet = facet
        self._catalogue = catalogue
        self._hints = hints
        self._clock = clock
        self._locks = KeyedLocks()

    async def create(
        self,
        environment: Environment,
        tenant_id: str,
        name: str | None = None,
        rules: TenantRules = DEFAULT_TENANT_RULES,
    ) -> Tenant:
        """The tenant with this id, made if it is new.

        Raises InvalidInput, and Conflict if the tenant exists under another name or with other rules.
        """
        check_tenant_id(tenant_id)
        wanted = tenant_id if name is None else check_name(name)
        rules = checked_rules(rules)
        tenant = await self.ensure(environment, tenant_id, name=wanted, rules=rules)
        if name is not None and tenant.name != name:
            raise Conflict(f"The tenant exists, with the name '{tenant.name}'.", hint="Use another id.")
        if rules not in {DEFAULT_TENANT_RULES, tenant.rules}:
            raise Conflict("The tenant exists, with other rules.", hint="Change it with PATCH instead.")
        return tenant

    async def ensure(
        self,
        environment: Environment,
        tenant_id: str,
        *,
        name: str | None = None,
        rules: TenantRules = DEFAULT_TENANT_RULES,
    ) -> Tenant:
        """The tenant with this id; a new one is stored, named ``name`` or else like its id, with valid ``rules``."""

        async def decide() -> Tenant:
            tenant = self._catalogue.tenant(environment, tenant_id)
            if tenant is not None:
                return tenant
            new = Tenant(
                environment=environment,
                id=tenant_id,
                name=name or tenant_id,
                created_at=self._clock.now_ms(),
                rules=rules,
            )
            return await self._put(new)

        async with self._locks.of((environment, tenant_id)):
            return await decided(self._catalogue, decide)

    async def update(self, environment: Environment, tenant_id: str, change: TenantChange) -> Tenant:
        """Change name and rules of a tenant. Raises NotFound and InvalidInput."""

        async def decide() -> Tenant:
            tenant = self.get(environment, tenant_id)
            rules = checked_rules(_changed(tenant.rules, change))
            name = tenant.name if isinstance(change.name, UnsetType) else check_name(change.name)
            changed = msgspec.structs.replace(tenant, name=name, rules=rules)
            return tenant if changed == tenant else await self._put(changed)

        async with self._locks.of((environment, tenant_id)):
            return await decided(self._catalogue, decide)

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

    async def _put(self, tenant: Tenant) -> Tenant:
        version = await self._facet.put_tenant(tenant, seen=tenant.revision)
        tenant = self._catalogue.apply_tenant(tenant, version)
        self._hints.tenant_changed(tenant)
        return tenant


def check_name(text: str, path: str = "name") -> str:
    """``text`` if it may be a name that people read; raises InvalidInput."""
    if not 1 <= len(text) <= limits.NAME_CHARS_MAX or not text.isprintable():
        raise InvalidInput.at(
            path, "invalid", f"A name has 1 to {limits.NAME_CHARS_MAX} printable characters.", hint=_NAME_HINT
        )
    return text


def checked_rules(rules: TenantRules) -> TenantRules:
    """``rules`` as they are stored. Raises InvalidInput, which names every fault."""
    faults = Faults()
    faults.check("weight", between(1, limits.TENANT_WEIGHT_MAX, "parts"), rules.weight)
    if rules.rate is not None:
        faults.check("rate", parse_rate, rules.rate)
    if rules.in_flight_max is not None:
        faults.check("in_flight_max", between(1, limits.IN_FLIGHT_MAX, "requests"), rules.in_flight_max)
    if rules.fresh_seconds is not None:
        faults.check("fresh_seconds", between(1, limits.FRESH_SECONDS_MAX, "seconds"), rules.fresh_seconds)
    faults.raise_if_any()
    return rules if rules.rate is None else msgspec.structs.replace(rules, rate=parse_rate(rules.rate).text)


def _changed(rules: TenantRules, change: TenantChange) -> TenantRules:
    """The rules after ``change``, unchecked."""
    wanted = {}
    for name, default in zip(TenantRules.__struct_fields__, TenantRules.__struct_defaults__, strict=True):
        value = getattr(change, name)
        if value is not UNSET:
            wanted[name] = default if value is None else value
    return msgspec.structs.replace(rules, **wanted)
