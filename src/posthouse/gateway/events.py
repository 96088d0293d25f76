"""Events as the ledger keeps them."""

from collections import Counter

import msgspec

from posthouse.core.delivery import State
from posthouse.core.errors import Conflict, NotFound
from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.core.model import Environment
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.sources import source_of
from posthouse.store.protocol import DeliveryQuery, EventQuery, EventRecord, InboundFacet, LedgerFacet, Origin


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are meant. None: any."""

    source_id: str | None = None
    tenant: str | None = None
    type: str | None = None
    since: int | None = None
    until: int | None = None


class EventDetail(msgspec.Struct, frozen=True):
    """An event, and how many of its deliveries stand where."""

    record: EventRecord
    counts: dict[State, int]  #: every state is there
    origin: Origin | None = None  #: None: it was published


class Events:
    """Lists and shows events."""

    def __init__(self, ledger: LedgerFacet, inbound: InboundFacet, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._inbound = inbound
        self._catalogue = catalogue

    async def page(
        self, environment: Environment, wanted: EventFilter, *, after: int | None, limit: int
    ) -> list[EventRecord]:
        """Up to ``limit`` events, newest first, from the one behind the key ``after`` on.

        Raises NotFound for a source that does not exist.
        """
        source = None if wanted.source_id is None else source_of(self._catalogue, environment, wanted.source_id)
        return await self._ledger.events(
            EventQuery(
                environment=environment,
                tenant=wanted.tenant,
                source_key=None if source is None else source.key,
                type=wanted.type,
                since=wanted.since,
                until=wanted.until,
                after=after,
                limit=limit,
            )
        )

    async def find(self, environment: Environment, event_id: str, tenant: str | None = None) -> EventRecord:
        """The event with this id.

        Raises NotFound, and Conflict if several tenants use the id and ``tenant`` does not say which is meant.
        """
        found = await self._ledger.find_events(environment, event_id, tenant)
        if not found:
            raise NotFound("There is no event with this id.")
        if len(found) > 1:
            raise Conflict("Several tenants have an event with this id.", hint="Add ?tenant= to say which one.")
        return found[0]

    async def get(self, environment: Environment, event_id: str, tenant: str | None = None) -> EventDetail:
        """The event with this id, where it came from and what became of its deliveries. Raises like :meth:`find`."""
        record = await self.find(environment, event_id, tenant)
        counts: Counter[State] = Counter(dict.fromkeys(State, 0))
        after: tuple[int, int] | None = None
        while True:
            page = await self._ledger.deliveries(
                DeliveryQuery(environment=environment, event_key=record.event.key, after=after, limit=PAGE_ITEMS_MAX)
            )
            counts.update(delivery.state for delivery in page)
            if len(page) < PAGE_ITEMS_MAX:
                return EventDetail(record, dict(counts), await self._inbound.origin(record.event.key))
            after = page[-1].event_key, page[-1].endpoint_key
