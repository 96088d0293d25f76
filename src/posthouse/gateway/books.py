"""The books: what is owed against what became of it, and what came in, recounted from rows."""

from collections.abc import Iterable

import msgspec

from posthouse.core.model import Environment
from posthouse.store.protocol import Books as BookRow
from posthouse.store.protocol import InboundFacet, LedgerFacet, SourceBooks


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one endpoint, or of several together."""

    owed: int = 0
    delivered: int = 0
    waiting: int = 0
    retrying: int = 0
    exhausted: int = 0
    discarded: dict[str, int] = {}  #: by reason
    #: Of one endpoint: owed less all the others. Of several: the sum of their imbalances without sign,
    #: so that a missing delivery of one and a doubled one of another never hide each other.
    imbalance: int = 0


class Audit(msgspec.Struct, frozen=True):
    """The books of an environment, or of one tenant of it."""

    total: Balance
    tenants: dict[str, Balance]
    endpoints: dict[tuple[str, int], Balance]  #: by tenant and endpoint key
    sources: tuple[SourceBooks, ...] = ()  #: by key

    @property
    def imbalance(self) -> int:
        """What is missing or there twice, of deliveries and of what came in, together and without sign."""
        return self.total.imbalance + sum(abs(books.imbalance) for books in self.sources)


class Books:
    """Audits the books. It reads rows only, never a counter, so it can find what a counter cannot."""

    def __init__(self, ledger: LedgerFacet, inbound: InboundFacet | None = None) -> None:
        """Without ``inbound`` the books of sources are left out."""
        self._ledger = ledger
        self._inbound = inbound

    async def audit(self, environment: Environment, tenant: str | None = None) -> Audit:
        """Recount everything, or one tenant's part. Costs a walk over all rows."""
        rows = await self._ledger.audit(environment, tenant)
        sources = [] if self._inbound is None else await self._inbound.audit(environment, tenant)
        endpoints = {(row.tenant, row.endpoint_key): balance_of(row) for row in rows}
        by_tenant: dict[str, list[Balance]] = {}
        for (name, _), balance in sorted(endpoints.items()):
            by_tenant.setdefault(name, []).append(balance)
        return Audit(
            total=together(endpoints.values()),
            tenants={name: together(balances) for name, balances in by_tenant.items()},
            endpoints=dict(sorted(endpoints.items())),
            sources=tuple(sorted(sources, key=lambda books: books.source_key)),
        )


def balance_of(row: BookRow) -> Balance:
    """The balance of one endpoint's books."""
    accounted = row.delivered + row.waiting + row.retrying + row.exhausted + sum(row.discarded.values())
    return Balance(
        owed=row.owed,
        delivered=row.delivered,
        waiting=row.waiting,
        retrying=row.retrying,
        exhausted=row.exhausted,
        discarded=dict(row.discarded),
        imbalance=row.owed - accounted,
    )


def together(balances: Iterable[Balance]) -> Balance:
    """Several balances as one."""
    owed = delivered = waiting = retrying = exhausted = imbalance = 0
    discarded: dict[str, int] = {}
    for balance in balances:
        owed += balance.owed
        delivered += balance.delivered
        waiting += balance.waiting
        retrying += balance.retrying
        exhausted += balance.exhausted
        imbalance += abs(balance.imbalance)
        for reason, count in balance.discarded.items():
            discarded[reason] = discarded.get(reason, 0) + count
    return Balance(
        owed=owed,
        delivered=delivered,
        waiting=waiting,
        retrying=retrying,
        exhausted=exhausted,
        discarded=discarded,
        imbalance=imbalance,
    )
