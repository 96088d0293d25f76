"""I2, the other half: nothing that is owed is given up before its time, or without somebody who asked for it.

And its counterpart: nothing is attempted before it is due.
"""

from itertools import pairwise

from posthouse.core.jobs import JobKind
from posthouse.core.retry import cut, parse_schedule
from posthouse.core.rules import DEFAULT_RULES, Order
from posthouse.testing.simulation.checkers import shapes
from posthouse.testing.simulation.checkers.downs import Downs
from posthouse.testing.simulation.evidence import FOREVER, Evidence, Span
from posthouse.testing.simulation.records import Change, EndpointRecord
from posthouse.testing.simulation.rows import AttemptRow, EventRow, HistoryRow, Pair

LAW = "I2 loss"

_CLOSE_MS = 5  #: by which the times of two rows may be unsure


def check(evidence: Evidence) -> None:
    """Look at every delivery that ended without success, and at the pauses between attempts."""
    for pair, rounds in sorted(evidence.rows.history.items()):
        for row in rounds:
            fault = _fault(evidence, pair, row)
            if fault is not None:
                evidence.records.find(LAW, f"the {evidence.name_of(pair)} was {row.state} ({row.reason}) {fault}")
    downs = {key: Downs(evidence, key) for key in evidence.attempts_of}
    for pair in sorted(evidence.rows.attempts):
        _check_pauses(evidence, pair, downs[pair[1]])


def _fault(evidence: Evidence, pair: Pair, row: HistoryRow) -> str | None:
    """Why a round must not have ended like this."""
    record = evidence.endpoint.get(evidence.number_of.get(pair[1], -1))
    event = evidence.rows.events.get(pair[0])
    if record is None or event is None:
        return "for an endpoint or an event that nobody made"
    if row.state == "exhausted":
        return _exhausted_fault(evidence, record, event, row)
    if row.state != "discarded":
        return None
    if row.reason == "cancelled":
        asked = any(
            c.delivery == pair and c.verb == "cancel" and c.call.may_have_worked
            for c in evidence.records.delivery_calls
        ) or any(job.plan.kind is JobKind.CANCEL for job in evidence.jobs_on(pair))
        return None if asked else "and nobody cancelled it"
    if row.reason == "superseded":
        return _superseded_fault(evidence, record, event, row)
    asked = any(c.change is Change.DELETE and c.call.may_have_worked for c in record.calls)
    return None if asked and row.reason == "endpoint_deleted" else "and nobody deleted the endpoint"


def _exhausted_fault(evidence: Evidence, record: EndpointRecord, event: EventRow, row: HistoryRow) -> str | None:
    """A rule that cannot be evaluated parks it at once; else its schedule is spent, as far as its order uses it."""
    withheld = shapes.withheld(record.rules, event)
    if withheld is not None or row.reason in {"filter_error", "transform_error"}:
        return None if row.reason == withheld else f"although its rules say {withheld}"
    schedule = parse_schedule(record.retry)
    most = 1 + len(schedule.delays)
    span = _settled(evidence, row)
    if Order.FIFO in evidence.orders(record, span.low - record.timeout_ms / 1_000, span.high):
        blocks = {record.rules.block_seconds, DEFAULT_RULES.block_seconds}
        most = min(1 + len(cut(schedule, seconds * 1_000).delays) for seconds in blocks)
    return None if row.attempts >= most else f"after {row.attempts} of {most} attempts"


def _superseded_fault(evidence: Evidence, record: EndpointRecord, event: EventRow, row: HistoryRow) -> str | None:
    """The endpoint wants the latest of each ordering key only, and is owed a later one."""
    span = _settled(evidence, row)
    if Order.LATEST not in evidence.orders(record, span.low, span.high):
        return "by an endpoint that wants every event"
    later = any(
        other.key > event.key
        and other.ordering_key == event.ordering_key is not None
        and other.tenant == event.tenant
        and row.endpoint_key in other.owed
        for other in evidence.rows.events.values()
    )
    return None if later else "by nothing"


def _settled(evidence: Evidence, row: HistoryRow) -> Span:
    span = evidence.wall_span(row.settled_at, 1, until=evidence.ended_at)
    return Span(0.0, FOREVER) if span is None else span


def _check_pauses(evidence: Evidence, pair: Pair, downs: Downs) -> None:
    """Each retry of the only round is at least its delay behind the attempt before it, unless the clock stepped.

    A retry may come earlier if the endpoint answered another request well since the attempt before began, so that what
    waited was pulled forward; or if it was a probe; or if somebody let the endpoint go on. Which delay comes next is
    not known from there on, because a probe spends none.
    """
    record = evidence.endpoint.get(evidence.number_of.get(pair[1], -1))
    if record is None or evidence.plan.steps or evidence.stepped_in(pair):
        return
    delays = parse_schedule(record.retry).delays
    for delay, (one, other) in zip(delays, pairwise(evidence.rows.attempts[pair]), strict=False):
        early_ms = one.started_at + one.total_us // 1_000 + delay - other.started_at
        if early_ms > _CLOSE_MS:
            if not _may_be_early(evidence, one, other, downs):
                message = (
                    f"attempt {other.number} of the {evidence.name_of(pair)} began {early_ms} ms before it was due"
                )
                evidence.records.find("I4 order", message)
            return


def _may_be_early(evidence: Evidence, one: AttemptRow, other: AttemptRow, downs: Downs) -> bool:
    before = evidence.wall_span(one.started_at, 1, until=evidence.ended_at)
    began = evidence.wall_span(other.started_at, 1, until=evidence.ended_at)
    if before is None or began is None:
        return True  # I4 reports it
    since = before.low + one.total_us / 1e6
    excuse = None
    if downs.answered_between(before.low, began.high):
        excuse = "pulled forward"
    elif downs.may_be_down(began.high):
        excuse = "probes ahead of their time"
    elif downs.resumed_between(since, began.high):
        excuse = "let go on by an operator"
    if excuse is not None:
        evidence.records.counts[f"retries {excuse}"] += 1
    return excuse is not None
