"""Making the outcomes of attempts durable: the second of the two writes that a delivery costs."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.delivery import State
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import slot_of
from posthouse.store.protocol import Settled, Settlement
from posthouse.store.sqlite.rows import PERIOD_BITS, rows_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_ATTEMPT_NUMBERS: Final = SQL["attempt_numbers"]
_CLOSE: Final = SQL["close_obligation"]
_HELD_EPOCHS: Final = SQL["held_epochs"]
_INSERT_ATTEMPT: Final = SQL["insert_attempt"]
_INSERT_HISTORY: Final = SQL["insert_history"]
_NOTE_PERIOD: Final = SQL["note_endpoint_period"]
_POSTPONE: Final = SQL["postpone_obligation"]

_SLICE_SETTLEMENTS: Final = 256  # about a thousand rows

_encode = msgspec.json.Encoder().encode
_slot_of = lru_cache(maxsize=65_536)(slot_of)

_Row = tuple[Any, ...]


def settle(connection: apsw.Connection, settlements: Sequence[Settlement], *, reach: Reach = pass_by) -> Steps[Settled]:
    """Write what the fences let through; see the protocol."""
    fenced = _fenced(connection, settlements)
    reach(Failpoint.SETTLE_FENCED)
    kept = settlements
    positions: Sequence[int] = range(len(settlements))
    if fenced:
        refused = frozenset(fenced)
        positions = [i for i in positions if i not in refused]
        kept = [settlements[i] for i in positions]
    superseded: list[int] = []
    for start in range(0, len(kept), _SLICE_SETTLEMENTS):
        part = kept[start : start + _SLICE_SETTLEMENTS]
        if not _settle_together(connection, part):
            superseded += [positions[start + i] for i in _settle_each(connection, part)]
        yield 4 * len(part)
    reach(Failpoint.SETTLE_WRITTEN)
    return Settled(fenced, tuple(superseded))


def note_periods(connection: apsw.Connection, deliveries: Iterable[_Row]) -> None:
    """Let the ledger find these settled deliveries by endpoint; each row starts with event key and endpoint key."""
    periods = {(row[1], row[0] >> PERIOD_BITS) for row in deliveries}
    connection.executemany(_NOTE_PERIOD, periods)


def _fenced(connection: apsw.Connection, settlements: Sequence[Settlement]) -> tuple[int, ...]:
    """Positions of those whose slot nobody owns, or not at that epoch."""
    slots = [_slot_of(s.obligation.endpoint_key) for s in settlements]
    epochs: dict[int, int] = dict(rows_of(connection, _HELD_EPOCHS, (_encode(list(set(slots))).decode(),)))
    return tuple(i for i, (slot, s) in enumerate(zip(slots, settlements, strict=True)) if epochs.get(slot) != s.epoch)


def _settle_together(connection: apsw.Connection, settlements: Sequence[Settlement]) -> bool:
    """Write all with one statement for each table. False, and nothing written, if one does not fit."""
    postponed: list[_Row] = []
    closed: list[_Row] = []
    history: list[_Row] = []
    attempts: list[_Row] = []
    for s in settlements:
        o, attempt = s.obligation, s.attempt
        event_key, endpoint_key = o.event_key, o.endpoint_key
        attempts.append((event_key, endpoint_key, *astuple(attempt)))
        if s.state is State.RETRYING:
            postponed.append((s.lane, s.due_at, attempt.number, event_key, endpoint_key, o.round, o.attempts))
        else:
            closed.append((event_key, endpoint_key, o.round, o.attempts))
            history.append(_history_row(s))
    connection.execute("SAVEPOINT together")
    before = connection.total_changes()
    if postponed:
        connection.executemany(_POSTPONE, postponed)
    if closed:
        connection.executemany(_CLOSE, closed)
    fits = connection.total_changes() - before == len(settlements)
    if fits:
        try:
            connection.executemany(_INSERT_ATTEMPT, attempts)
            if history:
                connection.executemany(_INSERT_HISTORY, history)
                note_periods(connection, closed)
        except apsw.ConstraintError:
            fits = False
    if not fits:
        connection.execute("ROLLBACK TO together")
    connection.execute("RELEASE together")
    return fits


def _settle_each(connection: apsw.Connection, settlements: Sequence[Settlement]) -> Iterable[int]:
    """Write one by one; positions of those whose delivery was changed meanwhile."""
    superseded: list[int] = []
    for i, s in enumerate(settlements):
        o, attempt = s.obligation, s.attempt
        event_key, endpoint_key = o.event_key, o.endpoint_key
        number = _free_number(connection, s)
        if s.state is State.RETRYING:
            moved = (s.lane, s.due_at, number or attempt.number, event_key, endpoint_key, o.round, o.attempts)
            connection.execute(_POSTPONE, moved)
        else:
            connection.execute(_CLOSE, (event_key, endpoint_key, o.round, o.attempts))
        if connection.changes() == 0:
            superseded.append(i)
        elif s.state is not State.RETRYING:
            connection.execute(_INSERT_HISTORY, _history_row(s))
            note_periods(connection, ((event_key, endpoint_key),))
        if number is not None:
            connection.execute(_INSERT_ATTEMPT, (event_key, endpoint_key, number, *astuple(attempt)[1:]))
    return superseded


def _free_number(connection: apsw.Connection, settlement: Settlement) -> int | None:
    """The number that the attempt gets; None if this very attempt is written already.

    A delivery that was discarded and re-opened while a request was on its way can have two attempts
    of one number. Both took place, so the later record gets the next number.
    """
    o, attempt = settlement.obligation, settlement.attempt
    rows = rows_of(connection, _ATTEMPT_NUMBERS, (o.event_key, o.endpoint_key, attempt.number))
    started_at, greatest = rows[0]
    if started_at is None:
        return attempt.number
    return None if started_at == attempt.started_at else greatest + 1


def _history_row(settlement: Settlement) -> _Row:
    o = settlement.obligation
    return (
        o.event_key,
        o.endpoint_key,
        o.round,
        settlement.state,
        settlement.reason,
        o.lane,
        o.attempts + 1,
        o.opened_at,
        settlement.settled_at,
    )
