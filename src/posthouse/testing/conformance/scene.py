"""A store in the hands of a test: it owns all slots and knows its epochs."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from posthouse.core.delivery import State
from posthouse.core.inbound import InboundRequest, Incident, Objection, Quarantined
from posthouse.core.model import SLOTS, Attempt, Environment, Health, Lane, Obligation, slot_of
from posthouse.store.protocol import (
    AcceptRequest,
    AcceptResult,
    Arrival,
    Backlog,
    Books,
    DeliveryQuery,
    DeliveryRecord,
    Doubt,
    EventQuery,
    EventRecord,
    InboxItem,
    InboxPage,
    IncidentQuery,
    NewEvent,
    PassedOn,
    PassResult,
    QuarantineQuery,
    ReadEvent,
    ReadRequest,
    Refill,
    RequestQuery,
    Settled,
    Settlement,
    SourceBooks,
    Store,
)
from posthouse.testing.conformance.values import NOW, SOURCE, Values, attempt, item
from posthouse.testing.seizing import seize


class Scene:
    """Shorthands around one open store."""

    def __init__(self, store: Store, node: str, epochs: dict[int, int], values: Values) -> None:
        self.store = store
        self.node = node
        self.epochs = epochs
        self.values = values

    async def accept(self, *events: NewEvent, version: int | None = None) -> AcceptResult:
        """Accept one request, by the catalogue as it is unless another version is given."""
        if version is None:
            version = (await self.store.catalogue.load()).version
        (result,) = await self.store.intake.accept([AcceptRequest(events=events, catalogue_version=version)])
        return result

    async def owe(self, endpoint_key: int, *, lane: Lane = Lane.LIVE, **fields: Any) -> Obligation:
        """Accept one event that is owed to one endpoint; what is open now."""
        new = self.values.new_event(endpoint_key, lane=lane, **fields)
        assert isinstance(await self.accept(new), tuple)
        at = new.event.accepted_at
        return Obligation(new.event.key, endpoint_key, lane, at, at)

    def outcome(
        self, obligation: Obligation, state: State = State.DELIVERED, *, attempt_: Attempt | None = None, **fields: Any
    ) -> Settlement:
        """The outcome of the next attempt; successful unless a state says otherwise."""
        number = obligation.last_number + 1
        failed = {} if state is State.DELIVERED else {"outcome": "status", "status": 500}
        given: dict[str, Any] = {
            "epoch": self.epochs[slot_of(obligation.endpoint_key)],
            "settled_at": NOW + 10,
            "due_at": NOW + 1_000,
            "reason": "attempts_spent" if state is State.EXHAUSTED else None,
        }
        return Settlement(
            obligation=obligation,
            state=state,
            attempt=attempt(number, **failed) if attempt_ is None else attempt_,
            **{**given, **fields},
        )

    async def settle(self, obligation: Obligation, state: State = State.DELIVERED, **fields: Any) -> Settled:
        """Make the outcome of the next attempt durable."""
        return await self.store.work.settle([self.outcome(obligation, state, **fields)])

    async def survey(self, slots: Collection[int] = range(SLOTS)) -> list[Backlog]:
        """Every queue with open work in these slots, in one page."""
        return await self.store.work.survey(slots, limit=1_000)

    async def health(self, slots: Collection[int] = range(SLOTS)) -> list[Health]:
        """What is known of endpoints in these slots that are not well."""
        return await self.store.work.health(slots)

    async def put_health(self, endpoint_key: int, health: Health | None) -> bool:
        """Write what is known of an endpoint, as its owner."""
        return await self.store.work.put_health(endpoint_key, health, epoch=self.epochs[slot_of(endpoint_key)])

    async def retime(self, *, after: tuple[int, int] = (0, 0), limit: int = 100) -> list[tuple[int, int]]:
        """Bring due times of all slots in line with a clock that says ``NOW``."""
        return await self.store.work.retime(range(SLOTS), now=NOW, after=after, limit=limit)

    async def queue(
        self, endpoint_key: int, lane: Lane = Lane.LIVE, *, after: tuple[int, int] | None = None, **bounds: int
    ) -> Refill:
        """The head of a queue, or what follows ``after``, with wide bounds unless some are given."""
        given = {"now": NOW, "limit": 100, "bytes_max": 1 << 20, **bounds}
        return await self.store.work.fetch(
            endpoint_key, lane, now=given["now"], limit=given["limit"], bytes_max=given["bytes_max"], after=after
        )

    async def record(self, obligation: Obligation) -> DeliveryRecord:
        """The delivery as the ledger shows it."""
        record = await self.store.ledger.delivery(obligation.event_key, obligation.endpoint_key)
        assert record is not None
        return record

    async def attempts(self, obligation: Obligation) -> list[Attempt]:
        """All attempts of the delivery."""
        return await self.store.ledger.attempts(obligation.event_key, obligation.endpoint_key)

    async def events(self, environment: Environment = Environment.LIVE, **query: Any) -> list[int]:
        """Keys of events as the ledger lists them."""
        return [record.event.key for record in await self.records(environment, **query)]

    async def records(self, environment: Environment = Environment.LIVE, **query: Any) -> list[EventRecord]:
        """Events as the ledger lists them."""
        return await self.store.ledger.events(EventQuery(environment=environment, **query))

    async def deliveries(self, environment: Environment = Environment.LIVE, **query: Any) -> list[tuple[int, int]]:
        """Event keys and endpoint keys of deliveries as the ledger lists them."""
        records = await self.store.ledger.deliveries(DeliveryQuery(environment=environment, **query))
        return [(record.event_key, record.endpoint_key) for record in records]

    async def total(self) -> Counter[str]:
        """The books over all tenants and endpoints; they must balance."""
        total: Counter[str] = Counter()
        for books in await self.store.ledger.audit(Environment.LIVE):
            total += columns(books)
        assert total["owed"] == total.total() - total["owed"], "owed is the sum of all the others"
        return total

    # -- what comes in -------------------------------------------------------------------------

    async def take(self, arrival: Arrival | None = None, **fields: Any) -> InboundRequest:
        """Keep one request."""
        arrival = arrival or self.values.arrival(**fields)
        await self.store.inbound.take([arrival])
        return arrival.request

    def reading(self, of: InboundRequest | InboxItem, *events: ReadEvent, **fields: Any) -> ReadRequest:
        """What was found in a request, or in an item of the inbox."""
        keys = 1 + sum(event.sequence is not None for event in events)
        given: dict[str, Any] = {
            "environment": Environment.LIVE,
            "tenant": "acme",
            "catalogue_version": 0,
            "incident_keys": tuple(self.values.key() for _ in range(keys)),
        }
        of = item(of) if isinstance(of, InboundRequest) else of
        return ReadRequest(item=of, events=events, **{**given, **fields})

    async def pass_on(self, *readings: ReadRequest, now: int = NOW) -> list[PassResult]:
        """Pass readings on, in one call."""
        return await self.store.inbound.pass_on(readings, now=now)

    async def bring_in(self, *events: ReadEvent, now: int = NOW, catalogue_version: int = 0, **fields: Any) -> PassedOn:
        """Keep a request that holds these events, and pass them on."""
        reading = self.reading(await self.take(**fields), *events, catalogue_version=catalogue_version)
        (result,) = await self.pass_on(reading, now=now)
        assert isinstance(result, PassedOn)
        return result

    async def doubt(self, of: InboundRequest | InboxItem, position: int, objection: Objection, **fields: Any) -> None:
        """Put a request, or an event of it, into quarantine."""
        doubts = (Doubt(position, objection, "It cannot be.", **fields),)
        (result,) = await self.pass_on(self.reading(of, doubts=doubts))
        assert isinstance(result, PassedOn)

    async def inbox(self, source_key: int = SOURCE, *, now: int = NOW, **bounds: Any) -> InboxPage:
        """The head of an inbox, with wide bounds unless some are given."""
        return await self.store.inbound.fetch(source_key, now=now, **{"limit": 100, "bytes_max": 1 << 20, **bounds})

    async def requests(self, environment: Environment = Environment.LIVE, **query: Any) -> list[int]:
        """Keys of requests as they are listed."""
        records = await self.store.inbound.requests(RequestQuery(environment=environment, **query))
        return [record.request.key for record in records]

    async def quarantine(self, environment: Environment = Environment.LIVE, **query: Any) -> list[Quarantined]:
        """Entries of the quarantine as they are listed."""
        return await self.store.inbound.quarantine(QuarantineQuery(environment=environment, **query))

    async def incidents(self, environment: Environment = Environment.LIVE, **query: Any) -> list[Incident]:
        """Incidents as they are listed."""
        return await self.store.inbound.incidents(IncidentQuery(environment=environment, **query))

    async def source_books(self) -> SourceBooks:
        """The books of the one source that has some; they must balance."""
        (books,) = await self.store.inbound.audit(Environment.LIVE)
        assert books.imbalance == 0
        assert books.received == books.waiting + books.read + books.quarantined
        return books


def columns(books: Books) -> Counter[str]:
    """The figures of one endpoint, zeros left out; ``discarded:…`` for each reason."""
    return +Counter(
        {
            "owed": books.owed,
            "delivered": books.delivered,
            "waiting": books.waiting,
            "retrying": books.retrying,
            "exhausted": books.exhausted,
            **{f"discarded:{reason}": count for reason, count in books.discarded.items()},
        }
    )


class Stores:
    """One place for a store, which a test opens, closes and opens again."""

    def __init__(self, open_store: Callable[[], Awaitable[Store]]) -> None:
        self._open_store = open_store
        self._store: Store | None = None
        self._values = Values()
        self._lives = 0

    async def open(self) -> Scene:
        """Open the store (again, if it is open) and take all slots, as a node that started anew."""
        await self.close()
        self._store = await self._open_store()
        self._lives += 1
        node = f"node-{self._lives}"
        epochs = dict((await seize(self._store.ownership, node, now=NOW)).epochs)
        return Scene(self._store, node, epochs, self._values)

    async def close(self) -> None:
        """Close the store, if it is open."""
        if self._store is not None:
            await self._store.close()
            self._store = None
