"""Reading what happened."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from posthouse.core.delivery import State
from posthouse.core.model import Attempt, Environment, Event, Lane


class EventRecord(msgspec.Struct, frozen=True):
    """An event as the ledger shows it."""

    event: Event
    owed: int


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as the ledger shows it: open, or the latest round of a settled one."""

    event_key: int
    endpoint_key: int
    event_id: str
    event_type: str
    environment: Environment
    tenant: str
    state: State
    lane: Lane
    round: int
    attempts: int  #: over all rounds
    opened_at: int
    due_at: int | None  #: of the next attempt, if open
    settled_at: int | None
    reason: str | None
    last_outcome: str | None  #: of the latest attempt
    last_status: int | None
    behind_event: int | None = None  #: key of the event of its ordering key that is to be settled first, if open


class DeliveryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list, newest event first. None: any."""

    environment: Environment
    tenant: str | None = None
    endpoint_key: int | None = None
    event_key: int | None = None
    state: State | None = None
    since: int | None = None  #: event accepted at or after
    until: int | None = None  #: event accepted before
    after: tuple[int, int] | None = None  #: (event key, endpoint key) of the last one seen
    limit: int = 50


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list, newest first. None: any."""

    environment: Environment
    tenant: str | None = None
    source_key: int | None = None  #: those that came in through it
    type: str | None = None
    since: int | None = None
    until: int | None = None
    after: int | None = None  #: key of the last one seen
    limit: int = 50


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one endpoint (or of events that owe nothing to a known one), recounted from rows."""

    environment: Environment
    tenant: str
    endpoint_key: int
    owed: int
    delivered: int = 0
    waiting: int = 0
    retrying: int = 0
    exhausted: int = 0
    discarded: Mapping[str, int] = {}  #: by reason


class Waiting(msgspec.Struct, frozen=True):
    """How many open deliveries an endpoint has, by the lane that they wait in."""

    endpoint_key: int
    live: int
    retry: int
    backlog: int
    parked: int
    behind: int  #: in no queue: each stands behind another one of its ordering key


class LedgerFacet(Protocol):
    """Reading what happened. Never blocks writing."""

    async def events(self, query: EventQuery) -> list[EventRecord]:
        """Events, newest first."""
        ...

    async def find_events(self, environment: Environment, event_id: str, tenant: str | None) -> list[EventRecord]:
        """The events with this public id: more than one only if tenants share a publisher's id."""
        ...

    async def deliveries(self, query: DeliveryQuery) -> list[DeliveryRecord]:
        """Deliveries, newest event first, then by endpoint key downwards."""
        ...

    async def delivery(self, event_key: int, endpoint_key: int) -> DeliveryRecord | None:
        """One delivery, or None."""
        ...

    async def attempts(self, event_key: int, endpoint_key: int) -> list[Attempt]:
        """All attempts of a delivery, by number."""
        ...

    async def waiting(self, *, after: int, until: int | None = None, limit: int) -> list[Waiting]:
        """What waits for up to ``limit`` endpoints, of those that have some, with keys in after < key ≤ until; by key.

        Costs a walk over the open deliveries of these endpoints, in an index.
        """
        ...

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[Books]:
        """Recount the books from rows, in one snapshot, without any counter.

        ``owed`` comes from the events (each keeps the list of endpoints that it owes), everything
        else from obligations and history, so a row that is missing or doubled shows.
        """
        ...
