"""Several nodes in one process: each has a seat at one open store, and hears what the others tell."""

import asyncio
from collections.abc import Callable

from posthouse.store.protocol import (
    AdminFacet,
    CatalogueFacet,
    Hints,
    HintsChannel,
    InboundFacet,
    Intake,
    JobsFacet,
    LedgerFacet,
    OutboxSource,
    Ownership,
    Store,
    WorkFacet,
)


class Seat:
    """Implements :class:`posthouse.store.protocol.Store`: a store that other nodes have open as well.

    Attributes:
        deaf: lose what the others tell.
        told: what this node told, in order.
    """

    intake: Intake
    inbound: InboundFacet
    work: WorkFacet
    catalogue: CatalogueFacet
    ledger: LedgerFacet
    ownership: Ownership
    jobs: JobsFacet
    admin: AdminFacet
    outbox: OutboxSource | None
    hints: HintsChannel | None
    failed: "asyncio.Future[str]"

    def __init__(self, store: Store, seats: "list[Seat]") -> None:
        self._store = store
        self._seats = seats
        self._hear: Callable[[Hints], None] = lambda _: None
        self.intake, self.inbound, self.work, self.catalogue = store.intake, store.inbound, store.work, store.catalogue
        self.ledger, self.ownership, self.jobs, self.admin = store.ledger, store.ownership, store.jobs, store.admin
        self.outbox, self.failed = store.outbox, store.failed
        self.hints = self
        self.alone = False
        self.alive = True
        self.deaf = False
        self.told: list[Hints] = []
        seats.append(self)

    def when_back(self, told: Callable[[], None]) -> None:
        """The store is never lost."""

    def tell(self, hints: Hints) -> None:
        """Let the others hear it in the next turn of the loop."""
        self.told.append(hints)
        for seat in self._seats:
            if seat is not self:
                asyncio.get_running_loop().call_soon(seat.listen, hints)

    def when_told(self, told: Callable[[Hints], None]) -> None:
        """Call ``told`` with what the others tell."""
        self._hear = told

    def listen(self, hints: Hints) -> None:
        """Hear what another one tells, unless this one is deaf."""
        if not self.deaf:
            self._hear(hints)

    async def close(self) -> None:
        """Hear nothing more. The last one closes the store. Idempotent."""
        if self in self._seats:
            self._seats.remove(self)
            if not self._seats:
                await self._store.close()
