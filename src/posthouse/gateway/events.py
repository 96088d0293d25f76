"""Events as the ledger keeps them."""

from collections import Counter

import msgspec

from posthouse.core.delivery import State
from posthouse.core.errors import Conflict, NotFound
from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.core.model import Environment
from posthouse.store.protocol import DeliveryQuery, EventQuery, EventRecord, InboundFacet, LedgerFacet, Origin


class EventDetail(msgspec.Struct, frozen=True):
    """An event, and how many of its deliveries stand where."""

    record: EventRecord
    counts: dict[State, int]  #: every state is there
    origin: Origin | None = None  #: None: it was published


class Events:
    """Lists and shows events."""

    def __init__(self, ledger: LedgerFacet, inbound: InboundFacet) -> None:
        self._ledger = ledger
        self._inbound = inbound

    async def page(self, query: EventQuery) -> list[EventRecord]:
        """Events, newest first."""
        return await self._ledger.events(query)

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
