"""I8: numbers have no holes, keys only grow, and one identity stands for one event."""

from collections import Counter
from collections.abc import Sequence

from posthouse.core.ids import EVENT, parse_id
from posthouse.testing.simulation.checkers.downs import Downs
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.rows import AttemptRow

LAW = "I8 density"


def check(evidence: Evidence) -> None:
    """Look at attempts, keys and identities."""
    _check_attempts(evidence)
    _check_keys(evidence)
    _check_identities(evidence)


def _check_attempts(evidence: Evidence) -> None:
    """Attempts are numbered 1..n, and each is in the count of a round unless an operator came between.

    A probe that failed is in no count, if the delivery was not due by its own schedule.
    """
    rows, records = evidence.rows, evidence.records
    downs = {key: Downs(evidence, key) for key in evidence.attempts_of}
    for pair in sorted({*rows.attempts} - rows.pairs):
        records.find(LAW, f"the {evidence.name_of(pair)} has attempts, and is not owed")
    for pair in sorted(rows.pairs):
        attempts = rows.attempts.get(pair, [])
        numbers = [attempt.number for attempt in attempts]
        name = evidence.name_of(pair)
        if numbers != list(range(1, len(numbers) + 1)):
            records.find(LAW, f"the attempts of the {name} are numbered {numbers}")
        obligation = rows.obligations.get(pair)
        discarded = any(row.state == "discarded" for row in rows.history.get(pair, ()))
        counted = sum(row.attempts for row in rows.history.get(pair, ())) + (obligation.attempts if obligation else 0)
        probes = 0 if counted >= len(numbers) else _probes(evidence, attempts, downs[pair[1]])
        excused = discarded or evidence.stepped_in(pair)
        if counted > len(numbers) or (counted < len(numbers) - probes and not excused):
            records.find(LAW, f"the {name} counts {counted} attempts, and {len(numbers)} are there")
        if obligation is not None and obligation.last_number > len(numbers):
            records.find(LAW, f"the {name} knows attempt {obligation.last_number}, and {len(numbers)} are there")
        succeeded = sum(attempt.outcome == "success" for attempt in attempts)
        delivered = sum(row.state == "delivered" for row in rows.history.get(pair, ()))
        if succeeded < delivered:
            records.find(LAW, f"the {name} was delivered {delivered} times by {succeeded} good attempts")


def _probes(evidence: Evidence, attempts: Sequence[AttemptRow], downs: Downs) -> int:
    """How many of these attempts may have been probes that failed.

    The first was due when it was made, unless the clock was set back meanwhile.
    """
    spans = [evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at) for attempt in attempts]
    return sum(
        attempt.outcome != "success"
        and span is not None
        and downs.may_be_down(span.high)
        and (attempt.number > 1 or evidence.is_troubled(span.low, span.high, "step"))
        for attempt, span in zip(attempts, spans, strict=True)
    )


def _check_keys(evidence: Evidence) -> None:
    """A key is greater than all that were acknowledged before it was asked for, over all lives."""
    if evidence.plan.nodes > 1:
        return  # the keys of each node follow its own clock
    asked, acknowledged = [], []
    for publication in evidence.records.publications:
        answers = publication.answers()
        if answers and not answers[0][1]["duplicate"]:
            call, answer = answers[0]
            row = evidence.event_of.get((publication.tenant, answer["id"]))
            key = parse_id(EVENT, answer["id"]) if row is None else row.key
            if key is not None:
                asked.append((call.sent_at, key))
                acknowledged.append((call.ended_at or 0.0, key))
    asked.sort()
    acknowledged.sort()
    floor, position = 0, 0
    for at, key in asked:
        while position < len(acknowledged) and acknowledged[position][0] < at:
            floor = max(floor, acknowledged[position][1])
            position += 1
        if key <= floor:
            evidence.records.find(LAW, f"key {key} was given out after {floor}", at)


def _check_identities(evidence: Evidence) -> None:
    """One identity stands for one event, one Idempotency-Key for one endpoint."""
    rows, records = evidence.rows, evidence.records
    ids = Counter((row.environment, row.tenant, row.id) for row in rows.events.values())
    numbers = Counter(evidence.number_of.values())
    for thing, number in sorted((*ids.items(), *numbers.items()), key=str):
        if number > 1:
            records.find(LAW, f"{thing} is there {number} times")
    for publication in records.publications:
        found = evidence.events_by_data.get(publication.data, [])
        most = 1 if publication.named else sum(call.may_have_worked for call in publication.calls)
        if len(found) > most and not publication.forbidden:
            records.find(LAW, f"{len(found)} events were made of one: {[row.id for row in found]}")
