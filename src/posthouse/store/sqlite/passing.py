"""Passing on what was found in requests: everything that one reading means, in one transaction.

What may refuse a reading (its item, the catalogue) and what may make an event a repetition is looked up for all of them
at once; then it is decided in memory, and written in as few statements as there are tables.
"""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from posthouse.store.protocol import Overtaken, PassedOn, PassResult
from posthouse.store.shared.planning import orders_of
from posthouse.store.shared.reading import Handed, Place, ReadingRows, digests_of, place_of, refusals_of
from posthouse.store.sqlite.deduping import recall, write_learnt
from posthouse.store.sqlite.ordering import newest_open
from posthouse.store.sqlite.planning import EventRows, write_rows
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.streams import count_on
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_DELETE_INBOX_ITEM: Final = SQL["delete_inbox_item"]
_INSERT_ARRIVAL: Final = SQL["insert_arrival"]
_INSERT_READING: Final = SQL["insert_reading"]
_INSERT_REPEAT: Final = SQL["insert_repeat"]
_OPEN_INCIDENT: Final = SQL["open_incident"]
_PUT_DOUBT: Final = SQL["put_doubt"]
_WAITING_IN_INBOX: Final = SQL["waiting_in_inbox"]

_encode = msgspec.json.Encoder().encode


def pass_on(connection: apsw.Connection, handed: Sequence[Handed]) -> Steps[list[PassResult]]:
    """Decide about every reading, then write what is passed on."""
    version: int = value_of(connection, _CATALOGUE_VERSION)
    waiting = yield from _waiting(connection, handed)
    refusals = refusals_of(handed, waiting, version)
    kept = [h for h, refusal in zip(handed, refusals, strict=True) if refusal is None]
    memory = yield from recall(connection, digests_of(kept))
    places = orders_of(event.new for reading, _now in kept for event in reading.events)
    events = EventRows((yield from newest_open(connection, places)) if places else {})
    rows = ReadingRows(memory, events)
    passed = iter((yield from _decide(rows, kept)))
    results: list[PassResult] = [next(passed) if refusal is None else refusal for refusal in refusals]
    yield from write_rows(connection, _DELETE_INBOX_ITEM, rows.gone)
    yield from events.write(connection)
    yield from _write(connection, rows)
    yield from write_learnt(connection, memory)
    yield from write_rows(connection, _OPEN_INCIDENT, rows.incidents)
    if rows.counted:
        yield from count_on(connection, rows.counted)
    return results


def _waiting(connection: apsw.Connection, handed: Sequence[Handed]) -> Steps[set[Place]]:
    """The items that are in the inbox."""
    found: set[Place] = set()
    for start in range(0, len(handed), SLICE_ROWS):
        places = [place_of(h) for h in handed[start : start + SLICE_ROWS]]
        found.update(places[i] for (i,) in rows_of(connection, _WAITING_IN_INBOX, (_encode(places).decode(),)))
        yield len(places)
    return found


def _decide(rows: ReadingRows, kept: Sequence[Handed]) -> Steps[list[PassedOn | Overtaken]]:
    """What becomes of each reading."""
    results: list[PassedOn | Overtaken] = []
    planned = 0
    for handed in kept:
        results.append(rows.add(handed))
        planned += len(handed.reading.events)
        if planned >= SLICE_ROWS:
            yield planned
            planned = 0
    return results


def _write(connection: apsw.Connection, rows: ReadingRows) -> Steps[None]:
    yield from write_rows(connection, _INSERT_READING, rows.readings)
    yield from write_rows(connection, _INSERT_ARRIVAL, rows.arrivals)
    yield from write_rows(connection, _INSERT_REPEAT, rows.repeats)
    yield from write_rows(connection, _PUT_DOUBT, rows.doubts)
