"""The seam between the gateway and whatever keeps its promise.

A store is six small facets. Every method that writes is one transaction, and it returns only after that transaction
is durable (``fsync`` included). The SQL of an engine guards (epoch, round, attempts); the rules live in
:mod:`posthouse.core`. ``now`` is always an argument: a store never asks a clock.

Errors: :class:`~posthouse.core.errors.StoreUnavailable` when durability cannot be had. After a
failed COMMIT or fsync the store is *broken*: every later write raises it too, ``failed`` is set,
and the process must restart and recover from disk, because the outcome is unknown.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from posthouse.core.delivery import State
from posthouse.core.model import (
    ApiKey,
    Attempt,
    Endpoint,
    EndpointState,
    Environment,
    Event,
    Lane,
    Obligation,
    Tenant,
)

# -- intake ---------------------------------------------------------------------------------


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One event to accept, with all that it owes."""

    event: Event
    owed: tuple[int, ...]  #: keys of the endpoints it is owed to; distinct
    lane: Lane
    #: What makes a repeat recognisable: ``("id", the publisher's event id)``,
    #: ``("key", the Idempotency-Key)``. Unique per environment, tenant and kind. Empty: never a repeat.
    identities: tuple[tuple[str, str], ...] = ()
    fingerprint: bytes = b""  #: of everything that must be equal in a repeat


class AcceptRequest(msgspec.Struct, frozen=True, gc=False):
    """What one caller sent: accepted as a whole or not at all."""

    events: tuple[NewEvent, ...]
    catalogue_version: int  #: the catalogue that it was routed by
    new_tenants: tuple[Tenant, ...] = ()  #: tenants first seen here; ignored where they exist


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """One event that is durable now."""

    key: int
    id: str
    owed: int  #: how many deliveries it owes
    duplicate: bool  #: True: it was there before; nothing was stored for it now


class StaleCatalogue(msgspec.Struct, frozen=True):
    """Nothing was stored: the catalogue moved on since the events were routed. Reload and route again."""

    version: int


class IdentityReused(msgspec.Struct, frozen=True):
    """Nothing was stored: these items (positions in the request) re-use an identity for something else."""

    positions: tuple[int, ...]


AcceptResult = tuple[Accepted, ...] | StaleCatalogue | IdentityReused


class Intake(Protocol):
    """Accepting events."""

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        """Store all requests in one transaction; results are in their order.

        Per request: the catalogue's version is compared, then every identity looked up, then the
        events and their obligations are inserted (``due_at`` and ``opened_at`` = the event's
        ``accepted_at``). Two requests of one call that share an identity count as repeats too.
        """
        ...


# -- work -----------------------------------------------------------------------------------


class Backlog(msgspec.Struct, frozen=True, gc=False):
    """There is open work for this endpoint in this lane; the head of it is the first by (due_at, event key)."""

    endpoint_key: int
    lane: Lane
    next_due_at: int  #: of the head
    event_key: int  #: of the head


class Work(msgspec.Struct, frozen=True, gc=False):
    """An obligation with the event that it owes."""

    obligation: Obligation
    event: Event


class Refill(msgspec.Struct, frozen=True):
    """The head of one (endpoint, lane) queue."""

    work: tuple[Work, ...]  #: due ones, by (due_at, event key)
    more: bool  #: True: more due ones wait behind these
    next_due_at: int | None  #: when the first one that is not due yet becomes due, if any


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of one attempt, to be made durable."""

    obligation: Obligation  #: as it was when the attempt started; its round and attempts guard the write
    epoch: int  #: of the endpoint's slot, as this node holds it
    attempt: Attempt
    state: State  #: RETRYING, DELIVERED or EXHAUSTED
    settled_at: int
    due_at: int = 0  #: of the next attempt, if RETRYING
    lane: Lane = Lane.RETRY  #: of the next attempt, if RETRYING
    reason: str | None = None  #: why it is EXHAUSTED


class Settled(msgspec.Struct, frozen=True):
    """How a batch of settlements ended: positions that were refused."""

    fenced: tuple[int, ...] = ()  #: the slot has another owner or epoch: nothing was written
    superseded: tuple[int, ...] = ()  #: an operator changed the delivery meanwhile: only the attempt was written


class WorkFacet(Protocol):
    """Open deliveries: finding, settling, re-opening, discarding."""

    async def survey(self, slots: Collection[int] | None = None) -> list[Backlog]:
        """Every (endpoint, lane) with open work and its head, by a skip scan: costs by endpoints, not deliveries."""
        ...

    async def fetch(self, endpoint_key: int, lane: Lane, *, now: int, limit: int, bytes_max: int) -> Refill:
        """The first ``limit`` due deliveries, at most ``bytes_max`` of event data (but at least one)."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write attempts and move or update obligations, all in one transaction, fenced by epoch."""
        ...

    async def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
        """Make a delivery due now, from every state; None if there is none.

        An open one keeps its counts and becomes due at ``now``. A settled one opens a new round in
        the backlog lane with all its attempts ahead of it; its history stays.
        """
        ...

    async def retime(self, *, now: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        """Correct due times that a clock ahead of ``now`` has set; keys of up to ``limit`` deliveries behind ``after``.

        One that is not attempted in this round becomes due. One whose latest attempt lies later than ``now`` waits
        as long from ``now`` on as it was to wait after that attempt. Ascending by (event key, endpoint key).
        """
        ...

    async def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Discard an open delivery. False if it is not open."""
        ...

    async def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Discard up to ``limit`` open deliveries of an endpoint; the number discarded."""
        ...


# -- catalogue ------------------------------------------------------------------------------


class CatalogueSnapshot(msgspec.Struct, frozen=True):
    """Everything that routing and authentication need, read at one version."""

    version: int
    endpoints: tuple[Endpoint, ...]  #: deleted ones left out
    tenants: tuple[Tenant, ...]
    api_keys: tuple[ApiKey, ...]  #: revoked ones left out


class Remembered(msgspec.Struct, frozen=True):
    """An Idempotency-Key of a management call: which thing it made, and from what."""

    environment: Environment
    key: str
    fingerprint: bytes
    ref: int  #: key of the thing that was made


class CatalogueFacet(Protocol):
    """Endpoints, tenants and API keys. Every write raises the catalogue's version by one."""

    async def load(self) -> CatalogueSnapshot:
        """Everything, in one snapshot."""
        ...

    async def put_endpoint(self, endpoint: Endpoint, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version."""
        ...

    async def endpoint(self, key: int) -> Endpoint | None:
        """One endpoint, deleted ones included."""
        ...

    async def set_endpoint_state(self, key: int, state: EndpointState, *, reason: str | None, now: int) -> int:
        """Change only the state (also to DELETED); the new catalogue version."""
        ...

    async def put_tenant(self, tenant: Tenant) -> int:
        """Insert or replace by (environment, id); the new catalogue version."""
        ...

    async def put_api_key(self, api_key: ApiKey, *, remember: Remembered | None = None) -> int:
        """Insert or replace by key; the new catalogue version."""
        ...

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        """What an Idempotency-Key of a management call made, if anything."""
        ...


# -- ledger ---------------------------------------------------------------------------------


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

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[Books]:
        """Recount the books from rows, in one snapshot, without any counter.

        ``owed`` comes from the events (each keeps the list of endpoints that it owes), everything
        else from obligations and history, so a row that is missing or doubled shows.
        """
        ...


# -- ownership ------------------------------------------------------------------------------


class Ownership(Protocol):
    """Slots of endpoints, leased to nodes, fenced by epochs."""

    async def acquire(self, node: str, *, now: int, lease_ms: int, dead: Collection[str] = ()) -> dict[int, int]:
        """Take every slot that is free, expired, or leased to a node known ``dead``; renew what it holds.

        ``node`` names one life of one process: after a restart it is another node. Returns slot →
        epoch of all slots that the node holds now. A slot that changes hands gets the next epoch;
        one that the node holds already keeps its epoch.
        """
        ...

    async def release(self, node: str) -> None:
        """Give up all slots at once; when their leases would have ended stays known. Idempotent."""
        ...

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Slot → (owner or None, epoch, lease end)."""
        ...


# -- admin ----------------------------------------------------------------------------------


class StoreStats(msgspec.Struct, frozen=True):
    """Cheap facts for metrics and doctor; nothing here is counted row by row."""

    bytes_used: int
    bytes_wal: int
    schema_version: int
    library: str


class AdminFacet(Protocol):
    """The store itself."""

    async def probe(self, *, now: int) -> None:
        """One real durable write. Raises StoreUnavailable."""
        ...

    async def key_floor(self) -> int:
        """The greatest key in the store: new ones must be greater."""
        ...

    async def stats(self) -> StoreStats:
        """Sizes and versions."""
        ...


class Store(Protocol):
    """A store: six facets, one life."""

    intake: Intake
    work: WorkFacet
    catalogue: CatalogueFacet
    ledger: LedgerFacet
    ownership: Ownership
    admin: AdminFacet
    #: Set when the store broke: its result is the reason. Who owns the process must end it.
    failed: asyncio.Future[str]

    async def close(self) -> None:
        """Finish what was submitted, then close. Idempotent."""
        ...
