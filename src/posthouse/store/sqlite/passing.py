"""Passing on what was found in requests: everything that one reading means, in one transaction.

What may refuse a reading (its item, the catalogue) and what may make an event a repetition is looked up for all of them
at once; then it is decided in memory, and written in as few statements as there are tables.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.inbound import Incident, IncidentKind
from posthouse.store.protocol import Accepted, Gone, PassedOn, PassResult, ReadEvent, ReadRequest, StaleCatalogue
from posthouse.store.sqlite.deduping import Digest, Known, Memory, recall
from posthouse.store.sqlite.planning import EventRows, Row, write_rows
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.streams import NUMBER_MAX, Counted, count_on
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


class Handed(NamedTuple):
    """A reading, and when it was handed in."""

    reading: ReadRequest
    now: int


def pass_on(connection: apsw.Connection, handed: Sequence[Handed]) -> Steps[list[PassResult]]:
    """Decide about every reading, then write what is passed on."""
    version: int = value_of(connection, _CATALOGUE_VERSION)
    waiting = yield from _waiting(connection, handed)
    refusals: list[Gone | StaleCatalogue | None] = []
    for place, (reading, _now) in zip(map(_place, handed), handed, strict=True):
        if place not in waiting:
            refusals.append(Gone())
        elif reading.catalogue_version != version:
            refusals.append(StaleCatalogue(version))
        else:
            waiting.remove(place)  # the same item once more in this call is gone
            refusals.append(None)
    kept = [h for h, refusal in zip(handed, refusals, strict=True) if refusal is None]
    memory = yield from recall(connection, [d for reading, _now in kept for d in _digests(reading)])
    plan = _Plan(memory)
    passed = iter((yield from plan.decide(kept)))
    results: list[PassResult] = [next(passed) if refusal is None else refusal for refusal in refusals]
    yield from plan.write(connection)
    return results


def _place(handed: Handed) -> tuple[int, int, int]:
    item = handed.reading.item
    return item.request.source_key, item.request.key, item.position


def _waiting(connection: apsw.Connection, handed: Sequence[Handed]) -> Steps[set[tuple[int, int, int]]]:
    """The items that are in the inbox."""
    found: set[tuple[int, int, int]] = set()
    for start in range(0, len(handed), SLICE_ROWS):
        places = [_place(h) for h in handed[start : start + SLICE_ROWS]]
        found.update(places[i] for (i,) in rows_of(connection, _WAITING_IN_INBOX, (_encode(places).decode(),)))
        yield len(places)
    return found


def _digests(reading: ReadRequest) -> list[Digest]:
    source_key = reading.item.request.source_key
    return [(source_key, event.digest) for event in reading.events if event.window_ms > 0]


class _Plan:
    """The rows that readings will write."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rows = EventRows()
        self._gone: list[Row] = []
        self._readings: list[Row] = []
        self._arrivals: list[Row] = []
        self._repeats: list[Row] = []
        self._doubts: list[Row] = []
        self._counted: list[Counted] = []
        self._incidents: list[Row] = []

    def decide(self, kept: Sequence[Handed]) -> Steps[list[PassedOn]]:
        """What becomes of each reading."""
        results: list[PassedOn] = []
        planned = 0
        for handed in kept:
            results.append(self._add(handed))
            planned += len(handed.reading.events)
            if planned >= SLICE_ROWS:
                yield planned
                planned = 0
        return results

    def write(self, connection: apsw.Connection) -> Steps[None]:
        """Write all of it."""
        yield from write_rows(connection, _DELETE_INBOX_ITEM, self._gone)
        yield from self._rows.write(connection)
        yield from write_rows(connection, _INSERT_READING, self._readings)
        yield from write_rows(connection, _INSERT_ARRIVAL, self._arrivals)
        yield from write_rows(connection, _INSERT_REPEAT, self._repeats)
        yield from write_rows(connection, _PUT_DOUBT, self._doubts)
        yield from self._memory.write(connection)
        yield from write_rows(connection, _OPEN_INCIDENT, self._incidents)
        if self._counted:
            yield from count_on(connection, self._counted)

    def _add(self, handed: Handed) -> PassedOn:
        reading, now = handed
        item = reading.item
        self._gone.append(_place(handed))
        self._rows.add_tenants(reading.new_tenants)
        accepted: list[Accepted] = []
        numbers: dict[str, list[int]] = {}
        duplicates, unchecked = 0, False
        for event in reading.events:
            known = self._repetition(reading, event)
            if known is not None:
                duplicates += 1
                accepted.append(Accepted(known.key, known.id, 0, True))  # noqa: FBT003 - as in intake
                continue
            unchecked |= self._add_event(reading, event)
            accepted.append(Accepted(event.new.event.key, event.new.event.id, len(event.new.owed), False))  # noqa: FBT003 - as in intake
            if event.stream is not None and event.sequence is not None and 0 <= event.sequence <= NUMBER_MAX:
                numbers.setdefault(event.stream, []).append(event.sequence)
        if numbers:
            self._counted.append(Counted(reading, now, numbers))
        if unchecked and reading.incident_keys:
            self._incidents.append(astuple(_unavailable(reading, now)))
        for doubt in reading.doubts:
            place = (item.request.key, doubt.position, item.request.source_key, reading.environment, reading.tenant)
            self._doubts.append((*place, doubt.objection, doubt.detail, doubt.type, now))
        if any(doubt.position == item.position for doubt in reading.doubts):
            assert not reading.events, "what goes back to quarantine as a whole is not passed on"
            assert len(reading.doubts) == 1, "what goes back to quarantine as a whole is doubted once"
        else:
            self._readings.append(_reading_row(reading, now, accepted, duplicates))
        return PassedOn(tuple(accepted), unchecked)

    def _repetition(self, reading: ReadRequest, event: ReadEvent) -> Known | None:
        """Note an event that came before, and say which."""
        request = reading.item.request
        known = self._memory.recognise((request.source_key, event.digest), request.received_at, event.window_ms)
        if known is not None:
            self._repeats.append((known.key, request.key, event.position, request.source_key))
        return known

    def _add_event(self, reading: ReadRequest, event: ReadEvent) -> bool:
        """Take in a new event; whether it could be a repetition without anybody knowing."""
        request, new = reading.item.request, event.new
        self._rows.add(new)
        source_key, at = request.source_key, request.received_at
        digest, unchecked = None, False
        if event.window_ms > 0:
            digest, unchecked = event.digest, not self._memory.is_whole
            self._memory.learn((source_key, digest), Known(new.event.key, new.event.id, at))
        self._arrivals.append((new.event.key, source_key, request.key, event.position, digest, at, unchecked))
        return unchecked


def _reading_row(reading: ReadRequest, now: int, accepted: Sequence[Accepted], duplicates: int) -> Row:
    item = reading.item
    pairs = zip(reading.events, accepted, strict=True)
    found = ",".join(f"[{event.position},{a.key},{a.duplicate:d}]" for event, a in pairs)
    return (
        item.request.key,
        item.position,
        item.request.source_key,
        now,
        len(accepted) - duplicates,
        duplicates,
        len(reading.doubts),
        reading.is_heartbeat,
        reading.delivery,
        f"[{found}]",
    )


def _unavailable(reading: ReadRequest, now: int) -> Incident:
    return Incident(
        key=reading.incident_keys[-1],  # gaps take the others, from the front
        environment=reading.environment,
        tenant=reading.tenant,
        kind=IncidentKind.DEDUPE_UNAVAILABLE,
        source_key=reading.item.request.source_key,
        opened_at=now,
        detail="Repetitions are not recognised for now; what comes is passed on, and marked.",
    )
