"""I2, the other half: nothing that is owed is given up before its time, or without somebody who asked for it.

And its counterpart: nothing is attempted before it is due.
"""

from itertools import pairwise

from posthouse.core.retry import parse_schedule
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import Change, DeliveryCall
from posthouse.testing.simulation.rows import HistoryRow, Pair

LAW = "I2 loss"

_CLOSE_MS = 5  #: by which the times of two rows may be unsure


def check(evidence: Evidence) -> None:
    """Look at every delivery that ended without success, and at the pauses between attempts."""
    for pair, rounds in sorted(evidence.rows.history.items()):
        for row in rounds:
            fault = _fault(evidence, pair, row)
            if fault is not None:
                evidence.records.find(LAW, f"the {evidence.name_of(pair)} was {row.state} ({row.reason}) {fault}")
    for pair in sorted(evidence.rows.attempts):
        _check_pauses(evidence, pair)


def _fault(evidence: Evidence, pair: Pair, row: HistoryRow) -> str | None:
    """Why a round must not have ended like this."""
    record = evidence.endpoint.get(evidence.number_of.get(pair[1], -1))
    if record is None:
        return "for an endpoint that nobody made"
    if row.state == "exhausted":
        most = 1 + len(parse_schedule(record.retry).delays)
        return None if row.attempts >= most else f"after {row.attempts} of {most} attempts"
    if row.state == "discarded" and row.reason == "cancelled":
        asked = any(c.delivery == pair and c.verb == "cancel" and c.call.may_have_worked for c in _calls(evidence))
        return None if asked else "and nobody cancelled it"
    if row.state == "discarded":
        asked = any(c.change is Change.DELETE and c.call.may_have_worked for c in record.calls)
        return None if asked and row.reason == "endpoint_deleted" else "and nobody deleted the endpoint"
    return None


def _check_pauses(evidence: Evidence, pair: Pair) -> None:
    """Each retry of the only round is at least its delay behind the attempt before it, unless the clock stepped."""
    record = evidence.endpoint.get(evidence.number_of.get(pair[1], -1))
    if record is None or evidence.plan.steps or any(call.delivery == pair for call in _calls(evidence)):
        return
    delays = parse_schedule(record.retry).delays
    for delay, (one, other) in zip(delays, pairwise(evidence.rows.attempts[pair]), strict=False):
        early_ms = one.started_at + one.total_us // 1_000 + delay - other.started_at
        if early_ms > _CLOSE_MS:
            message = f"attempt {other.number} of the {evidence.name_of(pair)} began {early_ms} ms before it was due"
            evidence.records.find("I4 order", message)


def _calls(evidence: Evidence) -> list[DeliveryCall]:
    return evidence.records.delivery_calls
