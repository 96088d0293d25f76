"""The outbox: events that applications wrote in transactions of their own, until they are accepted."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from posthouse.store.protocol.intake import AcceptRequest, AcceptResult


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """A row as it was found: anybody may have written it, so nothing of it is checked."""

    n: int  #: of the table; grows in the order of insertion
    id: str
    environment: str
    tenant: str | None
    type: str
    occurred_at: int | None
    ordering_key: str | None
    data: bytes | None  #: None: it has more than an event may have
    published_at: int  #: Unix ms, by the clock of that database


class OutboxDoubt(NamedTuple):
    """Why a row cannot become an event."""

    code: str  #: stable
    why: str


class OutboxStatus(msgspec.Struct, frozen=True):
    """What stands in an outbox."""

    source: str  #: names the table for ever
    waiting: int  #: rows, counted up to ``OUTBOX_COUNTED_MAX``
    oldest_at: int | None  #: when the first of them was published, Unix ms
    doubts: int  #: rows that were put aside, counted as far


Submit = Callable[[AcceptRequest], Awaitable[AcceptResult]]

#: Makes events of rows: gets the rows in their order, and how to accept (None: as any other event). Returns why some of
#: them cannot be events. It may be called again with other rows, or the same ones: then what it did before is undone.
Deal = Callable[[Sequence[OutboxRow], Submit | None], Awaitable[Mapping[int, OutboxDoubt]]]


class OutboxSource(Protocol):
    """One outbox.

    Rows that are taken are deleted, so there is no cursor, and nothing can commit behind it. Several nodes may drain
    one: whoever holds the row in its head does, and the others find nothing meanwhile.
    """

    is_own: bool  #: It stands in the store's own database: what is accepted and what is deleted commit together.

    async def drain(self, deal: Deal, *, limit: int) -> int:
        """Take at most ``limit`` of the first rows, by ``n``, and let ``deal`` accept them; how many were taken.

        They are deleted, or put among the doubts, in one transaction. In an outbox of another database that is a
        later one than the acceptance: a crash between them lets ``deal`` see the same rows again.

        Raises:
            StoreUnavailable: One of the two databases cannot be reached; what was not taken is still there.
            ConfigurationError: It is the store's own outbox under another address.
        """
        ...

    async def status(self) -> OutboxStatus:
        """What stands in it. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Hang up. Idempotent."""
        ...
