"""I8 from the other side: each request that a receiver got is an attempt in the books, or there is a cause.

One attempt is one request, and a second one only if the first was sent on a connection that was kept
alive and died without a byte of an answer.
"""

from collections.abc import Sequence
from typing import Final

from posthouse.testing.simulation.checkers import causes
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.plan import Mood
from posthouse.testing.simulation.records import Received
from posthouse.testing.simulation.rows import AttemptRow, Pair

LAW = "I8 density"

_ON_THE_WAY: Final = 1.0  #: seconds that a request may arrive after its attempt is over
_ANSWERING: Final = frozenset({Mood.CUT_HEAD, Mood.CUT_BODY, Mood.GARBAGE, Mood.DRIP})  #: without a whole answer


def check(evidence: Evidence) -> None:
    """Give every request to its attempt."""
    for pair, requests in sorted(evidence.requests.items()):
        sent: dict[int, Received] = {}
        for request in requests:
            if _is_refused_batch(request):
                evidence.records.counts["batches refused"] += 1
                continue
            number = _attempt(evidence, request, evidence.rows.attempts.get(pair, ()), sent)
            if number is None:
                _explain(evidence, pair, request)
            elif number not in sent:
                sent[number] = request
            else:
                _check_second(evidence, pair, sent[number], request)


def _is_refused_batch(request: Received) -> bool:
    """Whether what was sent was refused for something that one of its events has: it is sent in parts, which count."""
    return len(request.event_ids) > 1 and request.mood is Mood.PICKY and not request.succeeded


def _attempt(
    evidence: Evidence, request: Received, attempts: Sequence[AttemptRow], sent: dict[int, Received]
) -> int | None:
    """The number of the attempt that a request belongs to: the first that has none yet, or the latest of all."""
    found = []
    for attempt in attempts:
        if attempt.started_at // 1_000 != request.stamp:
            continue
        begun = evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at)
        if begun is not None and begun.low <= request.at <= begun.high + attempt.total_us / 1e6 + _ON_THE_WAY:
            found.append(attempt.number)
    return min((number for number in found if number not in sent), default=max(found, default=None))


def _explain(evidence: Evidence, pair: Pair, request: Received) -> None:
    if not _is_excused(evidence, request):
        message = f"the {evidence.name_of(pair)} came in life {request.life}, and no attempt says so ({request.mood})"
        evidence.records.find(LAW, message, request.at)


def _is_excused(evidence: Evidence, request: Received) -> bool:
    """Whether there is a cause for which a request may be missing in the books; it is counted."""
    cause = (
        causes.rival(evidence, request) or causes.taken_over(evidence, request) or causes.end_of_life(evidence, request)
    )
    if cause is None and evidence.is_troubled(evidence.signed(request).low, request.at, "wire", host=request.host):
        cause = "and came late"
    if cause is not None:
        evidence.records.counts[f"unrecorded {cause}"] += 1
    return cause is not None


def _check_second(evidence: Evidence, pair: Pair, first: Received, again: Received) -> None:
    """Judge two requests that fit one attempt: a resend, or one of them is of an attempt that is not in the books."""
    answered = first.status is not None or first.mood in _ANSWERING
    troubled = evidence.is_troubled(first.at - _ON_THE_WAY, again.at, "wire", host=first.host)
    if first.life == again.life and (troubled or not answered):
        evidence.records.counts["resends"] += 1
    elif not (_is_excused(evidence, again) or _is_excused(evidence, first)):
        message = f"the {evidence.name_of(pair)} was sent twice in one attempt, after some of an answer ({first.mood})"
        evidence.records.find(LAW, message, again.at)
