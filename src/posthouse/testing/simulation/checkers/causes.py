"""Why a node may not know, or not have written down, what became of a request."""

from typing import Final

from posthouse.core.model import slot_of
from posthouse.testing.simulation.evidence import FOREVER, Evidence
from posthouse.testing.simulation.plan import Mood
from posthouse.testing.simulation.records import Received

SETTLE_SECONDS: Final = 1.5  #: until an outcome is durable, when nothing is wrong
LATENCY_SECONDS: Final = 1.0  #: of an answer, when the network is not at its worst
_AFTER_TROUBLE: Final = 3.0  #: more, when something was


def settled_by(evidence: Evidence, request: Received) -> float:
    """Until when the outcome of a request may have been unsettled."""
    known = request.answered_at or request.ended_at
    limit = evidence.endpoint[request.endpoint].timeout_ms / 1_000
    timed_out = evidence.signed(request).high + limit
    until = (timed_out if known is None else min(known, timed_out)) + SETTLE_SECONDS
    for trouble in evidence.records.troubles:
        if trouble.kind in {"disk", "freeze"} and trouble.overlaps(request.at, until):
            until = max(until, trouble.until + SETTLE_SECONDS + _AFTER_TROUBLE)
    return until


def rival(evidence: Evidence, request: Received) -> str | None:
    """A rival took the slot while the outcome was unsettled, or the node had not noticed that it has it again."""
    until = settled_by(evidence, request)
    for reign in evidence.records.reigns:
        ruled = reign.life == request.life and reign.at <= until
        if ruled and evidence.noticed_by(reign) >= evidence.signed(request).low:
            return "after a rival"
    return None


def taken_over(evidence: Evidence, request: Received) -> str | None:
    """Another node took the slot, which this one had not given up, while the outcome was unsettled."""
    key = evidence.key_of.get(request.endpoint)
    until = settled_by(evidence, request)
    if key is None or evidence.lost_at(request.life, slot_of(key), evidence.signed(request).low, until) is None:
        return None
    return "after a takeover"


def end_of_life(evidence: Evidence, request: Received) -> str | None:
    """The process ended before the outcome was settled."""
    life = evidence.life(request.life)
    if life is None or life.ended_at is None:
        return None
    until = settled_by(evidence, request)
    if life.how != "stopped":
        return "after a crash" if life.ended_at <= until or life.how == "failed" else None
    known = request.answered_at or request.ended_at or FOREVER
    cut_off = (life.stopping_at or FOREVER) + evidence.plan.drain_seconds - SETTLE_SECONDS
    if known >= cut_off or evidence.is_troubled(request.at, life.ended_at, "disk"):
        return "after a stop"
    return None


def unknown(evidence: Evidence, request: Received) -> str | None:
    """The node cannot have known of an answer in time."""
    answered = request.answered_at or request.at
    limit = evidence.endpoint[request.endpoint].timeout_ms / 1_000
    if request.mood is Mood.LATE or answered + LATENCY_SECONDS >= evidence.signed(request).low + limit:
        return "after a late answer"
    if evidence.is_troubled(request.at - 1, answered + LATENCY_SECONDS, "wire", host=request.host):
        return "after a fault of the network"
    if evidence.is_troubled(request.at - 1, answered + LATENCY_SECONDS, "freeze"):
        return "after standing still"
    return None
