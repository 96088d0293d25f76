"""I6: a delivery that was answered with success is sent again only for a cause."""

from posthouse.core.jobs import REOPENING
from posthouse.testing.simulation.checkers import causes
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import Received
from posthouse.testing.simulation.rows import Pair

LAW = "I6 duplicates"


def check(evidence: Evidence) -> None:
    """Find the cause of every repeat after a success, and count it."""
    for pair, requests in sorted(evidence.requests.items()):
        answered = [request for request in requests if request.succeeded]
        for request in requests:
            before = [a for a in answered if (a.answered_at or a.at) < request.at]
            if before:
                _explain(evidence, pair, max(before, key=lambda a: a.at), request)


def _explain(evidence: Evidence, pair: Pair, first: Received, again: Received) -> None:
    if evidence.signed(again).high <= (first.answered_at or first.at):
        evidence.records.counts["requests overtaken"] += 1  # it left before the answer, and took its time
        return
    evidence.records.counts["duplicates"] += 1
    cause = (
        _operator(evidence, pair, first, again)
        or causes.rival(evidence, first)
        or causes.taken_over(evidence, first)
        or _end_of_life(evidence, first, again)
        or causes.unknown(evidence, first)
    )
    if cause is not None:
        evidence.records.counts[f"duplicate {cause}"] += 1
        return
    message = (
        f"the {evidence.name_of(pair)} came again although it was answered ({first.mood}) at {first.answered_at:.3f}"
        f" in life {first.life}"
    )
    evidence.records.find(LAW, message, again.at)


def _operator(evidence: Evidence, pair: Pair, first: Received, again: Received) -> str | None:
    for call in evidence.records.delivery_calls:
        if call.delivery == pair and call.verb == "retry" and call.call.may_have_worked:
            effect = evidence.effect(call.call)
            if effect.low <= again.at and effect.high >= first.at:
                return "by an operator"
    reopens = any(job.plan.kind in REOPENING for job in evidence.jobs_on(pair))
    return "by a job" if reopens and evidence.rows.reopened.get(pair) else None


def _end_of_life(evidence: Evidence, first: Received, again: Received) -> str | None:
    life = evidence.life(first.life)
    if life is None or life.ended_at is None or life.ended_at > again.at:
        return None
    return causes.end_of_life(evidence, first)
