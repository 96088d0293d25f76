"""The delivery state machine: one total table.

Every pair of state and signal is either a target in :data:`TRANSITIONS` or a refusal. Being in flight is no
state: a node's memory is only a window over the store, so a delivery that is being sent is still
waiting or retrying until its outcome is durable.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from posthouse.core.errors import Conflict


class State(StrEnum):
    """Where a delivery stands. The five columns of the books."""

    WAITING = "waiting"  #: owed, not attempted in this round
    RETRYING = "retrying"  #: attempted and failed, will be attempted again
    DELIVERED = "delivered"  #: the endpoint took it: it answered with a status that counts as success
    EXHAUSTED = "exhausted"  #: its attempts or its span are spent
    DISCARDED = "discarded"  #: a rule or an operator gave it up, for a named reason


class Signal(StrEnum):
    """What can happen to a delivery."""

    SUCCEED = "succeed"  #: the endpoint took it
    FAIL = "fail"  #: an attempt failed and another one is due
    GIVE_UP = "give_up"  #: an attempt failed and none is left
    DISCARD = "discard"  #: withdrawn: cancelled, or its endpoint was deleted
    RETRY = "retry"  #: an operator wants it attempted now


OPEN: Final = frozenset({State.WAITING, State.RETRYING})
FINAL: Final = frozenset({State.DELIVERED, State.EXHAUSTED, State.DISCARDED})

TRANSITIONS: Final[Mapping[tuple[State, Signal], State]] = MappingProxyType(
    {
        (State.WAITING, Signal.SUCCEED): State.DELIVERED,
        (State.WAITING, Signal.FAIL): State.RETRYING,
        (State.WAITING, Signal.GIVE_UP): State.EXHAUSTED,
        (State.WAITING, Signal.DISCARD): State.DISCARDED,
        (State.WAITING, Signal.RETRY): State.WAITING,
        (State.RETRYING, Signal.SUCCEED): State.DELIVERED,
        (State.RETRYING, Signal.FAIL): State.RETRYING,
        (State.RETRYING, Signal.GIVE_UP): State.EXHAUSTED,
        (State.RETRYING, Signal.DISCARD): State.DISCARDED,
        (State.RETRYING, Signal.RETRY): State.RETRYING,
        (State.DELIVERED, Signal.RETRY): State.WAITING,
        (State.EXHAUSTED, Signal.RETRY): State.WAITING,
        (State.DISCARDED, Signal.RETRY): State.WAITING,
    }
)


def step(state: State, signal: Signal) -> State:
    """The state after ``signal``. Raises :class:`Conflict` where the table has no target."""
    target = TRANSITIONS.get((state, signal))
    if target is None:
        raise Conflict(f"A delivery that is {state} cannot {signal}.", hint="Only a retry re-opens a settled delivery.")
    return target


def open_state(attempts: int) -> State:
    """The state of an open delivery, derived from the attempts of its round."""
    return State.RETRYING if attempts else State.WAITING
