"""I5: one owner decides about an endpoint; a former owner's results are refused, and it sends nothing."""

from typing import Final

from posthouse.core.model import slot_of
from posthouse.testing.simulation.evidence import FOREVER, Evidence
from posthouse.testing.simulation.records import Move, Received, Reign

LAW = "I5 single owner"

_CLOSE: Final = 0.05  #: seconds by which times may be unsure
_AGES_MS: Final = 1 << 50  #: longer than any history


def check(evidence: Evidence) -> None:
    """Hold every reign of a rival, and every slot that changed hands, against rows and requests."""
    for request in evidence.records.received:
        _check_owner(evidence, request)
    for reign in evidence.records.reigns:
        _check_rows(evidence, reign)
        _check_late_rows(evidence, reign)
        _check_requests(evidence, reign)


def _check_owner(evidence: Evidence, request: Received) -> None:
    """Who had lost a slot, or given it up, sent nothing for it any more."""
    key, names = evidence.key_of.get(request.endpoint), evidence.records.names
    moves = () if key is None else evidence.moves_of.get(slot_of(key), ())
    left = evidence.signed(request)
    lost: Move | None = None
    for move in moves:
        if move.at > request.at:
            break
        if move.after is not None and names.get(move.after) == request.life:
            lost = None
        elif move.before is not None and names.get(move.before) == request.life and move.at + _CLOSE < left.low:
            lost = move
    if moves:
        evidence.records.counts["owners checked"] += 1
    if lost is not None:
        message = f"{request.event_id} was sent to endpoint {request.endpoint} by life {request.life}, after {lost}"
        evidence.records.find(LAW, message, request.at)


def _check_rows(evidence: Evidence, reign: Reign) -> None:
    """While a rival held the slots, nobody settled anything there."""
    if reign.after is None:
        return
    for event_key, endpoint_key, number in sorted(reign.after - reign.before):
        message = f"attempt {number} of the {evidence.name_of((event_key, endpoint_key))} was settled under a rival"
        evidence.records.find(LAW, message, reign.at)


def _check_late_rows(evidence: Evidence, reign: Reign) -> None:
    """What was on its way when the rival came was never settled."""
    if reign.after is None:
        return
    known = reign.before
    for pair, attempts in sorted(evidence.rows.attempts.items()):
        if slot_of(pair[1]) not in reign.slots:
            continue
        for attempt in attempts:
            span = evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at)
            if span is not None and span.high < reign.at and (*pair, attempt.number) not in known:
                message = (
                    f"attempt {attempt.number} of the {evidence.name_of(pair)} began before the rival, settled after"
                )
                evidence.records.find(LAW, message, reign.at)


def _check_requests(evidence: Evidence, reign: Reign) -> None:
    """Once its lease was surely over, the node sent nothing for those slots until the rival had left."""
    until = min(reign.until or FOREVER, _expired_at(evidence, reign))
    for request in evidence.records.received:
        key = evidence.key_of.get(request.endpoint)
        if key is None or slot_of(key) not in reign.slots or request.life != reign.life:
            continue
        left = evidence.signed(request)
        if left.low <= reign.lease_over_at + _CLOSE or left.high >= until - _CLOSE:
            continue
        message = f"{request.event_id} was sent to endpoint {request.endpoint}, which a rival owned"
        evidence.records.find(LAW, message, request.at)


def _expired_at(evidence: Evidence, reign: Reign) -> float:
    """When the rival's lease was first over by the wall clock, which a step can bring about early."""
    if reign.lease_until is None:
        return FOREVER
    over = evidence.clock.times_of(reign.lease_until, _AGES_MS)
    return min((max(low, reign.at) for low, high in over if high >= reign.at), default=FOREVER)
