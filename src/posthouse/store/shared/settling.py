"""What the outcome of an attempt writes, without a store."""

from functools import lru_cache
from typing import Any, Final

from posthouse.core.model import Lane, slot_of
from posthouse.store.protocol import Settlement

#: By lane: what history says of it. That a delivery was parked is no fact about how it was sent.
KEPT_LANES: Final = (Lane.LIVE, Lane.RETRY, Lane.BACKLOG, Lane.BACKLOG)

#: As :func:`~posthouse.core.model.slot_of`; the same few endpoints settle again and again.
slot_of_endpoint = lru_cache(maxsize=65_536)(slot_of)


def number_of(settlement: Settlement) -> int:
    """The number of the attempt, which an obligation that stays open must have had."""
    assert settlement.attempt is not None, "what is not attempted is settled for good"
    return settlement.attempt.number


def history_row(settlement: Settlement) -> tuple[Any, ...]:
    """Event key, endpoint key, round, state, reason, lane, attempts, opened_at, settled_at."""
    o = settlement.obligation
    return (
        o.event_key,
        o.endpoint_key,
        o.round,
        settlement.state,
        settlement.reason,
        KEPT_LANES[o.lane],
        o.attempts if settlement.attempt is None else o.attempts + 1,
        o.opened_at,
        settlement.settled_at,
    )
