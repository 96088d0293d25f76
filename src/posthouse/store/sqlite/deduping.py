"""Which digest stands for which event: a table that is only a copy, and may be lost at any time.

It is made anew from the arrivals, the newest first, in bounded steps. A mark says when it is whole; another one
how far it is made. Until it is whole, what is not found in it passes unchecked.
"""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from posthouse.core import ids
from posthouse.core.inbound import IncidentKind
from posthouse.store.shared.memory import MARK_MADE, MARK_WHOLE, RESTORED_MS, Digest, Known, Memory
from posthouse.store.shared.spans import CLOCK_STEP_MS_MAX
from posthouse.store.sqlite.planning import write_rows
from posthouse.store.sqlite.rows import INTEGER_MAX, rows_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_CLOSE_INCIDENTS: Final = SQL["close_incidents"]
_CREATE_SEEN: Final = SQL["create_seen"]
_CREATE_SEEN_BY_TIME: Final = SQL["create_seen_by_time"]
_DELETE_MARK: Final = SQL["delete_seen_mark"]
_DROP_SEEN: Final = SQL["drop_seen"]
_DROP_SEEN_BY_TIME: Final = SQL["drop_seen_by_time"]
_FILL_SEEN: Final = SQL["fill_seen"]
_FIND_SEEN: Final = SQL["find_seen"]
_MARK: Final = SQL["seen_mark"]
_NEXT_ARRIVALS: Final = SQL["next_arrivals"]
_PRUNE_SEEN: Final = SQL["prune_seen"]
_PUT_MARK: Final = SQL["put_seen_mark"]
_PUT_SEEN: Final = SQL["put_seen"]

_encode = msgspec.json.Encoder().encode


def write_learnt(connection: apsw.Connection, memory: Memory) -> Steps[None]:
    """Write what was learnt."""
    yield from write_rows(connection, _PUT_SEEN, [(*digest, e.key, e.at) for digest, e in memory.learnt.items()])


def recall(connection: apsw.Connection, digests: Sequence[Digest]) -> Steps[Memory]:
    """What is known of these digests. A statement that cannot be compiled changes nothing: the transaction goes on."""
    known: dict[Digest, Known] = {}
    try:
        whole = _mark(connection, MARK_WHOLE) is not None
        for start in range(0, len(digests), SLICE_ROWS):
            part = digests[start : start + SLICE_ROWS]
            wanted = _encode([(source_key, digest.hex()) for source_key, digest in part]).decode()
            for position, event_key, event_id, at in rows_of(connection, _FIND_SEEN, (wanted,)):
                known[part[position]] = Known(event_key, event_id, at)
            yield len(part)
    except apsw.SQLError:
        return Memory(None, is_whole=False)
    return Memory(known, is_whole=whole)


def is_whole(connection: apsw.Connection) -> bool:
    """Whether every repetition can be recognised."""
    try:
        return _mark(connection, MARK_WHOLE) is not None
    except apsw.SQLError:
        return False


def restore(connection: apsw.Connection, now: int, limit: int) -> Steps[bool]:
    """Look at the next ``limit`` arrivals; True: it is whole now, and the incidents are closed."""
    if is_whole(connection):
        return True
    below = _begun(connection)
    since = now - RESTORED_MS
    oldest = ids.first_key_at(since - CLOCK_STEP_MS_MAX)  # an event is made after its request was received
    while limit > 0:
        wanted = min(SLICE_ROWS, limit)
        ((count, lowest),) = rows_of(connection, _NEXT_ARRIVALS, (below, oldest, wanted))
        if count:
            connection.execute(_FILL_SEEN, (lowest, below, since))
            below = lowest
        if count < wanted:
            connection.execute(_DELETE_MARK, (MARK_MADE,))
            connection.execute(_PUT_MARK, (MARK_WHOLE, 0))
            connection.execute(_CLOSE_INCIDENTS, (IncidentKind.DEDUPE_UNAVAILABLE, None, now))
            yield count
            return True
        limit -= count
        yield count
    connection.execute(_PUT_MARK, (MARK_MADE, below))
    return False


def prune(connection: apsw.Connection, before: int, limit: int) -> Steps[int]:
    """Forget up to ``limit`` digests that were received before ``before``; how many it were."""
    forgotten = 0
    while forgotten < limit:
        wanted = min(SLICE_ROWS, limit - forgotten)
        try:
            connection.execute(_PRUNE_SEEN, (before, wanted))
        except apsw.SQLError:  # nothing is left to forget
            return forgotten
        count = connection.changes()
        forgotten += count
        yield count
        if count < wanted:
            break
    return forgotten


def _begun(connection: apsw.Connection) -> int:
    """Down to which event key it is made; begins if nobody has begun."""
    try:
        made = _mark(connection, MARK_MADE)
    except apsw.SQLError:
        # There may be something of these names that is of no use.
        for statement in (_DROP_SEEN, _DROP_SEEN_BY_TIME, _CREATE_SEEN, _CREATE_SEEN_BY_TIME):
            connection.execute(statement)
        made = None
    return INTEGER_MAX if made is None else made


def _mark(connection: apsw.Connection, mark: bytes) -> int | None:
    rows = rows_of(connection, _MARK, (mark,))
    return rows[0][0] if rows else None
