"""Open deliveries as the engine asks for them.

How they change is in ``settling``, ``reopening``, ``discarding`` and ``ordering``.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from posthouse.core.model import Environment, Event, Health, Lane, Obligation, slot_of
from posthouse.core.rules import Order
from posthouse.store.postgres import discarding, ordering, reopening
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.lane import Lanes, Turn
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.settling import settle
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import Backlog, Refill, Settled, Settlement, Work
from posthouse.store.shared.gathering import Gatherer

_FRONT: Final = (-1, 0)  # before everything in a queue

_BEFORE_ALL: Final = -1  # less than any key
_EVENTS_MAX: Final = 64  # read in one statement: so bytes beyond the bound are few
_DISCARDS_MAX: Final = 1_000  # given up in one transaction
#: Looking a member up here costs a tenth of calling the enum.
_ENVIRONMENTS: Final = {member.value: member for member in Environment}
_HEALTH_COLUMNS: Final = tuple(Health.__struct_fields__)


class PostgresWork:
    """The work facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._settle = lanes.settle
        self._misc = lanes.misc
        self._readers = readers
        self._gatherer = Gatherer(lanes.settle.submit, self._settle_gathered)
        self._walks: dict[int, ordering.Place] = {}  # where the latest step of reordering an endpoint ended

    async def survey(self, slots: Collection[int], *, after: int | None = None, limit: int) -> list[Backlog]:
        """Every (endpoint, lane) with open work, by slot and endpoint; see the protocol."""
        wanted = sorted(set(slots))
        found: list[Backlog] = []
        while not found:  # else it would look like the end, where all that an endpoint has is parked
            first, behind = 0, _BEFORE_ALL
            if after is not None:
                first = bisect_left(wanted, slot_of(after))
                behind = after if slot_of(after) in wanted[first : first + 1] else _BEFORE_ALL
            rows = await self._readers.quick("survey", wanted[first:], behind, limit) if wanted[first:] else []
            if not rows:
                break
            after = rows[-1]["endpoint_key"]
            found = [Backlog(key, Lane(lane), *head) for key, lane, *head in rows if head[0] is not None]
        return found

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
        """The first due deliveries of a queue; see the protocol.

        The events are read behind their deliveries. What is settled meanwhile is there all the same: events stay, and
        guards refuse its next outcome.
        """
        place = (slot_of(endpoint_key), endpoint_key, lane, now, *(after or _FRONT), limit + 1)
        rows = await self._readers.quick("fetch_heads", *place)
        next_due_at: int | None = rows[0]["next_due_at"]
        heads = [row for row in rows if row["event_key"] is not None]
        work: list[Work] = []
        size = 0
        wanted = heads[:limit]
        for start in range(0, len(wanted), _EVENTS_MAX):
            part = wanted[start : start + _EVENTS_MAX]
            events = await self._events([row["event_key"] for row in part])
            for row in part:
                event = events[row["event_key"]]
                size += len(event.data)
                if work and size > bytes_max:
                    return Refill(tuple(work), more=True, next_due_at=next_due_at)
                work.append(_work(row, endpoint_key, lane, event))
        return Refill(tuple(work), more=len(heads) > limit, next_due_at=next_due_at)

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write the outcomes of attempts; see the protocol."""
        if not settlements:
            return Settled()
        settled, start = await self._gatherer.submit(settlements)
        end = start + len(settlements)
        return Settled(
            tuple(i - start for i in settled.fenced if start <= i < end),
            tuple(i - start for i in settled.superseded if start <= i < end),
        )

    async def supersede(self, deliveries: Sequence[tuple[int, int]], *, now: int) -> list[tuple[int, int]]:
        """Discard what is out of date; see the protocol."""
        if not deliveries:
            return []
        orders = await ordering.guards_of(self._readers, deliveries)
        guards = Guards(catalogue=False, orders=orders)
        return await self._settle.transact(lambda t: discarding.supersede(t, deliveries, now), guards)

    async def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
        """Make a delivery due now; see the protocol."""
        orders = await ordering.guards_of(self._readers, [(event_key, endpoint_key)])
        return await self._misc.transact(
            lambda t: reopening.retry(t, event_key, endpoint_key, now=now), Guards(catalogue=False, orders=orders)
        )

    async def retime(
        self, slots: Collection[int], *, now: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int]]:
        """Set due times anew that a clock ahead of ``now`` has set; see the protocol."""
        rows = await self._readers.snapshot(lambda t: t.rows("timed_ahead", now, *after, limit, list(slots)))
        deliveries = [(row["event_key"], row["endpoint_key"]) for row in rows]
        if rows:
            guards = Guards(orders=await ordering.guards_of(self._readers, deliveries))
            timed = columns([tuple(row) for row in rows], 5)
            await self._misc.transact(lambda t: t.count("retime_obligations", *timed), guards)
        return deliveries

    async def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Discard an open delivery; see the protocol."""
        return bool(await self._discard([(event_key, endpoint_key)], reason=reason, now=now))

    async def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Discard open deliveries of an endpoint; see the protocol.

        What was looked for may be settled before it is discarded, so only a look that finds nothing is the end.
        """
        discarded = 0
        while discarded < limit:
            part = min(_DISCARDS_MAX, limit - discarded)
            found = await discarding.open_of_endpoint(self._readers, endpoint_key, part)
            if not found:
                break
            discarded += len(await self._discard(found, reason=reason, now=now))
        return discarded

    async def reorder(self, endpoint_key: int, order: Order, *, now: int, limit: int) -> int:
        """Bring open deliveries in line with an order; see the protocol.

        What is not in line is looked for from where the latest step ended. Deliveries may have moved to before that
        place, so only a look at all of them in one snapshot that finds nothing is the end.
        """
        if order is Order.NONE:
            return await self._give_up_order(endpoint_key, now, limit)
        while True:
            after = self._walks.pop(endpoint_key, ordering.FIRST_PLACE)
            found = await ordering.not_in_order(self._readers, endpoint_key, after, limit)
            if found:
                last = found[-1]
                self._walks[endpoint_key] = (last["lane"], last["due_at"], last["event_key"])
                kept = [(row["event_key"], row["ordering_key"]) for row in found]
                orders = tuple({(endpoint_key, ordering_key) for _event_key, ordering_key in kept})
                keep = partial(ordering.keep_order, endpoint_key=endpoint_key, found=kept)
                if changed := await self._misc.transact(keep, Guards(orders=orders)):
                    return changed
            elif after == ordering.FIRST_PLACE:
                return 0

    async def health(self, slots: Collection[int]) -> list[Health]:
        """Every endpoint in these slots that is not well; see the protocol."""
        rows = await self._readers.quick("health_in_slots", list(slots))
        known = [Health(**dict(zip(_HEALTH_COLUMNS, row, strict=True))) for row in rows]
        return sorted(known, key=lambda health: health.endpoint_key)

    async def put_health(self, endpoint_key: int, health: Health | None, *, epoch: int) -> bool:
        """Insert, replace or forget, if the slot is held; see the protocol."""
        place = (slot_of(endpoint_key), epoch, endpoint_key)
        if health is None:
            (row,) = await self._settle.single("delete_health", *place)
        else:
            known = (health.failing_since, health.opened_at, health.probes, health.warned, health.usual_rate)
            (row,) = await self._settle.single("put_health", *place, *known)
        return bool(row["held"])

    async def _settle_gathered(self, turn: Turn, settlements: Sequence[Settlement]) -> Settled:
        return await settle(turn, self._readers, settlements)

    async def _events(self, keys: Sequence[int]) -> dict[int, Event]:
        rows = await self._readers.quick("events_by_key", keys)
        return {row["key"]: _event(row) for row in rows}

    async def _discard(self, deliveries: Sequence[tuple[int, int]], *, reason: str, now: int) -> list[tuple[int, int]]:
        """Discard open deliveries. That one is not open is told when it is durable, too: hence the catalogue's lock."""
        orders = await ordering.guards_of(self._readers, deliveries)
        guards = Guards(catalogue=False, orders=orders)
        discard = partial(discarding.discard, deliveries=deliveries, reason=reason, now=now)
        return await self._misc.transact(discard, guards)

    async def _give_up_order(self, endpoint_key: int, now: int, limit: int) -> int:
        """Let up to ``limit`` deliveries keep no order any more; the number of them."""
        changed = 0
        while changed < limit:
            part = min(_DISCARDS_MAX, limit - changed)
            found = await ordering.kept_of_endpoint(self._readers, endpoint_key, part)
            if not found:
                break
            orders = await ordering.guards_of(self._readers, [(event_key, endpoint_key) for event_key in found])

            async def give_up(t: Transaction, found: Sequence[int] = found) -> int:
                return await ordering.give_up_order(t, endpoint_key, found, now)

            changed += await self._misc.transact(give_up, Guards(orders=orders))
        return changed


def _work(row: Any, endpoint_key: int, lane: Lane, event: Event) -> Work:
    """What is owed in a row of ``fetch_heads``, with its event."""
    _next_due_at, event_key, due_at, opened_at, attempts, round_, last_number, ordering_key, newer = row
    obligation = Obligation(
        event_key, endpoint_key, lane, due_at, opened_at, attempts, round_, last_number, ordering_key
    )
    return Work(obligation, event, newer)


def _event(row: Any) -> Event:
    """The event in a row of ``events_by_key``."""
    key, public_id, environment, tenant, event_type, accepted_at, data, occurred_at, ordering_key = row
    return Event(
        key=key,
        id=public_id,
        environment=_ENVIRONMENTS[environment],
        tenant=tenant,
        type=event_type,
        accepted_at=accepted_at,
        data=data,
        occurred_at=occurred_at,
        ordering_key=ordering_key,
    )
