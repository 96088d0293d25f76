"""Reading what happened, newest first, from a snapshot: writing goes on meanwhile.

Lists walk the periods in which there is something (see ``schema.sql``); the events of a source have an index. Open and
settled deliveries stand in two tables; a list is merged from both.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg

from posthouse.core import ids
from posthouse.core.delivery import OPEN, State, open_state
from posthouse.core.model import SLOTS, Attempt, Environment, Event, Lane, slot_of
from posthouse.store.postgres.audit import audit
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import Books, DeliveryQuery, DeliveryRecord, EventQuery, EventRecord, Waiting
from posthouse.store.shared.spans import INTEGER_MAX, keys_between, times_between

_LANES: Final = tuple(Lane)

_Picked = tuple[int, int, int]  #: event key, endpoint key, round
_Ask = Callable[..., Awaitable[list[asyncpg.Record]]]  #: a named statement and its values


class PostgresLedger:
    """The ledger facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        del lanes  # nothing is written here
        self._readers = readers

    async def events(self, query: EventQuery) -> list[EventRecord]:
        """Events, newest first; see the protocol."""
        if _never_stored(query.tenant, query.type):
            return []
        oldest, newest = keys_between(query.since, query.until)
        if query.after is not None:
            newest = min(newest, query.after - 1)
        times = times_between(query.since, query.until).values()
        values: list[Any] = [query.environment, oldest, newest, query.type, *times, query.limit]
        if query.source_key is not None:
            name, values = "events_of_source", [*values, query.tenant, query.source_key]
        elif query.tenant is not None:
            name, values = "events_of_tenant", [*values, query.tenant]
        else:
            name = "events_of_environment"
        rows = await self._readers.snapshot(lambda t: t.rows(name, *values))
        return [_event_record(row) for row in rows]

    async def find_events(self, environment: Environment, event_id: str, tenant: str | None) -> list[EventRecord]:
        """The events with this public id; see the protocol."""
        if _never_stored(event_id):
            return []
        key = ids.parse_id(ids.EVENT, event_id)

        async def find(t: Transaction) -> list[asyncpg.Record]:
            rows = await t.rows("events_by_id", environment, event_id)
            return rows if key is None else rows + await t.rows("event_by_key", key, event_id, environment)

        records = {row["key"]: _event_record(row) for row in await self._readers.snapshot(find)}
        return [
            record
            for _key, record in sorted(records.items(), reverse=True)
            if tenant is None or record.event.tenant == tenant
        ]

    async def deliveries(self, query: DeliveryQuery) -> list[DeliveryRecord]:
        """Deliveries, newest event first; see the protocol."""
        if _never_stored(query.tenant):
            return []
        return await self._readers.snapshot(lambda t: _deliveries(t, query))

    async def delivery(self, event_key: int, endpoint_key: int) -> DeliveryRecord | None:
        """One delivery; see the protocol.

        Needs no snapshot: one that is not open was settled when that was asked, and what was settled stays so, or goes
        whole.
        """
        ask = self._readers.quick
        found = await _open(ask, [(event_key, endpoint_key, 0)])
        found = found or await _settled(ask, await _picked(ask, "latest_round", event_key, endpoint_key))
        return found[0] if found else None

    async def attempts(self, event_key: int, endpoint_key: int) -> list[Attempt]:
        """All attempts of a delivery, by number; see the protocol."""
        rows = await self._readers.quick("attempts_of_delivery", event_key, endpoint_key)
        return [Attempt(**dict(row)) for row in rows]

    async def waiting(self, *, after: int, until: int | None = None, limit: int) -> list[Waiting]:
        """What waits for endpoints, by lane; see the protocol."""
        last = INTEGER_MAX if until is None else until

        async def count(t: Transaction) -> list[asyncpg.Record]:
            endpoint_keys = await _endpoints_with_work(t, after, last, limit)
            return await t.rows("waiting_by_lane", [slot_of(key) for key in endpoint_keys], endpoint_keys)

        return [Waiting(**dict(row)) for row in await self._readers.snapshot(count)]

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[Books]:
        """The books, recounted from rows; see the protocol."""
        return await self._readers.snapshot(lambda t: audit(t, environment, tenant), audit=True)


def _never_stored(*texts: str | None) -> bool:
    """Whether one of them cannot be in the database, so that it is not asked: it would refuse to look."""
    return any(text is not None and storable(text) != text for text in texts)


async def _deliveries(t: Transaction, query: DeliveryQuery) -> list[DeliveryRecord]:
    oldest, newest = keys_between(query.since, query.until)
    if query.event_key is not None:
        oldest, newest = max(oldest, query.event_key), min(newest, query.event_key)
    after = (INTEGER_MAX, INTEGER_MAX) if query.after is None else query.after
    times = times_between(query.since, query.until).values()
    behind = (min(newest, after[0]), *after, *times, query.limit, query.tenant, query.endpoint_key)
    records: list[DeliveryRecord] = []
    if query.state is None or query.state in OPEN:
        attempts_min = 1 if query.state is State.RETRYING else 0
        attempts_max = 0 if query.state is State.WAITING else INTEGER_MAX
        picked = await _picked(t.rows, "pick_open", query.environment, oldest, *behind, attempts_min, attempts_max)
        records = await _open(t.rows, picked)
    if query.state is None or query.state not in OPEN:
        if len(records) == query.limit:
            oldest = max(oldest, records[-1].event_key)  # older ones would not make the page
        picked = await _picked(t.rows, _pick_settled(query), query.environment, oldest, *behind, query.state)
        records += await _settled(t.rows, picked)
        records.sort(key=lambda r: (r.event_key, r.endpoint_key), reverse=True)
    return records[: query.limit]


def _pick_settled(query: DeliveryQuery) -> str:
    """The query that finds the first page with the least rows read."""
    if query.state in (State.EXHAUSTED, State.DISCARDED):
        return "pick_undelivered" if query.endpoint_key is None else "pick_undelivered_of_endpoint"
    if query.endpoint_key is not None:
        return "pick_settled_of_endpoint"
    return "pick_settled_of_environment" if query.tenant is None else "pick_settled_of_tenant"


async def _picked(ask: _Ask, name: str, *values: object) -> list[_Picked]:
    return [(row["event_key"], row["endpoint_key"], row["round"]) for row in await ask(name, *values)]


async def _open(ask: _Ask, picked: Sequence[_Picked]) -> list[DeliveryRecord]:
    event_keys, endpoint_keys, _ = columns(picked, 3)
    records = []
    for row in await ask("describe_open", event_keys, endpoint_keys):
        values = dict(row)
        values["state"] = open_state(values.pop("round_attempts"))
        records.append(_delivery_record({**values, "settled_at": None, "reason": None}))
    return records


async def _settled(ask: _Ask, picked: Sequence[_Picked]) -> list[DeliveryRecord]:
    rows = await ask("describe_settled", *columns(picked, 3))
    return [_delivery_record({**row, "state": State(row["state"]), "due_at": None}) for row in rows]


def _delivery_record(values: dict[str, Any]) -> DeliveryRecord:
    typed = {"environment": Environment(values["environment"]), "lane": _LANES[values["lane"]]}
    return DeliveryRecord(**{**values, **typed})


def _event_record(row: asyncpg.Record) -> EventRecord:
    values = dict(row)
    owed = values.pop("owed")
    return EventRecord(Event(**{**values, "environment": Environment(values["environment"])}), owed)


async def _endpoints_with_work(t: Transaction, after: int, last: int, limit: int) -> list[int]:
    """The keys of the first ``limit`` endpoints in after < key ≤ last that have open deliveries.

    The index that finds them stands by slot, and keys are spread over the slots evenly: a few of each are asked for,
    and more of those slots only that may have more among the first.
    """
    places = {slot_of(last): after} if last == after + 1 else dict.fromkeys(range(SLOTS), after)
    each = limit // len(places) + 2
    found: list[int] = []
    while places:
        rows = await t.rows("endpoints_with_work", list(places), list(places.values()), last, each)
        latest: dict[int, list[int]] = {slot: [] for slot in places}
        for row in rows:
            latest[row["slot"]].append(row["endpoint_key"])
            found.append(row["endpoint_key"])
        found = sorted(found)[:limit]
        places = {
            slot: max(keys)
            for slot, keys in latest.items()
            if len(keys) == each and (len(found) < limit or max(keys) < found[-1])
        }
    return found
