"""Where an event goes: from a checked event to one that the store can take, with all that it owes."""

from posthouse.core.limits import FRESH_SECONDS_DEFAULT
from posthouse.core.model import Environment, Event, Lane, Obligation, Tenant
from posthouse.core.rules import Order
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.selection import Selection
from posthouse.store.protocol import NewEvent, Work


class EventRouter:
    """Routes events by the catalogue in memory.

    Args:
        catalogue: whose endpoints are asked.
        fresh_seconds: an older event starts in the backlog lane, where nobody has a rule of its own.
    """

    def __init__(self, catalogue: Catalogue, *, fresh_seconds: int = FRESH_SECONDS_DEFAULT) -> None:
        self._catalogue = catalogue
        self._fresh_seconds = fresh_seconds

    def lane(
        self, environment: Environment, tenant_id: str, *, age_ms: int | None, fresh_seconds: int | None = None
    ) -> Lane:
        """Where deliveries of an event of this age start; None: nobody said when it occurred, so it is fresh.

        ``fresh_seconds``: a rule that goes before the tenant's.
        """
        if age_ms is None:
            return Lane.LIVE
        if fresh_seconds is None:
            tenant = self._catalogue.tenant(environment, tenant_id)
            fresh_seconds = None if tenant is None else tenant.rules.fresh_seconds
        fresh_ms = (self._fresh_seconds if fresh_seconds is None else fresh_seconds) * 1_000
        return Lane.BACKLOG if age_ms > fresh_ms else Lane.LIVE

    def route(
        self,
        event: Event,
        lane: Lane,
        selection: Selection,
        *,
        source_key: int | None = None,
        identities: tuple[tuple[str, str], ...] = (),
        fingerprint: bytes = b"",
    ) -> NewEvent:
        """The event with the endpoints that it is owed to. ``selection`` is shared by the events of one request."""
        routes = self._catalogue.routes(event.environment, event.tenant)
        owed = routes.match(event.type, source_key)
        if routes.filters:
            owed = selection.wanted(event, owed, routes.filters)
        orders: tuple[Order, ...] = ()
        if event.ordering_key is not None and routes.orders:
            orders = tuple(routes.orders.get(key, Order.NONE) for key in owed)
        return NewEvent(event, owed, lane, identities, fingerprint, orders)

    def new_tenant(self, event: Event) -> Tenant | None:
        """The tenant of an event, if nobody has heard of it yet."""
        if self._catalogue.tenant(event.environment, event.tenant) is not None:
            return None
        return Tenant(environment=event.environment, id=event.tenant, name=event.tenant, created_at=event.accepted_at)


def owed_by(new: NewEvent) -> list[Work]:
    """What an event that was just stored owes, as the engine's windows hold it."""
    event = new.event
    at = event.accepted_at
    return [Work(Obligation(event.key, endpoint_key, new.lane, at, at), event) for endpoint_key in new.owed]
