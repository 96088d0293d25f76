"""Open deliveries: finding, settling, re-opening, discarding, ordering them."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from posthouse.core.delivery import State
from posthouse.core.model import Attempt, Event, Health, Lane, Obligation
from posthouse.core.rules import Order


class Backlog(msgspec.Struct, frozen=True, gc=False):
    """There is open work for this endpoint in this lane; the head of it is the first by (due_at, event key).

    What stands behind another one of its ordering key is no work yet.
    """

    endpoint_key: int
    lane: Lane
    next_due_at: int  #: of the head
    event_key: int  #: of the head


class Work(msgspec.Struct, frozen=True, gc=False):
    """An obligation with the event that it owes."""

    obligation: Obligation
    event: Event
    newer: bool = False  #: one of a newer event of its ordering key stands behind it


class Refill(msgspec.Struct, frozen=True):
    """The head of one (endpoint, lane) queue."""

    work: tuple[Work, ...]  #: due ones, by (due_at, event key)
    more: bool  #: True: more due ones wait behind these
    next_due_at: int | None  #: when the first one that is not due yet becomes due, if any


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of one attempt, or of a rule that let none take place, to be made durable."""

    obligation: Obligation  #: as it was when the attempt started; its round and attempts guard the write
    epoch: int  #: of the endpoint's slot, as this node holds it
    attempt: Attempt | None  #: None: no request was made; ``state`` is then EXHAUSTED or DISCARDED
    state: State  #: RETRYING, DELIVERED, EXHAUSTED or DISCARDED; RETRYING also for a failed probe
    settled_at: int
    due_at: int = 0  #: of the next attempt, if RETRYING and ``spent``
    lane: Lane = Lane.RETRY  #: of the next attempt, if RETRYING and ``spent``; one that was parked meanwhile stays so
    reason: str | None = None  #: why it is EXHAUSTED or DISCARDED
    #: False: a failed probe of an endpoint that is down. The attempt is kept, but none of the round's attempts is
    #: spent: lane, due time and the count of attempts stay.
    spent: bool = True


class Settled(msgspec.Struct, frozen=True):
    """How a batch of settlements ended: positions that were refused."""

    fenced: tuple[int, ...] = ()  #: the slot has another owner or epoch: nothing was written
    superseded: tuple[int, ...] = ()  #: an operator changed the delivery meanwhile: only the attempt was written


class WorkFacet(Protocol):
    """Open deliveries: finding, settling, re-opening, discarding."""

    async def survey(self, slots: Collection[int], *, after: int | None = None, limit: int) -> list[Backlog]:
        """Every (endpoint, lane) with open work and its head, of up to ``limit`` endpoints in these slots.

        By a skip scan: costs by endpoints, not deliveries. All that is known of one endpoint stands together.
        ``after``: the endpoint that stands last in the page before; the page behind the last one is empty.
        """
        ...

    async def fetch(
        self,
        endpoint_key: int,
        lane: Lane,
        *,
        now: int,
        limit: int,
        bytes_max: int,
        after: tuple[int, int] | None = None,
    ) -> Refill:
        """The first ``limit`` due deliveries, at most ``bytes_max`` of event data (but at least one).

        None that stands behind another one of its ordering key. ``after``: only those behind this
        (due_at, event key), to go through a queue once.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write attempts and move or update obligations, all in one transaction, fenced by epoch.

        When one that has an ordering key is settled for good, the oldest (by event key) that stands behind it
        is let out in the same transaction: due, and its span opened, at ``settled_at``, in the lane that it had.
        """
        ...

    async def supersede(self, deliveries: Sequence[tuple[int, int]], *, now: int) -> list[tuple[int, int]]:
        """Discard those of these open deliveries behind which a newer one of their ordering key stands.

        Keys are (event, endpoint). Reason ``superseded``; the newest (by event key) that stands behind is let out, and
        the others behind are discarded too. One that stands behind itself, or behind which only older ones stand
        that were opened again, stays. Returns which of ``deliveries`` were discarded.
        """
        ...

    async def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
        """Make a delivery due now, from every state; None if there is none.

        An open one keeps its counts and becomes due at ``now``; a parked one leaves the parked lane for the
        backlog lane; one that stands behind another stays there. A settled one opens a new round in the backlog
        lane with all its attempts ahead of it; its history stays. If its endpoint keeps order and its event has an
        ordering key, it stands behind what is open of that key.
        """
        ...

    async def retime(
        self, slots: Collection[int], *, now: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int]]:
        """Correct due times that a clock ahead of ``now`` has set; keys of up to ``limit`` deliveries behind ``after``.

        Only those of endpoints in these slots.
        One that is not attempted in this round becomes due. One whose latest attempt lies later than ``now`` waits
        as long from ``now`` on as it was to wait after that attempt. Ascending by (event key, endpoint key).
        """
        ...

    async def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Discard an open delivery. False if it is not open. What stands behind it is let out, as by ``settle``."""
        ...

    async def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Discard up to ``limit`` open deliveries of an endpoint, first those that stand behind; how many it were."""
        ...

    async def reorder(self, endpoint_key: int, order: Order, *, now: int, limit: int) -> int:
        """Bring up to ``limit`` open deliveries of an endpoint in line with the order that it keeps from now on.

        ``Order.NONE``: nothing keeps an ordering key; what stood behind is due, and its span opened, at ``now``. Else
        each keeps its event's key, and of each key that gets one all but the oldest open one stand behind it, whose
        due time stays. Returns how many were changed; 0: all are in line. The catalogue must name the order before.
        """
        ...

    async def health(self, slots: Collection[int]) -> list[Health]:
        """Every endpoint in these slots that is not well."""
        ...

    async def put_health(self, endpoint_key: int, health: Health | None, *, epoch: int) -> bool:
        """Insert or replace what is known of an endpoint that is not well; None: it is well.

        False: the slot has another owner or epoch, and nothing was written.
        """
        ...
