"""Making the outcomes of attempts durable: the second of the two writes that a delivery costs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.delivery import State
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import Attempt, Obligation
from posthouse.store.protocol import Settled, Settlement
from posthouse.store.shared.settling import history_row, number_of, slot_of_endpoint
from posthouse.store.sqlite.ordering import let_out, ordered_endpoints
from posthouse.store.sqlite.rows import PERIOD_BITS, rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_ATTEMPT_NUMBERS: Final = SQL["attempt_numbers"]
_CLOSE: Final = SQL["close_obligation"]
_CLOSE_ORDERED: Final = SQL["close_ordered"]
_HELD_EPOCHS: Final = SQL["held_epochs"]
_INSERT_ATTEMPT: Final = SQL["insert_attempt"]
_INSERT_HISTORY: Final = SQL["insert_history"]
_IS_OWED: Final = SQL["is_owed"]
_NOTE_PERIOD: Final = SQL["note_endpoint_period"]
_NOTE_PROBE: Final = SQL["note_probe"]
_POSTPONE: Final = SQL["postpone_obligation"]

_SLICE_SETTLEMENTS: Final = 256  # about a thousand rows

_encode = msgspec.json.Encoder().encode

_Row = tuple[Any, ...]
_Move = Callable[[apsw.Connection, Sequence[Settlement]], bool]


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
        superseded += [positions[start + i] for i in _settle_part(connection, part)]
        yield 4 * len(part)
    reach(Failpoint.SETTLE_WRITTEN)
    return Settled(fenced, tuple(superseded))


def note_periods(connection: apsw.Connection, deliveries: Iterable[_Row]) -> None:
    """Let the ledger find these settled deliveries by endpoint; each row starts with event key and endpoint key."""
    periods = {(row[1], row[0] >> PERIOD_BITS) for row in deliveries}
    connection.executemany(_NOTE_PERIOD, periods)


def _fenced(connection: apsw.Connection, settlements: Sequence[Settlement]) -> tuple[int, ...]:
    """Positions of those whose slot nobody owns, or not at that epoch."""
    slots = [slot_of_endpoint(s.obligation.endpoint_key) for s in settlements]
    epochs: dict[int, int] = dict(rows_of(connection, _HELD_EPOCHS, (_encode(list(set(slots))).decode(),)))
    return tuple(i for i, (slot, s) in enumerate(zip(slots, settlements, strict=True)) if epochs.get(slot) != s.epoch)


def _settle_part(connection: apsw.Connection, settlements: Sequence[Settlement]) -> Sequence[int]:
    """Write all; positions of those whose delivery was changed meanwhile.

    Where deliveries keep order, what becomes of one changes the next, and a failed probe changes nothing that a guard
    could see: the outcomes of such endpoints are written one after the other. Whether they keep order is asked
    of the rows, because that may have changed since the attempts started.
    """
    sequential = ordered_endpoints(connection, {s.obligation.endpoint_key for s in settlements})
    sequential |= {s.obligation.endpoint_key for s in settlements if not s.spent}
    if not sequential:
        return _settle_some(connection, settlements, move=_move_all)
    apart = [i for i, s in enumerate(settlements) if s.obligation.endpoint_key in sequential]
    others = [i for i, s in enumerate(settlements) if s.obligation.endpoint_key not in sequential]
    superseded = [apart[i] for i in _settle_some(connection, [settlements[i] for i in apart], move=_move_in_turn)]
    superseded += [others[i] for i in _settle_some(connection, [settlements[i] for i in others], move=_move_all)]
    return sorted(superseded)


def _settle_some(connection: apsw.Connection, settlements: Sequence[Settlement], *, move: _Move) -> Sequence[int]:
    """Write all; positions of those whose delivery was changed meanwhile."""
    return () if _settle_together(connection, settlements, move) else _settle_each(connection, settlements)


def _settle_together(connection: apsw.Connection, settlements: Sequence[Settlement], move: _Move) -> bool:
    """Write all with one statement for each table. False, and nothing written, if one does not fit."""
    history: list[_Row] = []
    attempts: list[_Row] = []
    for s in settlements:
        o, attempt = s.obligation, s.attempt
        if attempt is not None:
            attempts.append((o.event_key, o.endpoint_key, *astuple(attempt)))
        if s.state is not State.RETRYING:
            history.append(history_row(s))
    connection.execute("SAVEPOINT together")
    fits = move(connection, settlements)
    if fits:
        try:
            connection.executemany(_INSERT_ATTEMPT, attempts)
            if history:
                connection.executemany(_INSERT_HISTORY, history)
                note_periods(connection, history)
        except apsw.ConstraintError:
            fits = False
    if not fits:
        connection.execute("ROLLBACK TO together")
    connection.execute("RELEASE together")
    return fits


def _move_all(connection: apsw.Connection, settlements: Sequence[Settlement]) -> bool:
    """Update or close the obligations, those that keep no order, with two statements. False: one does not fit."""
    postponed: list[_Row] = []
    closed: list[_Row] = []
    for s in settlements:
        o = s.obligation
        if s.state is State.RETRYING:
            postponed.append((s.lane, s.due_at, number_of(s), o.event_key, o.endpoint_key, o.round, o.attempts))
        else:
            closed.append((o.event_key, o.endpoint_key, o.round, o.attempts))
    before = connection.total_changes()
    if postponed:
        connection.executemany(_POSTPONE, postponed)
    if closed:
        connection.executemany(_CLOSE, closed)
    return connection.total_changes() - before == len(settlements)


def _move_in_turn(connection: apsw.Connection, settlements: Sequence[Settlement]) -> bool:
    """Update or close the obligations one after the other. False: one does not fit."""
    return all(_move(connection, s, None) for s in settlements)


def _settle_each(connection: apsw.Connection, settlements: Sequence[Settlement]) -> Sequence[int]:
    """Write one by one; positions of those whose delivery was changed meanwhile."""
    superseded: list[int] = []
    for i, s in enumerate(settlements):
        attempt = s.attempt
        number = None if attempt is None else _free_number(connection, s.obligation, attempt)
        if not _move(connection, s, number):
            superseded.append(i)
            if not value_of(connection, _IS_OWED, (s.obligation.event_key,)):
                continue
        elif s.state is not State.RETRYING:
            row = history_row(s)
            connection.execute(_INSERT_HISTORY, row)
            note_periods(connection, (row,))
        if attempt is not None and number is not None:
            o = s.obligation
            connection.execute(_INSERT_ATTEMPT, (o.event_key, o.endpoint_key, number, *astuple(attempt)[1:]))
    return superseded


def _move(connection: apsw.Connection, s: Settlement, number: int | None) -> bool:
    """Update an obligation, or close it and let out what stands behind it. False: it was changed meanwhile.

    ``number``: what its attempt is numbered, if not as it says itself.
    """
    o = s.obligation
    guard = (o.event_key, o.endpoint_key, o.round, o.attempts)
    if s.state is State.RETRYING:
        if s.spent:
            connection.execute(_POSTPONE, (s.lane, s.due_at, number or number_of(s), *guard))
        else:
            connection.execute(_NOTE_PROBE, (number or number_of(s), *guard))
        return connection.changes() == 1
    closed = rows_of(connection, _CLOSE_ORDERED, guard)
    if not closed:
        return False
    ordering_key, behind = closed[0]
    let_out(connection, o.endpoint_key, ordering_key, behind, s.settled_at)
    return True


def _free_number(connection: apsw.Connection, o: Obligation, attempt: Attempt) -> int | None:
    """The number that the attempt gets; None if this very attempt is written already.

    A delivery that was discarded and re-opened while a request was on its way can have two attempts
    of one number. Both took place, so the later record gets the next number.
    """
    started_at, greatest = rows_of(connection, _ATTEMPT_NUMBERS, (o.event_key, o.endpoint_key, attempt.number))[0]
    if started_at is None:
        return attempt.number
    return None if started_at == attempt.started_at else greatest + 1
