"""Deliveries: what became of each event at each endpoint, why it waits, and how people step in."""

from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core.delivery import OPEN, Signal, State, step
from posthouse.core.errors import Conflict, NotFound
from posthouse.core.ids import ENDPOINT, delivery_id, parse_delivery_id, parse_id
from posthouse.core.model import Attempt, EndpointState, Environment
from posthouse.core.ports import Clock
from posthouse.core.rules import DEFAULT_RULES, DEFAULT_TENANT_RULES
from posthouse.core.waiting import Hold, Wait, Waiting, wait_of
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.endpoints import REASON_DELETED, REASON_INVALID
from posthouse.gateway.events import Events
from posthouse.gateway.hints import Hints
from posthouse.gateway.reordering import is_reordering, released
from posthouse.gateway.repeats import RecentRepeats
from posthouse.store.protocol import DeliveryQuery, DeliveryRecord, Store

REASON_CANCELLED: Final = "cancelled"


class DeliveryDetail(msgspec.Struct, frozen=True):
    """A delivery with all its attempts, and what it waits for while it is open."""

    record: DeliveryRecord
    attempts: Sequence[Attempt]
    waits_for: Wait | None


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries somebody wants to see, in the words of the outside. None: any."""

    state: State | None = None
    endpoint_id: str | None = None
    event_id: str | None = None
    tenant: str | None = None
    since: int | None = None
    until: int | None = None


class Deliveries:
    """Shows deliveries, retries and cancels them."""

    def __init__(self, store: Store, catalogue: Catalogue, hints: Hints, events: Events, clock: Clock) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hints = hints
        self._events = events
        self._clock = clock
        self._retries = RecentRepeats()

    async def page(
        self, environment: Environment, wanted: DeliveryFilter, *, after: tuple[int, int] | None, limit: int
    ) -> list[DeliveryRecord]:
        """Up to ``limit`` deliveries, newest event first, from the one behind ``after`` on.

        Raises NotFound if the endpoint or event of the filter does not exist.
        """
        endpoint_key = event_key = None
        if wanted.endpoint_id is not None:
            endpoint_key = await self._endpoint_key(environment, wanted.endpoint_id)
        if wanted.event_id is not None:
            event_key = (await self._events.find(environment, wanted.event_id, wanted.tenant)).event.key
        return await self._store.ledger.deliveries(
            DeliveryQuery(
                environment=environment,
                tenant=wanted.tenant,
                endpoint_key=endpoint_key,
                event_key=event_key,
                state=wanted.state,
                since=wanted.since,
                until=wanted.until,
                after=after,
                limit=limit,
            )
        )

    async def get(self, environment: Environment, delivery_id: str) -> DeliveryDetail:
        """One delivery with its attempts. Raises NotFound, also for one of another environment."""
        record = await self._find(environment, delivery_id)
        found = await self._store.ledger.attempts(record.event_key, record.endpoint_key)
        # One that became durable between the two reads is not counted yet, so it is not shown yet either.
        attempts = [attempt for attempt in found if attempt.number <= record.attempts]
        return DeliveryDetail(record, attempts, self.waits_for(record))

    def waits_for(self, record: DeliveryRecord) -> Wait | None:
        """What a delivery waits for, as this node knows; None if it is settled."""
        if record.state not in OPEN or record.due_at is None:
            return None
        endpoint = self._catalogue.endpoint(record.endpoint_key)
        tenant = self._catalogue.tenant(record.environment, record.tenant)
        holding = self._hints.holding(record.event_key, record.endpoint_key, record.lane)
        reordering = endpoint is not None and is_reordering(endpoint)
        endpoint = None if endpoint is None else released(endpoint)
        reason = None if endpoint is None else endpoint.state_reason
        waiting = Waiting(
            lane=record.lane,
            attempts=record.attempts,
            due_at=record.due_at,
            behind=None if record.behind_event is None else delivery_id(record.behind_event, record.endpoint_key),
            endpoint_state=EndpointState.DELETED if endpoint is None else endpoint.state,
            state_reason=reason,
            is_reordering=reordering and endpoint is not None and endpoint.state is EndpointState.ACTIVE,
            is_correctable=reason == REASON_INVALID,
            rules=DEFAULT_RULES if endpoint is None else endpoint.rules,
            tenant_rules=DEFAULT_TENANT_RULES if tenant is None else tenant.rules,
            node=None if holding is None else holding.node,
        )
        held_by = None if holding is None else Hold(holding.code)
        until = None if holding is None else holding.until
        return wait_of(waiting, held_by=held_by, until=until, now=self._clock.now_ms())

    async def retry(
        self, environment: Environment, delivery_id: str, *, idempotency_key: str | None = None
    ) -> DeliveryDetail:
        """Make the delivery due now, from every state; a settled one opens a new round.

        A repeat that the node has forgotten attempts once more; receivers know it by its webhook-id.
        Raises NotFound, IdempotencyConflict, and Conflict if the endpoint was deleted.
        """
        async with self._retries.lock(environment, idempotency_key):
            record = await self._find(environment, delivery_id)
            request = ("retry", delivery_id)
            if not self._retries.seen(environment, idempotency_key, request):
                await self._retry(record)
                self._retries.done(environment, idempotency_key, request)
        return await self.get(environment, delivery_id)

    async def cancel(self, environment: Environment, delivery_id: str) -> DeliveryDetail:
        """Discard an open delivery, so that it is attempted no more. Idempotent.

        A request that is on its way cannot be called back. Raises NotFound, and Conflict if it is settled.
        """
        record = await self._find(environment, delivery_id)
        now = self._clock.now_ms()
        if await self._store.work.discard(record.event_key, record.endpoint_key, reason=REASON_CANCELLED, now=now):
            self._hints.withdrawn(record.event_key, record.endpoint_key)
        else:
            record = await self._find(environment, delivery_id)
            if (record.state, record.reason) != (State.DISCARDED, REASON_CANCELLED):
                step(record.state, Signal.DISCARD)  # refuses: it is settled
        return await self.get(environment, delivery_id)

    async def _retry(self, record: DeliveryRecord) -> None:
        event_key, endpoint_key = record.event_key, record.endpoint_key
        if self._catalogue.endpoint(endpoint_key) is None:
            raise _endpoint_deleted()
        obligation = await self._store.work.retry(event_key, endpoint_key, now=self._clock.now_ms())
        if obligation is None:
            raise _unknown()
        if self._catalogue.endpoint(endpoint_key) is None:
            # The endpoint was deleted meanwhile; its clearing may have run before this delivery was re-opened.
            await self._store.work.discard(event_key, endpoint_key, reason=REASON_DELETED, now=self._clock.now_ms())
            raise _endpoint_deleted()
        self._hints.due(endpoint_key, obligation.lane)

    async def _find(self, environment: Environment, delivery_id: str) -> DeliveryRecord:
        keys = parse_delivery_id(delivery_id)
        record = None if keys is None else await self._store.ledger.delivery(*keys)
        if record is None or record.environment is not environment:
            raise _unknown()
        return record

    async def _endpoint_key(self, environment: Environment, endpoint_id: str) -> int:
        """The key of an endpoint, also of a deleted one: its deliveries are history."""
        key = parse_id(ENDPOINT, endpoint_id)
        endpoint = None
        if key is not None:
            endpoint = self._catalogue.endpoint(key) or await self._store.catalogue.endpoint(key)
        if endpoint is None or endpoint.environment is not environment:
            raise NotFound("There is no endpoint with this id.")
        return endpoint.key


def _unknown() -> NotFound:
    return NotFound("There is no delivery with this id.")


def _endpoint_deleted() -> Conflict:
    return Conflict(
        "The endpoint of this delivery was deleted.",
        hint="Create an endpoint for the URL and publish the event again.",
    )
