"""Accepting events."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from posthouse.core.model import Event, Lane, Tenant
from posthouse.core.rules import Order


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One event to accept, with all that it owes."""

    event: Event
    owed: tuple[int, ...]  #: keys of the endpoints it is owed to; distinct
    lane: Lane
    #: What makes a repeat recognisable: ``("id", the publisher's event id)``,
    #: ``("key", the Idempotency-Key)``. Unique per environment, tenant and kind. Empty: never a repeat.
    identities: tuple[tuple[str, str], ...] = ()
    fingerprint: bytes = b""  #: of everything that must be equal in a repeat
    #: What order each endpoint of ``owed`` keeps, in the same sequence; empty if none keeps any, or the event
    #: has no ordering key.
    orders: tuple[Order, ...] = ()


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


class Overtaken(msgspec.Struct, frozen=True):
    """Nothing was stored: what is open stands behind an older key than it would have. Make keys above ``floor``.

    Order is by event keys. Those of two nodes follow their clocks, and not the sequence in which events are accepted.
    """

    floor: int


AcceptResult = tuple[Accepted, ...] | StaleCatalogue | IdentityReused | Overtaken


class Intake(Protocol):
    """Accepting events."""

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        """Store all requests in one transaction; results are in their order.

        Per request: the catalogue's version is compared, then every identity looked up, then the
        events and their obligations are inserted (``due_at`` and ``opened_at`` = the event's
        ``accepted_at``). Two requests of one call that share an identity count as repeats too. Tenants that are new
        raise the catalogue's version, once for each transaction.

        Where the endpoint keeps order (``orders``), the obligation keeps the ordering key and stands *behind* if
        another one of that endpoint and key is open. An event whose key is not greater than those of all that are open
        there is :class:`Overtaken`, and so is what comes later in the call with that endpoint and ordering key. With
        ``Order.LATEST`` only the newest (by event key) of those that stand behind stays: the others are discarded in
        the same transaction (reason ``superseded``, at the event's ``accepted_at``). The one that is not behind stays
        too, because it may be on its way.
        """
        ...
