"""Open deliveries: finding, re-opening and discarding them. Settling is in ``settling``."""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.delivery import Signal, State, step
from posthouse.core.model import Lane, Obligation, slot_of
from posthouse.store.protocol import Backlog, Refill, Settled, Settlement, Work
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.readers import Readers, in_snapshot
from posthouse.store.sqlite.rows import LANES, event_of, rows_of, value_of
from posthouse.store.sqlite.settling import note_periods, settle
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_ATTEMPT_NUMBERS: Final = SQL["attempt_numbers"]
_DELETE: Final = SQL["delete_obligation"]
_DISCARD: Final = SQL["discard_into_history"]
_FETCH: Final = SQL["fetch_due"]
_HASTEN: Final = SQL["hasten_obligation"]
_INSERT_REOPENED: Final = SQL["insert_reopened"]
_LATEST_HISTORY: Final = SQL["latest_history"]
_NEXT_DUE_AT: Final = SQL["next_due_at"]
_OPEN_OF_ENDPOINT: Final = SQL["open_of_endpoint"]
_REOPEN: Final = SQL["reopen_obligation"]
_RETIME: Final = SQL["retime_obligation"]
_SURVEY: Final = SQL["survey"]
_TIMED_AHEAD: Final = SQL["timed_ahead"]

_BACKLOGS: Final = msgspec.json.Decoder(list[tuple[int, int, int, int]])


class SqliteWork:
    """The work facet."""

    def __init__(self, writer: Writer, readers: Readers, local: apsw.Connection) -> None:
        """``local`` is a reading connection of the loop's own thread, for reads that are short by their bounds."""
        self._writer = writer
        self._gatherer = Gatherer(writer, partial(settle, reach=writer.reach))
        self._readers = readers
        self._local = local

    async def survey(self, slots: Collection[int] | None = None) -> list[Backlog]:
        """Every (endpoint, lane) with open work; see the protocol."""
        document = await self._readers.read(lambda connection: value_of(connection, _SURVEY))
        found = _BACKLOGS.decode(document)
        if slots is not None:
            wanted = frozenset(slots)
            found = [row for row in found if slot_of(row[0]) in wanted]
        return [Backlog(endpoint_key, LANES[lane], *head) for endpoint_key, lane, *head in found]

    async def fetch(self, endpoint_key: int, lane: Lane, *, now: int, limit: int, bytes_max: int) -> Refill:
        """The first due deliveries of a queue; see the protocol."""
        return in_snapshot(
            self._local,
            lambda connection: _fetch(connection, endpoint_key, lane, now=now, limit=limit, bytes_max=bytes_max),
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write the outcomes of attempts; see the protocol."""
        settled, start = await self._gatherer.submit(settlements)
        end = start + len(settlements)
        return Settled(
            tuple(i - start for i in settled.fenced if start <= i < end),
            tuple(i - start for i in settled.superseded if start <= i < end),
        )

    async def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
        """Make a delivery due now; see the protocol."""
        return await self._writer.submit(lambda connection: _retry(connection, event_key, endpoint_key, now))

    async def retime(self, *, now: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        """Set due times anew that a clock ahead of ``now`` has set; see the protocol."""
        bindings = {"now": now, "event": after[0], "endpoint": after[1], "limit": limit}
        rows = await self._readers.read(lambda connection: rows_of(connection, _TIMED_AHEAD, bindings))
        if rows:
            await self._writer.submit(lambda connection: _retime(connection, rows))
        return [(event_key, endpoint_key) for _due_at, event_key, endpoint_key, *_ in rows]

    async def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Discard an open delivery; see the protocol."""
        return await self._writer.submit(lambda connection: _discard(connection, event_key, endpoint_key, reason, now))

    async def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Discard open deliveries of an endpoint; see the protocol."""
        return await self._writer.submit(lambda connection: _discard_some(connection, endpoint_key, reason, now, limit))


def _fetch(
    connection: apsw.Connection, endpoint_key: int, lane: Lane, *, now: int, limit: int, bytes_max: int
) -> Refill:
    work: list[Work] = []
    size = 0
    more = False
    rows: Iterable[Any] = connection.execute(_FETCH, (endpoint_key, lane, now, limit + 1))
    for event_key, due_at, opened_at, attempts, round_, last_number, *event in rows:
        size += len(event[5])
        if len(work) == limit or (work and size > bytes_max):
            more = True  # one row more than asked for was read, to know this
            break
        obligation = Obligation(event_key, endpoint_key, lane, due_at, opened_at, attempts, round_, last_number)
        work.append(Work(obligation, event_of((event_key, *event))))
    return Refill(tuple(work), more, value_of(connection, _NEXT_DUE_AT, (endpoint_key, lane, now)))


def _retry(connection: apsw.Connection, event_key: int, endpoint_key: int, now: int) -> Steps[Obligation | None]:
    rows = rows_of(connection, _HASTEN, (event_key, endpoint_key, now))
    yield 1
    if rows:
        lane, due_at, opened_at, attempts, round_, last_number = rows[0]
        return Obligation(event_key, endpoint_key, LANES[lane], due_at, opened_at, attempts, round_, last_number)
    settled = rows_of(connection, _LATEST_HISTORY, (event_key, endpoint_key))
    if not settled:
        return None
    round_, state, reason = settled[0]
    step(State(state), Signal.RETRY)  # the table allows it from every settled state
    last_number = rows_of(connection, _ATTEMPT_NUMBERS, (event_key, endpoint_key, 0))[0][1]
    connection.execute(_INSERT_REOPENED, (event_key, endpoint_key, round_, state, reason, now))
    connection.execute(_REOPEN, (event_key, endpoint_key, Lane.BACKLOG, now, round_ + 1, last_number, now))
    yield 2
    return Obligation(event_key, endpoint_key, Lane.BACKLOG, now, now, 0, round_ + 1, last_number)


def _retime(connection: apsw.Connection, rows: Sequence[tuple[int, ...]]) -> Steps[None]:
    connection.executemany(_RETIME, rows)
    yield len(rows)


def _discard(connection: apsw.Connection, event_key: int, endpoint_key: int, reason: str, now: int) -> Steps[bool]:
    connection.execute(_DISCARD, (event_key, endpoint_key, reason, now))
    discarded = connection.changes() == 1
    if discarded:
        connection.execute(_DELETE, (event_key, endpoint_key))
        note_periods(connection, ((event_key, endpoint_key),))
    yield 1
    return discarded


def _discard_some(connection: apsw.Connection, endpoint_key: int, reason: str, now: int, limit: int) -> Steps[int]:
    discarded = 0
    while discarded < limit:
        rows = rows_of(connection, _OPEN_OF_ENDPOINT, (endpoint_key, min(SLICE_ROWS, limit - discarded)))
        if not rows:
            break
        deliveries = [(event_key, endpoint_key) for (event_key,) in rows]
        connection.executemany(_DISCARD, [(*delivery, reason, now) for delivery in deliveries])
        connection.executemany(_DELETE, deliveries)
        note_periods(connection, deliveries)
        discarded += len(rows)
        yield SLICE_ROWS
    return discarded
