"""Why an open delivery waits: the rule that holds it, in one sentence."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core.model import EndpointState, Lane
from posthouse.core.rules import DEFAULT_RULES, DEFAULT_TENANT_RULES, Rules, TenantRules
from posthouse.core.time_format import rfc3339


class Hold(StrEnum):
    """What holds a delivery. The codes are API."""

    IN_FLIGHT = "in_flight"  #: a request is on its way
    SETTLING = "settling"  #: a request has ended, and its outcome is not durable yet
    ENDPOINT_PAUSED = "endpoint_paused"
    ENDPOINT_DISABLED = "endpoint_disabled"
    HANDSHAKE = "handshake"  #: its endpoint has not answered the handshake of its format
    BREAKER_OPEN = "breaker_open"  #: its endpoint is down; probes look whether it is up again
    RECOVERING = "recovering"  #: its endpoint answers again and gets what waited, with a ramp
    THROTTLED = "throttled"  #: its endpoint asked for less
    RATE = "rate"  #: the endpoint's rate
    TENANT_RATE = "tenant_rate"
    ENDPOINT_CAP = "endpoint_cap"  #: as many requests are on their way to its endpoint as may be
    TENANT_CAP = "tenant_cap"
    NODE_CAP = "node_cap"
    ORDER = "order"  #: an earlier event of its ordering key is not settled
    PARKED = "parked"  #: an operator put it aside
    JOB = "job"  #: a job moves the backlog of its endpoint
    BATCH = "batch"  #: its batch fills
    DUE_AT = "due_at"
    TAKEOVER = "takeover"  #: what the node before sent may still be on its way, and its endpoint keeps order
    NO_OWNER = "no_owner"  #: no node that lives works for its endpoint
    ELSEWHERE = "elsewhere"  #: another node works for its endpoint, and knows more
    STUCK = "stuck"
    LANE = "lane"  #: live work goes first
    QUEUED = "queued"


class Wait(msgspec.Struct, frozen=True):
    """What an open delivery waits for."""

    code: Hold
    message: str  #: one sentence: the rule, and when it changes
    until: int | None = None  #: when that changes by itself, Unix ms; None: nobody knows, or somebody has to act


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An open delivery, its endpoint and tenant, as far as that says what it waits for."""

    lane: Lane
    attempts: int  #: over all rounds
    due_at: int  #: Unix ms
    behind: str | None = None  #: id of the delivery of its ordering key that is to be settled first
    endpoint_state: EndpointState = EndpointState.ACTIVE
    state_reason: str | None = None
    is_reordering: bool = False  #: the endpoint is paused only until its deliveries are in their new order
    is_correctable: bool = False  #: what disabled the endpoint is to be corrected before it is resumed
    rules: Rules = DEFAULT_RULES
    tenant_rules: TenantRules = DEFAULT_TENANT_RULES
    node: str | None = None  #: which other node works for its endpoint


#: What cannot be held any more.
_UNDER_WAY: Final = frozenset({Hold.IN_FLIGHT, Hold.SETTLING})
#: What holds a delivery whether it is due or not: its endpoint is down or comes back, so its own time does not count.
_BEFORE_DUE: Final = frozenset({Hold.BREAKER_OPEN, Hold.RECOVERING})


def wait_of(waiting: Waiting, *, held_by: Hold | None, until: int | None, now: int) -> Wait:
    """What an open delivery waits for: the first that holds, in the order in which the engine asks.

    Args:
        waiting: the delivery.
        held_by: what the node that works for it says; None: nothing that it knows of.
        until: when that changes by itself, Unix ms, if it says so.
        now: Unix ms.
    """
    if held_by is not None and held_by in _UNDER_WAY:
        return Wait(held_by, f"{_RULES[held_by]}.")
    told = _told(waiting)
    if told is not None:
        return told
    if held_by not in _BEFORE_DUE and waiting.due_at > now:
        what = "The next attempt" if waiting.attempts else "The first attempt"
        return Wait(Hold.DUE_AT, f"{what} is due at {rfc3339(waiting.due_at)}.", waiting.due_at)
    hold = held_by or Hold.QUEUED
    return Wait(hold, f"{_rule(hold, waiting)}{_change(hold, until)}.", until)


def _told(waiting: Waiting) -> Wait | None:
    """What holds a delivery until somebody, or another delivery, lets it go; None: nothing of that kind."""
    hold: Hold | None = None
    message = ""
    if waiting.is_reordering:
        hold = Hold.ENDPOINT_PAUSED
        message = "The deliveries of the endpoint are brought into its new order; then it goes on by itself."
    elif waiting.endpoint_state is EndpointState.PAUSED:
        hold, message = Hold.ENDPOINT_PAUSED, "The endpoint is paused; resume it to go on."
    elif waiting.endpoint_state is not EndpointState.ACTIVE:
        hold, message = Hold.ENDPOINT_DISABLED, _disabled(waiting)
    elif waiting.lane is Lane.PARKED:
        hold, message = Hold.PARKED, "It is put aside; drain, promote or retry it to go on."
    elif waiting.behind is not None:
        hold = Hold.ORDER
        message = f"It goes after the delivery {waiting.behind} of an earlier event with its ordering key."
    return None if hold is None else Wait(hold, message)


def _disabled(waiting: Waiting) -> str:
    because = "" if waiting.state_reason is None else f" ({waiting.state_reason})"
    first = "correct it, then " if waiting.is_correctable else ""
    return f"The endpoint is {waiting.endpoint_state}{because}; {first}resume it to go on."


def _rule(hold: Hold, waiting: Waiting) -> str:
    """The rule that holds a delivery, without a full stop."""
    rules, tenant = waiting.rules, waiting.tenant_rules
    match hold:
        case Hold.RATE:
            said = f"The endpoint gets at most {rules.rate}" if rules.rate else _RULES[hold]
        case Hold.TENANT_RATE:
            said = f"The endpoints of its tenant get at most {tenant.rate} together" if tenant.rate else _RULES[hold]
        case Hold.ENDPOINT_CAP:
            said = _capped("the endpoint", rules.in_flight_max)
        case Hold.TENANT_CAP:
            said = _capped("the endpoints of its tenant", tenant.in_flight_max)
        case Hold.BATCH if rules.batch is not None:
            said = (
                f"A batch leaves with {rules.batch.max_events} events, or {rules.batch.max_wait_ms} ms after its first"
            )
        case Hold.ELSEWHERE if waiting.node is not None:
            said = f"The node {waiting.node} works for its endpoint, and sends it in its turn"
        case _:
            said = _RULES[hold]
    return said


def _capped(whom: str, bound: int | None) -> str:
    bounded = "" if bound is None else f" ({bound})"
    return f"As many requests as may be{bounded} are on their way to {whom} now; it goes when one is answered"


def _change(hold: Hold, until: int | None) -> str:
    """When that changes, as the end of the sentence."""
    if until is None:
        return ""
    return f"; {_NEXT.get(hold, 'it goes on')} at {rfc3339(until)}"


#: What comes at the time that is told, where that does not let the delivery go yet.
_NEXT: Final[Mapping[Hold, str]] = MappingProxyType(
    {Hold.BREAKER_OPEN: "the next probe goes out", Hold.HANDSHAKE: "the next handshake goes out"}
)
_RULES: Final[Mapping[Hold, str]] = MappingProxyType(
    {
        Hold.IN_FLIGHT: "A request is on its way to the endpoint",
        Hold.SETTLING: "A request has ended, and what came of it is being written down",
        Hold.HANDSHAKE: "The endpoint is to answer the handshake of its format first",
        Hold.BREAKER_OPEN: "The endpoint is down, and probes look whether it answers again; then everything goes on",
        Hold.RECOVERING: "The endpoint answers again, and gets what has waited, in order, at no more than twice its "
        "usual rate",
        Hold.THROTTLED: "The endpoint asked for fewer requests, or was too slow with them",
        Hold.RATE: "The endpoint gets requests at a limited rate",
        Hold.TENANT_RATE: "The endpoints of its tenant get requests at a limited rate",
        Hold.NODE_CAP: "The node has as many requests on their way as it may; it goes when one is answered",
        Hold.ORDER: "An earlier event with its ordering key is not settled",
        Hold.JOB: "A bulk job works on the backlog of its endpoint, which goes on after it",
        Hold.BATCH: "Its batch waits to fill",
        Hold.TAKEOVER: "The endpoint keeps order, and requests of the node before may still be on their way",
        Hold.NO_OWNER: "No node works for its endpoint at the moment; one takes over within seconds",
        Hold.ELSEWHERE: "Another node works for its endpoint, and sends it in its turn",
        Hold.STUCK: "It is due and nothing holds its queue, but the queue does not move; see the node's log",
        Hold.LANE: "Live deliveries go first, and leave a fifth of the capacity to the others",
        Hold.QUEUED: "It is due and waits for its turn; a node sends only so many requests at a time",
    }
)
