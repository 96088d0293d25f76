"""Giving up open deliveries: one, all of an endpoint, or those that a newer one supersedes."""

from collections.abc import Sequence
from typing import Any, Final

import apsw

from posthouse.core.rules import SUPERSEDED
from posthouse.store.sqlite.ordering import let_out
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.settling import note_periods
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps

_BEHIND_BEFORE: Final = SQL["behind_before"]
_BEHIND_OF_ENDPOINT: Final = SQL["behind_of_endpoint"]
_DELETE: Final = SQL["delete_obligation"]
_DISCARD: Final = SQL["discard_into_history"]
_NEWEST_BEHIND: Final = SQL["newest_behind"]
_OPEN_OF_ENDPOINT: Final = SQL["open_of_endpoint"]
_STANDS_AHEAD: Final = SQL["stands_ahead"]

_Delivery = tuple[int, int]  # event key, endpoint key


def discard(connection: apsw.Connection, deliveries: Sequence[_Delivery], *, reason: str, now: int) -> list[_Delivery]:
    """Discard those of these distinct deliveries that are open, and let out what stands behind; which they were."""
    connection.executemany(_DISCARD, [(*delivery, reason, now) for delivery in deliveries])
    gone: list[Any] = connection.executemany(_DELETE, deliveries).fetchall()
    note_periods(connection, gone)
    for _event_key, endpoint_key, ordering_key, behind in gone:
        let_out(connection, endpoint_key, ordering_key, behind, now)
    return [(event_key, endpoint_key) for event_key, endpoint_key, *_ in gone]


def discard_endpoint(connection: apsw.Connection, endpoint_key: int, reason: str, now: int, limit: int) -> Steps[int]:
    """Discard up to ``limit`` open deliveries of an endpoint; the number of them.

    First those that stand behind: so none of them is let out only to be discarded next.
    """
    discarded = 0
    for statement in (_BEHIND_OF_ENDPOINT, _OPEN_OF_ENDPOINT):
        while discarded < limit:
            deliveries = rows_of(connection, statement, (endpoint_key, min(SLICE_ROWS, limit - discarded)))
            if not deliveries:
                break
            discard(connection, deliveries, reason=reason, now=now)
            discarded += len(deliveries)
            yield SLICE_ROWS
    return discarded


def supersede(connection: apsw.Connection, deliveries: Sequence[_Delivery], now: int) -> Steps[list[_Delivery]]:
    """Discard what a newer one behind it makes out of date; see the protocol."""
    superseded: list[_Delivery] = []
    for event_key, endpoint_key in deliveries:
        ahead = rows_of(connection, _STANDS_AHEAD, (event_key, endpoint_key))
        yield 1
        if not ahead:
            continue
        ordering_key = ahead[0][0]
        newest = value_of(connection, _NEWEST_BEHIND, (endpoint_key, ordering_key))
        if newest is None or newest < event_key:
            continue
        yield from keep_newest(connection, endpoint_key, ordering_key, now)
        superseded += discard(connection, [(event_key, endpoint_key)], reason=SUPERSEDED, now=now)
    return superseded


def keep_newest(connection: apsw.Connection, endpoint_key: int, ordering_key: str, now: int) -> Steps[None]:
    """Of those that stand behind others of an ordering key, discard all but the newest."""
    newest = value_of(connection, _NEWEST_BEHIND, (endpoint_key, ordering_key))
    place = (endpoint_key, ordering_key, newest, SLICE_ROWS)
    while older := rows_of(connection, _BEHIND_BEFORE, place):
        discard(connection, older, reason=SUPERSEDED, now=now)
        yield 4 * len(older)
