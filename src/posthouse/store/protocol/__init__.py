"""The seam between the gateway and whatever keeps its promise.

A store is eight small facets. Every method that writes is one transaction, and it returns only after that transaction
is durable (``fsync`` included). The SQL of an engine guards (epoch, round, attempts); the rules live in
:mod:`posthouse.core`. ``now`` is always an argument: a store never asks a clock.

Errors: :class:`~posthouse.core.errors.StoreUnavailable` when durability cannot be had. After a
failed COMMIT or fsync the embedded store is *broken*: every later write raises it too, ``failed`` is set,
and the process must restart and recover from disk, because the outcome is unknown. A store in a database is
asked again: whoever lost the answer finds out by repeating, and ``when_back`` tells those who remember rows.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from posthouse.store.protocol.admin import AdminFacet, StoreStats
from posthouse.store.protocol.catalogue import (
    CatalogueChanges,
    CatalogueFacet,
    CatalogueSnapshot,
    Outdated,
    Remembered,
)
from posthouse.store.protocol.hints import Hints, HintsChannel
from posthouse.store.protocol.inbound import (
    Arrival,
    Doubt,
    Gone,
    InboundFacet,
    InboxItem,
    InboxPage,
    IncidentQuery,
    Origin,
    PassedOn,
    PassResult,
    QuarantineQuery,
    ReadEvent,
    ReadRequest,
    RequestQuery,
    RequestRecord,
    SourceBooks,
)
from posthouse.store.protocol.intake import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    IdentityReused,
    Intake,
    NewEvent,
    Overtaken,
    StaleCatalogue,
)
from posthouse.store.protocol.jobs import JobsFacet, JobStep
from posthouse.store.protocol.ledger import (
    Books,
    DeliveryQuery,
    DeliveryRecord,
    EventQuery,
    EventRecord,
    LedgerFacet,
    Waiting,
)
from posthouse.store.protocol.outbox import OutboxDoubt, OutboxRow, OutboxSource, OutboxStatus
from posthouse.store.protocol.ownership import Grant, Joining, NodeRecord, Ownership, Roll
from posthouse.store.protocol.work import Backlog, Refill, Settled, Settlement, Work, WorkFacet

__all__ = [
    "AcceptRequest",
    "AcceptResult",
    "Accepted",
    "AdminFacet",
    "Arrival",
    "Backlog",
    "Books",
    "CatalogueChanges",
    "CatalogueFacet",
    "CatalogueSnapshot",
    "DeliveryQuery",
    "DeliveryRecord",
    "Doubt",
    "EventQuery",
    "EventRecord",
    "Gone",
    "Grant",
    "Hints",
    "HintsChannel",
    "IdentityReused",
    "InboundFacet",
    "InboxItem",
    "InboxPage",
    "IncidentQuery",
    "Intake",
    "JobStep",
    "JobsFacet",
    "Joining",
    "LedgerFacet",
    "NewEvent",
    "NodeRecord",
    "Origin",
    "OutboxDoubt",
    "OutboxRow",
    "OutboxSource",
    "OutboxStatus",
    "Outdated",
    "Overtaken",
    "Ownership",
    "PassResult",
    "PassedOn",
    "QuarantineQuery",
    "ReadEvent",
    "ReadRequest",
    "Refill",
    "Remembered",
    "RequestQuery",
    "RequestRecord",
    "Roll",
    "Settled",
    "Settlement",
    "SourceBooks",
    "StaleCatalogue",
    "Store",
    "StoreStats",
    "Waiting",
    "Work",
    "WorkFacet",
]


class Store(Protocol):
    """A store: eight facets, one life."""

    intake: Intake
    inbound: InboundFacet
    work: WorkFacet
    catalogue: CatalogueFacet
    ledger: LedgerFacet
    ownership: Ownership
    jobs: JobsFacet
    admin: AdminFacet
    outbox: OutboxSource | None  #: None: applications cannot write to this engine
    hints: HintsChannel | None  #: None: nobody else can be there to be told
    #: Whether nobody else can have this store open: all other nodes on its register are dead then.
    alone: bool
    #: Set when the store broke: its result is the reason. Who owns the process must end it.
    failed: asyncio.Future[str]

    @property
    def alive(self) -> bool:
        """Whether every kind of write may succeed now."""
        ...

    def when_back(self, told: Callable[[], None]) -> None:
        """Call ``told`` each time that the way to the store was lost and is found again.

        Another server may have taken over, and rows that memory knows be gone: it must be read anew. An embedded
        store is never lost so.
        """
        ...

    async def close(self) -> None:
        """Finish what was submitted, then close. Idempotent."""
        ...
