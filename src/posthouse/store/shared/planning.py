"""What accepted events write: decided in memory, from the catalogue's version and the identities that are known.

An engine looks those up, lets a plan decide, and writes the rows in as few statements as it can.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final

from posthouse.core.model import Tenant
from posthouse.core.rules import Order
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    IdentityReused,
    NewEvent,
    Overtaken,
    StaleCatalogue,
)
from posthouse.store.shared.spans import PERIOD_BITS

SLICE_EVENTS: Final = 1_000  #: other work gets its turn at least after so many

Row = tuple[Any, ...]
#: Environment, kind, value, tenant.
Identity = tuple[str, str, str, str]
#: What an identity stands for: fingerprint, event key, event id, how many deliveries are owed.
Known = tuple[bytes, int, str, int]
#: Where events stand in order: endpoint key, ordering key.
Place = tuple[int, str]


class EventRows:
    """Events, what they owe, and their tenants.

    Args:
        newest: of places the newest event that is owed and open; those that are left out have none.
    """

    def __init__(self, newest: Mapping[Place, int] | None = None) -> None:
        self.events: list[NewEvent] = []
        self.obligations: list[Row] = []  #: event key, endpoint key, lane, due_at, opened_at
        #: Those that keep their event's ordering key, in the sequence in which they stand behind each other: as
        #: ``obligations``, then the ordering key.
        self.ordered: list[tuple[Row, Order]] = []
        self.tenants: list[Tenant] = []
        self._open = newest or {}
        self._added: dict[Place, int] = {}  # the newest event that was added of each
        self._refused: set[Place] = set()

    def overtaken(self, item: NewEvent) -> int | None:
        """The key above which an event must have its own so as to stand behind what is open; None if it has."""
        places = places_of(item)
        if not places:
            return None
        floor = max(max(self._open.get(place, 0), self._added.get(place, 0)) for place in places)
        if item.event.key > floor and self._refused.isdisjoint(places):
            return None
        return floor

    def refuse(self, items: Iterable[NewEvent]) -> None:
        """These come again later: what comes at their places meanwhile would stand ahead of them, and is overtaken."""
        for item in items:
            self._refused.update(places_of(item))

    def add(self, item: NewEvent) -> None:
        """One event with all that it owes."""
        event = item.event
        key, at, lane = event.key, event.accepted_at, item.lane
        self.events.append(item)
        if item.orders and event.ordering_key is not None:
            self._owe_in_order(item, event.ordering_key)
        else:
            obligations = self.obligations
            for endpoint_key in item.owed:
                obligations.append((key, endpoint_key, lane, at, at))

    def add_tenants(self, tenants: Iterable[Tenant]) -> None:
        """Tenants that are first seen here; those that exist stay as they are."""
        self.tenants.extend(tenants)

    def mark(self) -> tuple[int, int, int]:
        """What :meth:`take_back` goes back to."""
        return len(self.events), len(self.obligations), len(self.ordered)

    def take_back(self, mark: tuple[int, int, int]) -> None:
        """Forget the events that were added since."""
        events, obligations, ordered = mark
        del self.events[events:], self.obligations[obligations:], self.ordered[ordered:]
        self._added = {(row[1], row[5]): row[0] for row, _order in self.ordered}

    def tenant_periods(self) -> set[tuple[str, str, int]]:
        """Where to look for the events: environment, tenant, period."""
        found = ((item.event.environment.value, item.event) for item in self.events)
        return {(environment, event.tenant, event.key >> PERIOD_BITS) for environment, event in found}

    def superseding(self) -> dict[tuple[int, str], int]:
        """The endpoints and ordering keys of which only the newest stays behind, with the time it came at."""
        return {(row[1], row[5]): row[3] for row, order in self.ordered if order is Order.LATEST}

    def _owe_in_order(self, item: NewEvent, ordering_key: str) -> None:
        key, at = item.event.key, item.event.accepted_at
        for endpoint_key, order in zip(item.owed, item.orders, strict=True):
            row = (key, endpoint_key, item.lane, at, at)
            if order is Order.NONE:
                self.obligations.append(row)
            else:
                self.ordered.append(((*row, ordering_key), order))
                self._added[endpoint_key, ordering_key] = key


class AcceptPlan:
    """What becomes of requests to accept, and what they will write. A refused request leaves nothing."""

    def __init__(
        self, version: int, known: Mapping[Identity, Known], newest: Mapping[Place, int] | None = None
    ) -> None:
        """``version``: the catalogue's. ``known``: what identities stand for in the store, as far as it was asked.

        ``newest``: as of :class:`EventRows`, of all places where these requests' events are to stand.
        """
        self._version = version
        self._known = known
        self.rows = EventRows(newest)
        self.identities: dict[Identity, Known] = {}  #: those that are new, in their sequence
        self.related = False  #: whether an item repeats, or re-uses an identity of, another one of this plan
        #: For each request that was decided: how many events, obligations and ordered ones, and how many identities
        #: there were after it.
        self.ends: list[tuple[int, int, int, int]] = []

    def decide(self, requests: Sequence[AcceptRequest]) -> Generator[int, None, list[AcceptResult]]:
        """What becomes of each request; each ``yield`` is a place for other work, after so many events."""
        results: list[AcceptResult] = []
        planned = 0
        for request in requests:
            if request.catalogue_version == self._version:
                results.append(self._add(request))
            else:
                results.append(StaleCatalogue(self._version))
            self.ends.append((*self.rows.mark(), len(self.identities)))
            planned += len(request.events)
            if planned >= SLICE_EVENTS:
                yield planned
                planned = 0
        return results

    def _add(self, request: AcceptRequest) -> AcceptResult:
        """Take a request in as a whole, or refuse it as a whole."""
        add = self.rows.add
        before = self.rows.mark()
        new_identities: list[Identity] = []
        reused: list[int] = []
        accepted: list[Accepted] = []
        floor: int | None = None
        for position, item in enumerate(request.events):
            event, owed = item.event, item.owed
            if item.identities:
                repeat = self._repeat(item)
                if repeat is not None:
                    if isinstance(repeat, Accepted):
                        accepted.append(repeat)
                    else:
                        reused.append(position)
                    continue
                known = (item.fingerprint, event.key, event.id, len(owed))
                for kind, value in item.identities:
                    identity = (event.environment.value, kind, value, event.tenant)
                    self.identities[identity] = known
                    new_identities.append(identity)
            if item.orders and (overtaken := self.rows.overtaken(item)) is not None:
                floor = max(overtaken, floor or 0)
                continue
            add(item)
            accepted.append(Accepted(event.key, event.id, len(owed), False))  # noqa: FBT003 - by name it takes twice as long
        if reused or floor is not None:
            self.rows.take_back(before)
            self._forget(new_identities)
            if reused or floor is None:
                return IdentityReused(tuple(reused))
            self.rows.refuse(request.events)
            return Overtaken(floor)
        self.rows.add_tenants(request.new_tenants)
        return tuple(accepted)

    def _forget(self, identities: Sequence[Identity]) -> None:
        for identity in identities:
            self.identities.pop(identity, None)

    def _repeat(self, item: NewEvent) -> Accepted | IdentityReused | None:
        """The event that the item repeats, or None; a refusal if its identities stand for something else."""
        environment, tenant = item.event.environment.value, item.event.tenant
        found: Known | None = None
        for kind, value in item.identities:
            identity = (environment, kind, value, tenant)
            known = self.identities.get(identity)
            if known is not None:
                self.related = True
            else:
                known = self._known.get(identity)
                if known is None:
                    continue
            if known[0] != item.fingerprint or (found is not None and found[1] != known[1]):
                return IdentityReused(())
            found = known
        return None if found is None else Accepted(found[1], found[2], found[3], duplicate=True)


def places_of(item: NewEvent) -> list[Place]:
    """The endpoints that an event is to keep its order at, with its ordering key."""
    ordering_key = item.event.ordering_key
    if ordering_key is None or not item.orders:
        return []
    owed = zip(item.owed, item.orders, strict=True)
    return [(endpoint_key, ordering_key) for endpoint_key, order in owed if order is not Order.NONE]


def orders_of(events: Iterable[NewEvent]) -> tuple[Place, ...]:
    """All places of :func:`places_of`, each once, in their sequence."""
    return tuple({place: None for item in events if item.orders for place in places_of(item)})


def identities_of(requests: Iterable[AcceptRequest]) -> set[Identity]:
    """All identities that the events of these requests have."""
    return {
        (item.event.environment.value, kind, value, item.event.tenant)
        for request in requests
        for item in request.events
        for kind, value in item.identities
    }
