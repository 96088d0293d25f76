"""Reading what happened, newest first, from a snapshot: writing goes on meanwhile.

Lists walk the periods in which there is something (see ``schema.sql``); the events of a source have an index. Open and
settled deliveries stand in two tables; a list is merged from both.
"""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core import ids
from posthouse.core.delivery import OPEN, State, open_state
from posthouse.core.model import Attempt, Environment
from posthouse.store.protocol import Books, DeliveryQuery, DeliveryRecord, EventQuery, EventRecord, Waiting
from posthouse.store.shared.spans import keys_between, times_between
from posthouse.store.sqlite.audit import audit
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import INTEGER_MAX, LANES, event_of, rows_of, value_of
from posthouse.store.sqlite.statements import SQL

_ATTEMPTS: Final = SQL["attempts_of_delivery"]
_DESCRIBE_OPEN: Final = SQL["describe_open"]
_DESCRIBE_SETTLED: Final = SQL["describe_settled"]
_EVENTS_BY_ID: Final = SQL["events_by_id"]
_EVENTS_OF_ENVIRONMENT: Final = SQL["events_of_environment"]
_EVENTS_OF_SOURCE: Final = SQL["events_of_source"]
_EVENTS_OF_TENANT: Final = SQL["events_of_tenant"]
_EVENT_BY_KEY: Final = SQL["event_by_key"]
_LATEST_ROUND: Final = SQL["latest_round"]
_PICK_OPEN: Final = SQL["pick_open"]
_PICK_SETTLED_OF_ENDPOINT: Final = SQL["pick_settled_of_endpoint"]
_PICK_SETTLED_OF_ENVIRONMENT: Final = SQL["pick_settled_of_environment"]
_PICK_SETTLED_OF_TENANT: Final = SQL["pick_settled_of_tenant"]
_PICK_UNDELIVERED: Final = SQL["pick_undelivered"]
_PICK_UNDELIVERED_OF_ENDPOINT: Final = SQL["pick_undelivered_of_endpoint"]
_WAITING: Final = SQL["waiting_by_endpoint"]

_LastAttempt = tuple[str, int | None] | None
# event key, endpoint key, event id, type, environment, tenant, lane, round, all attempts, opened_at, last attempt, …
_OPEN_ROWS: Final = msgspec.json.Decoder(
    list[tuple[int, int, str, str, Environment, str, int, int, int, int, _LastAttempt, int, int, int | None]]
)
_SETTLED_ROWS: Final = msgspec.json.Decoder(
    list[tuple[int, int, str, str, Environment, str, int, int, int, int, _LastAttempt, State, int, str | None]]
)


_WAITING_ROWS: Final = msgspec.json.Decoder(list[Waiting])


class SqliteLedger:
    """The ledger facet."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def events(self, query: EventQuery) -> list[EventRecord]:
        """Events, newest first; see the protocol."""
        oldest, newest = keys_between(query.since, query.until)
        if query.after is not None:
            newest = min(newest, query.after - 1)
        bindings = {
            "environment": query.environment,
            "tenant": query.tenant,
            "source": query.source_key,
            "type": query.type,
            "oldest": oldest,
            "newest": newest,
            "limit": query.limit,
            **times_between(query.since, query.until),
        }
        statement = _EVENTS_OF_ENVIRONMENT if query.tenant is None else _EVENTS_OF_TENANT
        if query.source_key is not None:
            statement = _EVENTS_OF_SOURCE
        rows = await self._readers.read(lambda connection: rows_of(connection, statement, bindings))
        return [_event_record(row) for row in rows]

    async def find_events(self, environment: Environment, event_id: str, tenant: str | None) -> list[EventRecord]:
        """The events with this public id; see the protocol."""
        key = ids.parse_id(ids.EVENT, event_id)

        def find(connection: apsw.Connection) -> list[Any]:
            rows = rows_of(connection, _EVENTS_BY_ID, (environment, event_id))
            if key is not None:
                rows += rows_of(connection, _EVENT_BY_KEY, (key, event_id, environment))
            return rows

        records = {row[0]: _event_record(row) for row in await self._readers.read(find)}
        return [
            record
            for _key, record in sorted(records.items(), reverse=True)
            if tenant is None or record.event.tenant == tenant
        ]

    async def deliveries(self, query: DeliveryQuery) -> list[DeliveryRecord]:
        """Deliveries, newest event first; see the protocol."""
        return await self._readers.read(lambda connection: _deliveries(connection, query))

    async def delivery(self, event_key: int, endpoint_key: int) -> DeliveryRecord | None:
        """One delivery; see the protocol."""

        def find(connection: apsw.Connection) -> list[DeliveryRecord]:
            picked = msgspec.json.encode([(event_key, endpoint_key)]).decode()
            return _open(connection, picked) or _settled(
                connection, value_of(connection, _LATEST_ROUND, (event_key, endpoint_key))
            )

        found = await self._readers.read(find)
        return found[0] if found else None

    async def attempts(self, event_key: int, endpoint_key: int) -> list[Attempt]:
        """All attempts of a delivery, by number; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _ATTEMPTS, (event_key, endpoint_key)))
        return [_attempt(row) for row in rows]

    async def waiting(self, *, after: int, until: int | None = None, limit: int) -> list[Waiting]:
        """What waits for endpoints, by lane; see the protocol."""
        bindings = (after, INTEGER_MAX if until is None else until, limit)
        rows = await self._readers.read(lambda connection: value_of(connection, _WAITING, bindings))
        return _WAITING_ROWS.decode(rows)

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[Books]:
        """The books, recounted from rows; see the protocol."""
        return await self._readers.read(lambda connection: audit(connection, environment, tenant))


def _deliveries(connection: apsw.Connection, query: DeliveryQuery) -> list[DeliveryRecord]:
    oldest, newest = keys_between(query.since, query.until)
    if query.event_key is not None:
        oldest, newest = max(oldest, query.event_key), min(newest, query.event_key)
    after = (INTEGER_MAX, INTEGER_MAX) if query.after is None else query.after
    bindings = {
        "environment": query.environment,
        "tenant": query.tenant,
        "endpoint": query.endpoint_key,
        "oldest": oldest,
        "newest": min(newest, after[0]),
        "after_event": after[0],
        "after_endpoint": after[1],
        "limit": query.limit,
        **times_between(query.since, query.until),
    }
    records: list[DeliveryRecord] = []
    if query.state is None or query.state in OPEN:
        bindings["attempts_min"] = 1 if query.state is State.RETRYING else 0
        bindings["attempts_max"] = 0 if query.state is State.WAITING else INTEGER_MAX
        records = _open(connection, value_of(connection, _PICK_OPEN, bindings))
    if query.state is None or query.state not in OPEN:
        if len(records) == query.limit:
            bindings["oldest"] = max(oldest, records[-1].event_key)  # older ones would not make the page
        bindings["state"] = query.state
        records += _settled(connection, value_of(connection, _pick_settled(query), bindings))
        records.sort(key=lambda r: (r.event_key, r.endpoint_key), reverse=True)
    return records[: query.limit]


def _pick_settled(query: DeliveryQuery) -> str:
    """The query that finds the first page with the least rows read."""
    if query.state in (State.EXHAUSTED, State.DISCARDED):
        return _PICK_UNDELIVERED if query.endpoint_key is None else _PICK_UNDELIVERED_OF_ENDPOINT
    if query.endpoint_key is not None:
        return _PICK_SETTLED_OF_ENDPOINT
    return _PICK_SETTLED_OF_ENVIRONMENT if query.tenant is None else _PICK_SETTLED_OF_TENANT


def _open(connection: apsw.Connection, picked: str) -> list[DeliveryRecord]:
    return [
        DeliveryRecord(
            event_key=event_key,
            endpoint_key=endpoint_key,
            event_id=event_id,
            event_type=event_type,
            environment=environment,
            tenant=tenant,
            state=open_state(round_attempts),
            lane=LANES[lane],
            round=round_,
            attempts=attempts,
            opened_at=opened_at,
            due_at=due_at,
            settled_at=None,
            reason=None,
            last_outcome=last[0] if last else None,
            last_status=last[1] if last else None,
            behind_event=behind_event,
        )
        for (
            event_key,
            endpoint_key,
            event_id,
            event_type,
            environment,
            tenant,
            lane,
            round_,
            attempts,
            opened_at,
            last,
            round_attempts,
            due_at,
            behind_event,
        ) in _OPEN_ROWS.decode(value_of(connection, _DESCRIBE_OPEN, (picked,)))
    ]


def _settled(connection: apsw.Connection, picked: str) -> list[DeliveryRecord]:
    return [
        DeliveryRecord(
            event_key=event_key,
            endpoint_key=endpoint_key,
            event_id=event_id,
            event_type=event_type,
            environment=environment,
            tenant=tenant,
            state=state,
            lane=LANES[lane],
            round=round_,
            attempts=attempts,
            opened_at=opened_at,
            due_at=None,
            settled_at=settled_at,
            reason=reason,
            last_outcome=last[0] if last else None,
            last_status=last[1] if last else None,
        )
        for (
            event_key,
            endpoint_key,
            event_id,
            event_type,
            environment,
            tenant,
            lane,
            round_,
            attempts,
            opened_at,
            last,
            state,
            settled_at,
            reason,
        ) in _SETTLED_ROWS.decode(value_of(connection, _DESCRIBE_SETTLED, (picked,)))
    ]


def _event_record(row: tuple[Any, ...]) -> EventRecord:
    *event, owed = row
    return EventRecord(event_of(tuple(event)), owed)


def _attempt(row: tuple[Any, ...]) -> Attempt:
    values = dict(zip(Attempt.__struct_fields__, row, strict=True))
    values["reused"] = bool(values["reused"])
    return Attempt(**values)
