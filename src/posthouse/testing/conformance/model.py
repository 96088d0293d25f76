"""What a store is, without a store: deliveries in a dictionary.

Random histories are played to an engine and to this; whatever the engine answers must be the same.
"""

from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from posthouse.core.delivery import OPEN, State, open_state
from posthouse.core.model import Lane, Obligation
from posthouse.store.protocol import NewEvent, Settlement


@dataclass
class Delivery:
    """One event that is or was owed to one endpoint."""

    obligation: Obligation  #: as it is, or as it was when it settled
    state: State
    reason: str | None = None
    numbers: list[int] = field(default_factory=list)  #: of its attempts


class Model:
    """Deliveries by event key and endpoint key. Every method does what the protocol says of its namesake."""

    def __init__(self) -> None:
        self.deliveries: dict[tuple[int, int], Delivery] = {}
        self.events: list[int] = []

    def accept(self, new: NewEvent) -> None:
        """Take in an event with what it owes."""
        self.events.append(new.event.key)
        at = new.event.accepted_at
        for endpoint_key in new.owed:
            owed = Obligation(new.event.key, endpoint_key, new.lane, at, at)
            self.deliveries[new.event.key, endpoint_key] = Delivery(owed, State.WAITING)

    def settle(self, settlement: Settlement) -> bool:
        """Take in an outcome; False if it is superseded."""
        seen = settlement.obligation
        delivery = self.deliveries[seen.event_key, seen.endpoint_key]
        owed = delivery.obligation
        number = settlement.attempt.number
        delivery.numbers.append(number if number not in delivery.numbers else max(delivery.numbers) + 1)
        if delivery.state not in OPEN or (owed.round, owed.attempts) != (seen.round, seen.attempts):
            return False
        owed = replace(owed, attempts=owed.attempts + 1, last_number=delivery.numbers[-1])
        if settlement.state is State.RETRYING:
            owed = replace(owed, lane=settlement.lane, due_at=settlement.due_at)
        delivery.obligation, delivery.state, delivery.reason = owed, settlement.state, settlement.reason
        return True

    def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation:
        """Make a delivery due now."""
        delivery = self.deliveries[event_key, endpoint_key]
        owed = delivery.obligation
        if delivery.state in OPEN:
            delivery.obligation = replace(owed, due_at=now)
        else:
            delivery.obligation = Obligation(
                event_key, endpoint_key, Lane.BACKLOG, now, now, 0, owed.round + 1, max(delivery.numbers, default=0)
            )
            delivery.state, delivery.reason = State.WAITING, None
        return delivery.obligation

    def discard(self, event_key: int, endpoint_key: int, *, reason: str) -> bool:
        """Give up an open delivery; False if it is not open."""
        delivery = self.deliveries[event_key, endpoint_key]
        if delivery.state not in OPEN:
            return False
        delivery.state, delivery.reason = State.DISCARDED, reason
        return True

    def discard_endpoint(self, endpoint_key: int, *, reason: str, limit: int) -> int:
        """Give up open deliveries of an endpoint, those first that are due first in each lane."""
        queue = sorted(
            (o for o in self.open() if o.endpoint_key == endpoint_key), key=lambda o: (o.lane, o.due_at, o.event_key)
        )
        for owed in queue[:limit]:
            self.discard(owed.event_key, endpoint_key, reason=reason)
        return len(queue[:limit])

    # -- what a store must answer -------------------------------------------------------------------

    def open(self) -> list[Obligation]:
        """Every open delivery."""
        return [d.obligation for d in self.deliveries.values() if d.state in OPEN]

    def queue(self, endpoint_key: int, lane: Lane, *, now: int) -> list[Obligation]:
        """Due deliveries of one queue, in order."""
        due = [o for o in self.open() if (o.endpoint_key, o.lane) == (endpoint_key, lane) and o.due_at <= now]
        return sorted(due, key=lambda o: (o.due_at, o.event_key))

    def survey(self) -> dict[tuple[int, Lane], tuple[int, int]]:
        """Every queue with the due time and the event of its head."""
        found: dict[tuple[int, Lane], tuple[int, int]] = {}
        for owed in self.open():
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
