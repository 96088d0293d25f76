"""What a node knows of each tenant that it works for: its weight, its cap, its rate."""

from collections.abc import Callable, Collection
from typing import Final

from posthouse.core.model import Environment, Tenant
from posthouse.core.rate import Bucket, parse_rate
from posthouse.core.shares import WHOLE, Share, cap_of, rate_of
from posthouse.engine.wakes import NEVER
from posthouse.gateway.catalogue import Catalogue

#: What of a tenant is this node's.
ShareOf = Callable[[Environment, str], Share]

_FORGET_AT: Final = 10_000  # with so many tenants those without work are looked for


class TenantDesk:
    """One tenant. Identity is by object: there is one for each tenant that has work."""

    __slots__ = ("cap", "desks", "in_flight", "is_limited", "key", "pace", "wake_at", "weight")

    def __init__(self, key: tuple[Environment, str]) -> None:
        self.key = key
        self.weight = 1
        self.cap = 0  #: requests on their way at once; 0: no cap
        self.pace: Bucket | None = None  #: None: no rate
        self.is_limited = False  #: it has a cap or a rate
        self.in_flight = 0
        self.desks = 0  #: endpoints of it that the node works for
        self.wake_at = NEVER

    def use(self, tenant: Tenant | None, *, cap: int, now: float, share_of: ShareOf) -> None:
        """Work with this node's part of its rules as they are now; ``cap`` is the node's own."""
        rules = None if tenant is None else tenant.rules
        self.weight = 1 if rules is None else rules.weight
        cap = cap if rules is None or rules.in_flight_max is None else rules.in_flight_max
        rate = None if rules is None else rules.rate
        self.is_limited = cap > 0 or rate is not None
        share = share_of(*self.key) if self.is_limited else WHOLE
        self.cap = cap_of(cap, share)
        if rate is None:
            self.pace = None
            return
        per_second = rate_of(parse_rate(rate).per_second, share)
        if self.pace is None:
            self.pace = Bucket(per_second, now=now)
            if share.taken_at is not None:
                self.pace.used(share.taken_at)
        elif self.pace.per_second != per_second:
            self.pace.change(per_second, now=now)

    @property
    def is_at_cap(self) -> bool:
        """Whether all else of the tenant has to wait until one of its requests comes back."""
        return 0 < self.cap <= self.in_flight


class TenantDesks:
    """The tenants of a node, made when they are first worked for."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        in_flight_per_tenant: int,
        monotonic: Callable[[], float],
        share_of: ShareOf = lambda *_: WHOLE,
    ) -> None:
        """``in_flight_per_tenant``: the cap of a tenant that has none of its own; 0: none."""
        self._share_of = share_of
        self._catalogue = catalogue
        self._cap = in_flight_per_tenant
        self._monotonic = monotonic
        self._desks: dict[tuple[Environment, str], TenantDesk] = {}
        self._forget_at = _FORGET_AT

    def of(self, environment: Environment, tenant_id: str) -> TenantDesk:
        """The desk of a tenant, made if need be."""
        key = (environment, tenant_id)
        desk = self._desks.get(key)
        if desk is None:
            if len(self._desks) >= self._forget_at:
                self._forget_idle()
            desk = self._desks[key] = TenantDesk(key)
            self._use(desk, self._catalogue.tenant(environment, tenant_id))
        return desk

    def change(self, tenant: Tenant) -> TenantDesk | None:
        """Take over changed rules; the desk, if there is one."""
        desk = self._desks.get((tenant.environment, tenant.id))
        if desk is not None:
            self._use(desk, tenant)
        return desk

    def share_anew(self, only: Collection[tuple[Environment, str]] | None = None) -> list[TenantDesk]:
        """This node's part of all tenants, or ``only`` of these, is another one; the desks of those with a bound."""
        keys = self._desks.keys() if only is None else only
        found = (self._desks.get(key) for key in keys)
        limited = [desk for desk in found if desk is not None and desk.is_limited]
        for desk in limited:
            self._use(desk, self._catalogue.tenant(*desk.key))
        return limited

    def _use(self, desk: TenantDesk, tenant: Tenant | None) -> None:
        desk.use(tenant, cap=self._cap, now=self._monotonic(), share_of=self._share_of)

    def _forget_idle(self) -> None:
        """Forget those without endpoints that are worked for; their rates have nothing to remember by then."""
        self._desks = {key: desk for key, desk in self._desks.items() if desk.desks or desk.wake_at < NEVER}
        self._forget_at = max(_FORGET_AT, 2 * len(self._desks))
