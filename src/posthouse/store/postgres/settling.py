"""Making the outcomes of attempts durable: the second of the two writes that a delivery costs.

Nearly all of them go with one statement, which its rows themselves let through or not. What that leaves (deliveries
that keep order or were changed meanwhile, probes, several outcomes of one delivery) is written in one explicit
transaction behind it, where what is looked at stays so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import astuple

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import Attempt
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.lane import Turn
from posthouse.store.postgres.ordering import Delivery, let_out, ordering_keys, orders_among
from posthouse.store.postgres.outcome import Refused
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import Settled, Settlement
from posthouse.store.shared.settling import KEPT_LANES, number_of, slot_of_endpoint

SLICE_SETTLEMENTS: Final = 4_000  #: of one statement

_MOVE_COLUMNS: Final = 11  #: number in the batch, then what becomes of the delivery
_ATTEMPT_COLUMNS: Final = 14
_NO_ATTEMPT: Final = (None,) * _ATTEMPT_COLUMNS
_PROBING: Final = "probing"
#: Columns of an attempt that hold what a stranger sent.
_ATTEMPT_TEXTS: Final = tuple(
    i for i, name in enumerate(Attempt.__struct_fields__) if name in {"error", "peer", "response_headers"}
)
_NUMBERS: Final = "attempts_pkey"  # the numbers of a delivery's attempts are different ones
_TRIES: Final = 5

_Row = tuple[Any, ...]
_Numbered = tuple[int, Settlement]


async def settle(turn: Turn, readers: Readers, settlements: Sequence[Settlement]) -> Settled:
    """Write what the fences let through; see the protocol."""
    together, apart = _told_apart(settlements)
    fenced: set[int] = set()
    written: set[int] = set()
    together.sort(key=_delivery)  # as everybody locks them
    for start in range(0, len(together), SLICE_SETTLEMENTS):
        part = together[start : start + SLICE_SETTLEMENTS]
        part_fenced, part_written = await _settle_together(turn, part)
        fenced |= part_fenced
        written |= part_written
    left = [s for s in together if s[0] not in written and s[0] not in fenced] + apart
    superseded: set[int] = set()
    if left:
        left.sort(key=lambda numbered: numbered[0])
        try:
            part_fenced, superseded = await _settle_in_turn(turn, readers, left)
        except Refused as error:
            if not written:
                raise
            raise StoreUnavailable("A part of what came together could not be written.", retry_after_s=1) from error
        fenced |= part_fenced
    return Settled(tuple(sorted(fenced)), tuple(sorted(superseded)))


def _told_apart(settlements: Sequence[Settlement]) -> tuple[list[_Numbered], list[_Numbered]]:
    """Those that one statement may write, and those that are written in turn, each with its position.

    In turn go what keeps order as far as its sender knew, probes, which change nothing that a guard could see, with
    every outcome of their endpoints, and whatever follows another outcome of its delivery.
    """
    probed = {s.obligation.endpoint_key for s in settlements if not s.spent}
    together: list[_Numbered] = []
    apart: list[_Numbered] = []
    seen: set[Delivery] = set()
    for numbered in enumerate(settlements):
        o, delivery = numbered[1].obligation, _delivery(numbered)
        if delivery in seen or o.ordering_key is not None or o.endpoint_key in probed:
            apart.append(numbered)
        else:
            together.append(numbered)
        seen.add(delivery)
    return together, apart


def _delivery(numbered: _Numbered) -> Delivery:
    o = numbered[1].obligation
    return o.event_key, o.endpoint_key


async def _settle_together(turn: Turn, part: Sequence[_Numbered]) -> tuple[set[int], set[int]]:
    """Positions that are fenced, and those that were written. With an attempt that was told before none is."""
    fenced: set[int] = set()
    is_mixed = len({s.state is State.RETRYING for _position, s in part}) > 1
    while part:
        epochs: dict[int, int] = {}
        for _position, s in part:
            slot = slot_of_endpoint(s.obligation.endpoint_key)
            epochs[slot] = max(s.epoch, epochs.get(slot, s.epoch))  # a slot never goes back to an earlier one
        # One statement knows one epoch of a slot: whoever names another one is judged in turn.
        part = [(i, s) for i, s in part if s.epoch == epochs[slot_of_endpoint(s.obligation.endpoint_key)]]
        slots = sorted(epochs)
        try:
            rows = await turn.single("settle", slots, [epochs[slot] for slot in slots], *_bind(part), is_mixed)
        except Refused as error:
            if error.constraint == _NUMBERS:
                return fenced, set()
            raise
        held = dict(zip(rows[0]["slots"], rows[0]["epochs"], strict=True))
        if held == epochs:
            return fenced, set(rows[0]["written"])
        refused = _fenced(part, held)
        fenced |= refused
        part = [numbered for numbered in part if numbered[0] not in refused]
    return fenced, set()


def _fenced(part: Iterable[_Numbered], held: dict[int, int]) -> set[int]:
    """Positions of those whose slot nobody owns, or not at that epoch."""
    return {i for i, s in part if held.get(slot_of_endpoint(s.obligation.endpoint_key)) != s.epoch}


def _bind(part: Sequence[_Numbered]) -> list[list[Any]]:
    rows = []
    for position, s in part:
        attempt = _NO_ATTEMPT if s.attempt is None else _attempt_row(s.attempt)
        rows.append((*_move_row(position, s), *attempt))
    return columns(rows, _MOVE_COLUMNS + _ATTEMPT_COLUMNS)


def _move_row(position: int, s: Settlement) -> _Row:
    """What becomes of the delivery: position, the guards, state, reason, then what is written into its row."""
    o = s.obligation
    made = o.attempts if s.attempt is None else o.attempts + 1
    if s.state is not State.RETRYING:
        kept = (str(s.state), s.reason, s.settled_at, KEPT_LANES[o.lane], o.opened_at, made)
    else:
        kept = (str(s.state) if s.spent else _PROBING, None, s.due_at, s.lane, o.opened_at, made)
    return (position, o.event_key, o.endpoint_key, o.round, o.attempts, *kept)


def _attempt_row(attempt: Attempt) -> _Row:
    """An attempt in the order of its columns, as far as it can be stored."""
    row = list(astuple(attempt))
    for column in _ATTEMPT_TEXTS:
        if row[column] is not None:
            row[column] = storable(row[column])
    return tuple(row)


async def _settle_in_turn(turn: Turn, readers: Readers, settlements: Sequence[_Numbered]) -> tuple[set[int], set[int]]:
    """Write all; positions that are fenced, and those whose delivery was changed meanwhile."""
    deliveries = sorted(set(map(_delivery, settlements)))
    keys = await ordering_keys(readers, deliveries)
    tried = 0
    while True:
        try:
            return await turn.transact(lambda t: _write_in_turn(t, settlements, keys))
        except Refused as error:  # two nodes gave one number to two attempts
            tried += 1
            if error.constraint != _NUMBERS or tried == _TRIES:
                raise


async def _write_in_turn(
    t: Transaction, settlements: Sequence[_Numbered], keys: Mapping[Delivery, str]
) -> tuple[set[int], set[int]]:
    """Positions that are fenced, and those whose delivery was changed meanwhile."""
    slots = sorted({slot_of_endpoint(s.obligation.endpoint_key) for _position, s in settlements})
    held = {row["slot"]: row["epoch"] for row in await t.rows("held_epochs", slots)}
    fenced = _fenced(settlements, held)
    await t.lock(Guards(orders=orders_among(keys)))
    kept = [numbered for numbered in settlements if numbered[0] not in fenced]
    await t.rows("lock_obligations", *columns(sorted(set(map(_delivery, kept))), 2))
    superseded: set[int] = set()
    for wave in _waves(kept, keys):
        superseded |= await _write_wave(t, wave)
    return fenced, superseded


def _waves(settlements: Iterable[_Numbered], keys: Mapping[Delivery, str]) -> list[list[_Numbered]]:
    """All of them, so that those of one delivery, or of one ordering key, are in different waves, in their sequence."""
    waves: list[list[_Numbered]] = []
    following: Counter[tuple[int, int | str]] = Counter()
    for numbered in settlements:
        o = numbered[1].obligation
        chain = (o.endpoint_key, keys.get((o.event_key, o.endpoint_key), o.event_key))
        if following[chain] == len(waves):
            waves.append([])
        waves[following[chain]].append(numbered)
        following[chain] += 1
    return waves


async def _write_wave(t: Transaction, wave: Sequence[_Numbered]) -> set[int]:
    """Write some of which none depends on another one; positions of those whose delivery was changed meanwhile."""
    numbers = await _free_numbers(t, wave)
    moves = []
    attempts: dict[int, _Row] = {}
    for position, s in wave:
        number = numbers.get(position)
        moves.append((*_move_row(position, s), None if s.attempt is None else number or number_of(s)))
        if s.attempt is not None and number is not None:
            o = s.obligation
            attempts[position] = (o.event_key, o.endpoint_key, number, *_attempt_row(s.attempt)[1:])
    written = await t.rows("settle_in_turn", *columns(moves, _MOVE_COLUMNS + 1))
    superseded = {position for position, _s in wave} - {row["n"] for row in written}
    doubted = {attempts[position][0] for position in superseded & attempts.keys()}
    if doubted:
        doubted -= {row["key"] for row in await t.rows("events_there", sorted(doubted))}
    owed = [row for row in attempts.values() if row[0] not in doubted]
    if owed:
        await t.count("insert_attempts", *columns(owed, 2 + _ATTEMPT_COLUMNS))
    outcomes = dict(wave)
    ahead = [(outcomes[row["n"]], row["ordering_key"]) for row in written if row["ahead"]]
    await let_out(t, ((s.obligation.endpoint_key, ordering_key, s.settled_at) for s, ordering_key in ahead))
    return superseded


async def _free_numbers(t: Transaction, wave: Sequence[_Numbered]) -> dict[int, int]:
    """The numbers that the attempts get, by position; none for one that is written already.

    A delivery that was discarded and re-opened while a request was on its way can have two attempts
    of one number. Both took place, so the later record gets the next number.
    """
    made = {position: (s.obligation, s.attempt) for position, s in wave if s.attempt is not None}
    asked = [(position, o.event_key, o.endpoint_key, a.number) for position, (o, a) in made.items()]
    numbers: dict[int, int] = {}
    for position, started_at, greatest in await t.rows("attempt_numbers", *columns(asked, 4)):
        attempt = made[position][1]
        if started_at is None:
            numbers[position] = attempt.number
        elif started_at != attempt.started_at:
            numbers[position] = greatest + 1
    return numbers
