"""The feed: all events in the order in which their transactions were committed, read by whoever asks.

A *position* names the transaction that it stands in and the first event of it. So it proves itself: where that
transaction is not in the store, the position is of another store, or of a time that a failover or a restore took back.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from posthouse.core.model import Environment, Event


class FeedPosition(msgspec.Struct, frozen=True, order=True):
    """Behind which event somebody is. Positions are in the order of the feed."""

    place: int = 0  #: of a transaction; later ones have greater places
    first_key: int = 0  #: of its events
    taken: int = 0  #: how many of its events lie before the position


FEED_START = FeedPosition()  #: before everything


class FeedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted."""

    environment: Environment
    tenant: str | None = None  #: None: of all tenants
    types: tuple[str, ...] = ("*",)  #: patterns, as endpoints have them


class FeedEvent(msgspec.Struct, frozen=True):
    """An event and the position behind it."""

    event: Event
    position: FeedPosition


class FeedPage(msgspec.Struct, frozen=True):
    """What follows a position."""

    events: tuple[FeedEvent, ...]
    position: FeedPosition  #: behind all that was looked at, wanted or not
    is_end: bool  #: nothing more can be read now


class Lost(StrEnum):
    """Why a position cannot be read on from."""

    EXPIRED = "expired"  #: events behind it are not kept any more
    UNKNOWN = "unknown"  #: it is of another store, or of what a failover or a restore took back


class FeedGone(msgspec.Struct, frozen=True):
    """A position that cannot be read on from, and where to go on."""

    reason: Lost
    fresh: FeedPosition  #: everything that is kept and may not have been seen lies behind it
    since: int  #: Unix ms: what was accepted from here on
    until: int  #: to here is missing, or (before ``since``) comes again


class FeedLag(msgspec.Struct, frozen=True):
    """How far behind a position is."""

    events: int  #: wanted ones behind it, counted up to a bound
    is_exact: bool  #: that bound was not reached
    oldest_at: int | None  #: Unix ms: when the first of them was accepted


class FeedConsumer(msgspec.Struct, frozen=True):
    """A name with the position that it acknowledged."""

    environment: Environment
    name: str
    position: FeedPosition
    created_at: int
    acknowledged_at: int


class FeedBehind(msgspec.Struct, frozen=True):
    """An acknowledgement that would move a consumer back, which nobody asked for."""

    position: FeedPosition  #: where it is


class TooManyConsumers(msgspec.Struct, frozen=True):
    """The environment has as many consumers as it may."""


FeedAck = FeedConsumer | FeedBehind | FeedGone | TooManyConsumers


class FeedFacet(Protocol):
    """Events in commit order, without gaps: no event is ever found before a position that was handed out."""

    async def read(self, query: FeedQuery, position: FeedPosition | None, *, limit: int) -> FeedPage | FeedGone:
        """Up to ``limit`` wanted events behind a position; None: from the first event that is kept.

        A page may be empty although there is more: how many events are looked at is bounded. An event is on no page
        before every transaction that stands ahead of its own has ended.
        """
        ...

    async def start(self) -> FeedPosition:
        """The position ahead of the first event that is kept."""
        ...

    async def end(self) -> FeedPosition:
        """The position behind everything that can be read now."""
        ...

    async def lag(self, query: FeedQuery, position: FeedPosition) -> FeedLag | FeedGone:
        """How many wanted events follow a position."""
        ...

    async def consumers(self, environment: Environment) -> list[FeedConsumer]:
        """All consumers, by name."""
        ...

    async def consumer(self, environment: Environment, name: str) -> FeedConsumer | None:
        """The consumer of that name."""
        ...

    async def acknowledge(
        self, environment: Environment, name: str, position: FeedPosition, *, now: int, back: bool = False
    ) -> FeedAck:
        """From now on the consumer is at ``position``; the first time it is made. ``back``: also if it was further."""
        ...

    async def remove(self, environment: Environment, name: str) -> bool:
        """Forget a consumer; whether there was one."""
        ...

    async def forget(self, *, before: int, limit: int) -> int:
        """Let go of up to ``limit`` transactions, the first ones, whose events were all accepted before a time.

        Call it before such events are dropped. A position ahead of what was let go is expired from then on. The last
        transaction stays always. Returns how many were let go: fewer than ``limit``, and there are no more.
        """
        ...
