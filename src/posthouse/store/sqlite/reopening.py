"""Opening a delivery again, or sooner."""

from typing import Final

import apsw

from posthouse.core.delivery import Signal, State, step
from posthouse.core.model import Lane, Obligation
from posthouse.store.sqlite.ordering import kept_ordering_key
from posthouse.store.sqlite.rows import LANES, rows_of
from posthouse.store.sqlite.statements import SQL

_ATTEMPT_NUMBERS: Final = SQL["attempt_numbers"]
_HASTEN: Final = SQL["hasten_obligation"]
_INSERT_REOPENED: Final = SQL["insert_reopened"]
_LATEST_HISTORY: Final = SQL["latest_history"]
_REOPEN: Final = SQL["reopen_obligation"]


def retry(connection: apsw.Connection, event_key: int, endpoint_key: int, now: int) -> Obligation | None:
    """Make a delivery due now, from every state; see the protocol."""
    rows = rows_of(connection, _HASTEN, (event_key, endpoint_key, now))
    if rows:
        lane, *values = rows[0]
        return Obligation(event_key, endpoint_key, LANES[lane], *values)
    settled = rows_of(connection, _LATEST_HISTORY, (event_key, endpoint_key))
    if not settled:
        return None
    round_, state, reason = settled[0]
    step(State(state), Signal.RETRY)  # the table allows it from every settled state
    last_number = rows_of(connection, _ATTEMPT_NUMBERS, (event_key, endpoint_key, 0))[0][1]
    ordering_key = kept_ordering_key(connection, event_key, endpoint_key)
    connection.execute(_INSERT_REOPENED, (event_key, endpoint_key, round_, state, reason, now))
    reopened = (event_key, endpoint_key, Lane.BACKLOG, now, round_ + 1, last_number, ordering_key)
    connection.execute(_REOPEN, reopened)
    return Obligation(event_key, endpoint_key, Lane.BACKLOG, now, now, 0, round_ + 1, last_number, ordering_key)
