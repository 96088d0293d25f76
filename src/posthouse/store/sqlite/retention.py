"""Dropping what is old, a few rows at a time: each step is one operation of the writer, and other work runs between."""

from typing import Any, Final

import apsw
import msgspec

from posthouse.core import ids
from posthouse.store.shared.copying import Range
from posthouse.store.shared.retaining import EVENTS, REQUESTS, STAGES, WALKED, Lap, boundary, lap_of, text_of
from posthouse.store.shared.tables import SQLITE, TABLES
from posthouse.store.sqlite.rows import rows_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_JOBS: Final = SQL["jobs_that_open_again"]
_MARK: Final = SQL["retention"]
_NEXT_EVENTS: Final = SQL["next_events"]
_OLD_REQUESTS: Final = SQL["old_requests"]
_PUT: Final = SQL["put_retention"]
_RAISE_KEY_FLOOR: Final = SQL["raise_key_floor"]
#: In this order: the books first, and deliveries last of all that is looked at to know what goes.
_OF_EVENTS: Final = (
    SQL["book_owed"],
    SQL["book_settled"],
    SQL["book_arrived"],
    SQL["drop_attempts"],
    SQL["drop_reopened"],
    SQL["drop_history"],
    SQL["drop_events"],
)
_OF_REQUESTS: Final = (
    SQL["book_requests"],
    SQL["drop_arrivals"],
    SQL["drop_repeats"],
    SQL["drop_readings"],
    SQL["drop_quarantine"],
    SQL["drop_requests"],
)
_WALKED: Final = {table.name: table for table in TABLES if table.name in WALKED}

_PERIOD: Final = (
    "t.period < {before} >> 36"
    " AND NOT EXISTS (SELECT 1 FROM {of} AS e WHERE e.key >= t.period << 36 AND e.key < (t.period + 1) << 36)"
)
#: What goes of the tables that are walked through; `before` is the first key that stays.
_ONLY: Final = {
    "identities": "t.event_key < {before}"
    " AND NOT EXISTS (SELECT 1 FROM obligations AS o WHERE o.event_key = t.event_key)",
    "remembered": "t.ref < {before}",
    "quarantine": "t.request_key < {before} AND t.resolution = 'expired'",
}


def retained_from(connection: apsw.Connection) -> int:
    """What was accepted before may be gone."""
    found: int = rows_of(connection, _MARK)[0][0]
    return found


def retain(connection: apsw.Connection, now: int, keep_ms: int, limit: int) -> Steps[bool]:
    """Drop some of what is old; see the protocol."""
    ((mark, text),) = rows_of(connection, _MARK)
    before = boundary(now=now, keep_ms=keep_ms, jobs=rows_of(connection, _JOBS))
    if before > mark:  # durable before the first row goes
        connection.execute(_PUT, (before, text))
        connection.execute(_RAISE_KEY_FLOOR, (ids.first_key_at(before) - 1,))
        yield 2
        return True
    lap = lap_of(text, before)
    if lap.is_done or not before:
        return False
    lap = yield from _go_round(connection, lap, limit)
    connection.execute(_PUT, (mark, text_of(lap)))
    yield 1
    return not lap.is_done


def _go_round(connection: apsw.Connection, lap: Lap, limit: int) -> Steps[Lap]:
    stage = STAGES[lap.stage]
    if stage == EVENTS:
        return (yield from _sweep_events(connection, lap, limit))
    if stage == REQUESTS:
        return (yield from _sweep_requests(connection, lap, limit))
    if stage in WALKED:
        return (yield from _walk(connection, lap, stage, limit))
    return lap.behind()  # no table is divided into days


def _sweep_events(connection: apsw.Connection, lap: Lap, limit: int) -> Steps[Lap]:
    """Drop those of the next events that owe nothing, and what belongs to them."""
    after, behind = lap.place[0] if lap.place else 0, ids.first_key_at(lap.before)
    ((found, last),) = rows_of(connection, _NEXT_EVENTS, (after, behind, limit))
    upto = last if found == limit else behind - 1
    for statement in _OF_EVENTS:
        connection.execute(statement, (after, upto))
        yield found
    return lap.at(upto) if found == limit else lap.behind()


def _sweep_requests(connection: apsw.Connection, lap: Lap, limit: int) -> Steps[Lap]:
    """Drop those of the next requests that may go, and what belongs to them."""
    after, behind = lap.place[0] if lap.place else 0, ids.first_key_at(lap.before)
    rows = rows_of(connection, _OLD_REQUESTS, (after, behind, limit))
    yield len(rows)
    keys = [key for key, goes in rows if goes]
    if keys:
        text = msgspec.json.encode(keys).decode()
        for statement in _OF_REQUESTS:
            connection.execute(statement, (text,))
            yield len(keys)
    return lap.at(rows[-1][0]) if len(rows) == limit else lap.behind()


def _walk(connection: apsw.Connection, lap: Lap, name: str, limit: int) -> Steps[Lap]:
    """Look at the next rows of a table, in the order of its key."""
    table = _WALKED[name]
    place = lap.place or None
    ends = rows_of(connection, *Range(table, SQLITE, place, None).end(limit))
    upto = tuple(ends[0]) if ends else None
    of = "requests" if name.startswith(("inbound_", "source_")) else "events"
    only = _ONLY.get(name, _PERIOD).format(before=ids.first_key_at(lap.before), of=of)
    connection.execute(*_bound(Range(table, SQLITE, place, upto).deletion(only)))
    yield limit
    return lap.behind() if upto is None else lap.at(*upto)


def _bound(bound: Any) -> Any:
    statement, values = bound
    return statement, tuple(values)
