"""What a store is, without a store: deliveries in a dictionary.

Random histories are played to an engine and to this; whatever the engine answers must be the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from posthouse.core.delivery import OPEN, State, open_state
from posthouse.core.model import Lane, Obligation
from posthouse.core.rules import SUPERSEDED, Order
from posthouse.store.protocol import NewEvent, Settlement


@dataclass
class Delivery:
    """One event that is or was owed to one endpoint."""

    obligation: Obligation  #: as it is, or as it was when it settled
    state: State
    reason: str | None = None
    numbers: list[int] = field(default_factory=list)  #: of its attempts
    behind: bool = False  #: another one of its endpoint and ordering key is to be settled first


class Model:
    """Deliveries by event key and endpoint key. Every method does what the protocol says of its namesake."""

    def __init__(self) -> None:
        self.deliveries: dict[tuple[int, int], Delivery] = {}
        self.events: dict[int, str | None] = {}  #: ordering key of each event
        self.orders: dict[int, Order] = {}  #: what the catalogue says of endpoints; those that keep none may be missing

    def accept(self, new: NewEvent) -> None:
        """Take in an event with what it owes."""
        event = new.event
        self.events[event.key] = event.ordering_key
        at = event.accepted_at
        orders = new.orders or (Order.NONE,) * len(new.owed)
        for endpoint_key, order in zip(new.owed, orders, strict=True):
            ordering_key = None if order is Order.NONE else event.ordering_key
            owed = Obligation(event.key, endpoint_key, new.lane, at, at, ordering_key=ordering_key)
            self._open(Delivery(owed, State.WAITING))
            if order is Order.LATEST and ordering_key is not None:
                for older in self._behind(endpoint_key, ordering_key)[:-1]:
                    self._close(older, State.DISCARDED, SUPERSEDED, now=at)

    def settle(self, settlement: Settlement) -> bool:
        """Take in an outcome; False if it is superseded."""
        seen, attempt = settlement.obligation, settlement.attempt
        delivery = self.deliveries[seen.event_key, seen.endpoint_key]
        owed = delivery.obligation
        if attempt is not None:
            taken = attempt.number in delivery.numbers
            delivery.numbers.append(max(delivery.numbers) + 1 if taken else attempt.number)
        if delivery.state not in OPEN or (owed.round, owed.attempts) != (seen.round, seen.attempts):
            return False
        if attempt is not None:
            owed = replace(owed, last_number=delivery.numbers[-1], attempts=owed.attempts + settlement.spent)
        if settlement.state is State.RETRYING and settlement.spent:
            lane = owed.lane if owed.lane is Lane.PARKED else settlement.lane
            owed = replace(owed, lane=lane, due_at=settlement.due_at)
        delivery.obligation = owed
        if settlement.state is not State.RETRYING:
            self._close(delivery, settlement.state, settlement.reason, now=settlement.settled_at)
        return True

    def supersede(self, deliveries: Sequence[tuple[int, int]], *, now: int) -> list[tuple[int, int]]:
        """Give up those ahead of a newer one, and what stands between them."""
        found = []
        for place in deliveries:
            delivery = self.deliveries[place]
            key = delivery.obligation.ordering_key
            if delivery.state not in OPEN or delivery.behind or key is None:
                continue
            behind = self._behind(place[1], key)
            if behind and behind[-1].obligation.event_key > place[0]:
                for older in (*behind[:-1], delivery):
                    self._close(older, State.DISCARDED, SUPERSEDED, now=now)
                found.append(place)
        return found

    def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation:
        """Make a delivery due now."""
        delivery = self.deliveries[event_key, endpoint_key]
        owed = delivery.obligation
        if delivery.state in OPEN:
            lane = Lane.BACKLOG if owed.lane is Lane.PARKED else owed.lane
            delivery.obligation = replace(owed, due_at=now, lane=lane)
        else:
            kept = self.orders.get(endpoint_key, Order.NONE) is not Order.NONE
            number = max(delivery.numbers, default=0)
            owed = Obligation(event_key, endpoint_key, Lane.BACKLOG, now, now, 0, owed.round + 1, number)
            owed = replace(owed, ordering_key=self.events[event_key] if kept else None)
            self._open(Delivery(owed, State.WAITING, numbers=delivery.numbers))
        return self.deliveries[event_key, endpoint_key].obligation

    def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Give up an open delivery; False if it is not open."""
        delivery = self.deliveries[event_key, endpoint_key]
        if delivery.state not in OPEN:
            return False
        self._close(delivery, State.DISCARDED, reason, now=now)
        return True

    def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Give up open deliveries of an endpoint: what stands behind first, else those that are first in each lane."""
        found = [d for d in self._of(endpoint_key) if d.behind]
        found.sort(key=lambda d: (str(d.obligation.ordering_key), d.obligation.event_key))
        ahead = [d for d in self._of(endpoint_key) if not d.behind]
        found += sorted(ahead, key=lambda d: (d.obligation.lane, d.obligation.due_at, d.obligation.event_key))
        for delivery in found[:limit]:
            self._close(delivery, State.DISCARDED, reason, now=now)
        return len(found[:limit])

    def reorder(self, endpoint_key: int, order: Order, *, now: int) -> int:
        """Bring all open deliveries of an endpoint in line; how many were not."""
        if order is Order.NONE:
            changed = [d for d in self._of(endpoint_key) if d.obligation.ordering_key is not None]
            for delivery in changed:
                times = {"due_at": now, "opened_at": now} if delivery.behind else {}
                delivery.obligation = replace(delivery.obligation, ordering_key=None, **times)
                delivery.behind = False
            return len(changed)
        changed = [
            d
            for d in self._of(endpoint_key)
            if d.obligation.ordering_key is None and self.events[d.obligation.event_key] is not None
        ]
        for delivery in changed:
            key = self.events[delivery.obligation.event_key]
            delivery.obligation = replace(delivery.obligation, ordering_key=key)
        for key in {d.obligation.ordering_key for d in changed}:
            alike = [d for d in self._of(endpoint_key) if d.obligation.ordering_key == key]
            oldest = min(d.obligation.event_key for d in alike)
            for delivery in alike:
                delivery.behind = delivery.obligation.event_key != oldest
        return len(changed)

    def _of(self, endpoint_key: int) -> list[Delivery]:
        """The open deliveries of an endpoint, by event."""
        found = [d for (_, key), d in self.deliveries.items() if key == endpoint_key and d.state in OPEN]
        return sorted(found, key=lambda d: d.obligation.event_key)

    def _behind(self, endpoint_key: int, ordering_key: str) -> list[Delivery]:
        return [d for d in self._of(endpoint_key) if d.behind and d.obligation.ordering_key == ordering_key]

    def _open(self, delivery: Delivery) -> None:
        owed = delivery.obligation
        delivery.behind = owed.ordering_key is not None and any(
            d.obligation.ordering_key == owed.ordering_key for d in self._of(owed.endpoint_key)
        )
        self.deliveries[owed.event_key, owed.endpoint_key] = delivery

    def _close(self, delivery: Delivery, state: State, reason: str | None, *, now: int) -> None:
        """Settle for good; the oldest behind it comes next."""
        delivery.state, delivery.reason = state, reason
        owed = delivery.obligation
        if not delivery.behind and owed.ordering_key is not None:
            for oldest in self._behind(owed.endpoint_key, owed.ordering_key)[:1]:
                oldest.obligation = replace(oldest.obligation, due_at=now, opened_at=now)
                oldest.behind = False
        delivery.behind = False

    # -- what a store must answer -------------------------------------------------------------------

    def open(self) -> list[Obligation]:
        """Every open delivery."""
        return [d.obligation for d in self.deliveries.values() if d.state in OPEN]

    def queue(self, endpoint_key: int, lane: Lane, *, now: int) -> list[Obligation]:
        """Due deliveries of one queue, in order; none that stands behind another one."""
        due = [d.obligation for d in self._of(endpoint_key) if not d.behind]
        due = [o for o in due if o.lane == lane and o.due_at <= now]
        return sorted(due, key=lambda o: (o.due_at, o.event_key))

    def newer(self, owed: Obligation) -> bool:
        """Whether a newer one of its ordering key stands behind this one."""
        key = owed.ordering_key
        behind = [] if key is None else self._behind(owed.endpoint_key, key)
        return any(d.obligation.event_key > owed.event_key for d in behind)

    def survey(self) -> dict[tuple[int, Lane], tuple[int, int]]:
        """Every queue that is work, with the due time and the event of its head."""
        found: dict[tuple[int, Lane], tuple[int, int]] = {}
        for delivery in self.deliveries.values():
            owed = delivery.obligation
            if delivery.state in OPEN and not delivery.behind and owed.lane is not Lane.PARKED:
                place, turn = (owed.endpoint_key, owed.lane), (owed.due_at, owed.event_key)
                found[place] = min(found.get(place, turn), turn)
        return found

    def books(self) -> dict[int, Counter[str]]:
        """The books of every endpoint, as :func:`posthouse.testing.conformance.scene.columns` shows them."""
        books: dict[int, Counter[str]] = {}
        for (_event_key, endpoint_key), delivery in self.deliveries.items():
            state = delivery.state
            column = f"discarded:{delivery.reason}" if state is State.DISCARDED else self.state_of(delivery).value
            books.setdefault(endpoint_key, Counter()).update(("owed", column))
        return books

    @staticmethod
    def state_of(delivery: Delivery) -> State:
        """Its state; of an open one as its attempts say."""
        return open_state(delivery.obligation.attempts) if delivery.state in OPEN else delivery.state
