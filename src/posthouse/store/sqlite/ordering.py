"""Who is sent and who stands behind, among the open deliveries of one endpoint and one ordering key.

Of each (endpoint, ordering key) with open deliveries exactly one does not stand behind: an index allows
no second one, and whoever takes it away lets out the oldest behind it in the same transaction.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from posthouse.store.sqlite.rows import rows_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_AHEAD_OF_ENDPOINT: Final = SQL["ahead_of_endpoint"]
_BEHIND_OF_ENDPOINT: Final = SQL["behind_of_endpoint"]
_GIVE_UP_ORDER: Final = SQL["give_up_order"]
_KEEP_ORDER: Final = SQL["keep_order"]
_KEPT_ORDERING_KEY: Final = SQL["kept_ordering_key"]
_LET_OUT: Final = SQL["let_out"]
_NEWEST_OPEN: Final = SQL["newest_open"]
_NOT_IN_ORDER: Final = SQL["not_in_order"]
_ORDERED_ENDPOINTS: Final = SQL["ordered_endpoints"]
_STEP_BACK: Final = SQL["step_back"]
_STEP_FORWARD: Final = SQL["step_forward"]

#: A place in the queues of an endpoint: lane, due_at, event key.
Place = tuple[int, int, int]
FIRST_PLACE: Final[Place] = (-1, 0, 0)  #: before everything

_encode = msgspec.json.Encoder().encode


def ordered_endpoints(connection: apsw.Connection, endpoint_keys: Iterable[int]) -> frozenset[int]:
    """Which of these distinct endpoints have an open delivery that keeps an ordering key."""
    keys = _encode(list(endpoint_keys)).decode()
    return frozenset(key for (key,) in rows_of(connection, _ORDERED_ENDPOINTS, (keys,)))


def newest_open(connection: apsw.Connection, places: Sequence[tuple[int, str]]) -> Steps[dict[tuple[int, str], int]]:
    """The newest event that is owed and open, of each of these endpoints and ordering keys; 0: there is none."""
    found: dict[tuple[int, str], int] = {}
    for start in range(0, len(places), SLICE_ROWS):
        part = places[start : start + SLICE_ROWS]
        found.update((part[i], key) for i, key in rows_of(connection, _NEWEST_OPEN, (_encode(part).decode(),)))
        yield len(part)
    return found


def kept_ordering_key(connection: apsw.Connection, event_key: int, endpoint_key: int) -> str | None:
    """The ordering key that a delivery keeps when it is opened; None if its endpoint keeps no order."""
    rows = rows_of(connection, _KEPT_ORDERING_KEY, (event_key, endpoint_key))
    return rows[0][0] if rows else None


def let_out(connection: apsw.Connection, endpoint_key: int, ordering_key: str | None, behind: int, now: int) -> None:
    """Call after an open delivery is gone, with what its row held: what stood behind it may be sent."""
    if ordering_key is not None and not behind:
        connection.execute(_LET_OUT, (endpoint_key, ordering_key, now))


def give_up_order(connection: apsw.Connection, endpoint_key: int, now: int, limit: int) -> Steps[int]:
    """Let up to ``limit`` deliveries keep no order any more; the number of them.

    First those that stand behind: so there is always one ahead of what is left.
    """
    changed = 0
    for statement in (_BEHIND_OF_ENDPOINT, _AHEAD_OF_ENDPOINT):
        while changed < limit:
            rows = rows_of(connection, statement, (endpoint_key, min(SLICE_ROWS, limit - changed)))
            if not rows:
                break
            connection.executemany(_GIVE_UP_ORDER, [(*row, now) for row in rows])
            changed += len(rows)
            yield len(rows)
    return changed


def not_in_order(connection: apsw.Connection, endpoint_key: int, after: Place, limit: int) -> list[tuple[Any, ...]]:
    """Some deliveries behind ``after`` that should keep an ordering key and do not: their places, and that key."""
    return rows_of(connection, _NOT_IN_ORDER, (endpoint_key, *after, limit))


def keep_order(connection: apsw.Connection, endpoint_key: int, found: Sequence[tuple[Any, ...]]) -> Steps[int]:
    """Let those keep order that :func:`not_in_order` has found, as far as they are open; the number of them."""
    changed = 0
    for start in range(0, len(found), SLICE_ROWS):
        part = [(event_key, endpoint_key, key) for _lane, _due_at, event_key, key in found[start : start + SLICE_ROWS]]
        before = connection.total_changes()
        connection.executemany(_KEEP_ORDER, part)
        changed += connection.total_changes() - before
        for ordering_key in {key for *_, key in part}:
            connection.execute(_STEP_BACK, (endpoint_key, ordering_key))
            if connection.changes():
                connection.execute(_STEP_FORWARD, (endpoint_key, ordering_key))
        yield 2 * len(part)
    return changed
