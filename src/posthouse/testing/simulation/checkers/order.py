"""I4: one attempt of a delivery after the other, and none to an endpoint that is held."""

from itertools import pairwise

from posthouse.core.model import EndpointState
from posthouse.testing.simulation.evidence import FOREVER, Evidence, Span
from posthouse.testing.simulation.records import Change, EndpointCall, EndpointRecord, Received
from posthouse.testing.simulation.rows import AttemptRow, Pair

LAW = "I4 order"

_CLOSE = 0.01  #: seconds by which times may be unsure
_HOLDING = frozenset({Change.CREATE, Change.STATE, Change.DELETE})


def check(evidence: Evidence) -> None:
    """Look at what each delivery's requests overlapped, and at what held endpoints got."""
    for pair, requests in sorted(evidence.requests.items()):
        for first, second in pairwise(requests):
            _check_overlap(evidence, pair, first, second)
    for pair, attempts in sorted(evidence.rows.attempts.items()):
        for one, other in pairwise(attempts):
            _check_attempts(evidence, pair, one, other)
    for record in evidence.records.endpoints:
        _check_held(evidence, record)


def _check_overlap(evidence: Evidence, pair: Pair, first: Received, second: Received) -> None:
    """The second request came while the first was surely still on its way, in the same life."""
    if first.life == second.life and overlap(evidence, first, second):
        message = (
            f"the {evidence.name_of(pair)} was sent again while a request that came at {first.at:.3f} was on its way"
        )
        evidence.records.find(LAW, message, second.at)


def overlap(evidence: Evidence, first: Received, second: Received) -> bool:
    """Whether one node sent the second request while the first was surely still on its way."""
    limit = evidence.endpoint[first.endpoint].timeout_ms / 1_000
    begun = evidence.signed(first).low
    end = min(at for at in (first.answered_at, first.ended_at, begun + limit) if at is not None)
    if second.at >= end - _CLOSE or evidence.signed(second).high < begun:
        return False
    troubled = evidence.is_troubled(first.at - limit, second.at, "wire", host=first.host)
    return not troubled and not lost_slot(evidence, first, second)


def lost_slot(evidence: Evidence, first: Received, second: Received) -> bool:
    """Whether a rival held slots of this life in between: a new reign of the node knows nothing of old requests."""
    return any(
        reign.life == first.life and reign.at <= second.at and evidence.noticed_by(reign) >= evidence.signed(first).low
        for reign in evidence.records.reigns
    )


def _check_attempts(evidence: Evidence, pair: Pair, one: AttemptRow, other: AttemptRow) -> None:
    """Rows say when attempts began, and how long they took: they do not overlap within a life."""
    begun = evidence.wall_span(one.started_at, 1, until=evidence.ended_at)
    next_ = evidence.wall_span(other.started_at, 1, until=evidence.ended_at)
    if begun is None or next_ is None:
        evidence.records.find(LAW, f"the {evidence.name_of(pair)} has an attempt at a time that never was")
        return
    end = begun.low + one.total_us / 1e6
    if next_.high >= end - _CLOSE or next_.high < begun.low:  # numbered late, because an operator came between
        return
    lives = [
        life for life in evidence.records.lives if life.began_at <= begun.high and (life.ended_at or FOREVER) >= end
    ]
    reigns = [r for r in evidence.records.reigns if r.at <= next_.high and evidence.noticed_by(r) >= begun.low]
    if lives and not reigns:
        message = f"attempts {one.number} and {other.number} of the {evidence.name_of(pair)} overlap"
        evidence.records.find(LAW, message, next_.low)


def _check_held(evidence: Evidence, record: EndpointRecord) -> None:
    """Nothing was signed for an endpoint while it was surely held: not active by any order of what was asked for."""
    calls = [call for call in record.calls if call.change in _HOLDING]
    if not any(call.change is not Change.CREATE for call in calls):
        return
    for request in evidence.records.received:
        if request.endpoint == record.number and _is_held(evidence, calls, evidence.signed(request)):
            message = f"{request.event_id} was sent to endpoint {record.number} while that was held"
            evidence.records.find(LAW, message, request.at)
    key = evidence.key_of.get(record.number)
    for pair, attempts in sorted(evidence.rows.attempts.items()):
        for attempt in attempts if pair[1] == key else ():
            span = evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at)
            if span is not None and _is_held(evidence, calls, span):
                message = f"attempt {attempt.number} of the {evidence.name_of(pair)} began while the endpoint was held"
                evidence.records.find(LAW, message, span.low)


def _is_held(evidence: Evidence, calls: list[EndpointCall], span: Span) -> bool:
    possible = evidence.possible(calls, span.low, span.high, anywhere=True)
    return all(
        call is not None
        and (call.change is Change.DELETE or (call.change is Change.STATE and call.value is EndpointState.PAUSED))
        for call in possible
    )
