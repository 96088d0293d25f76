"""I2: what was acknowledged is there, with all that it owes; and what is shown as delivered was delivered."""

from itertools import pairwise

from posthouse.core.routing import Router
from posthouse.testing.simulation.checkers import shapes
from posthouse.testing.simulation.evidence import TEST_TYPE, Evidence, Span
from posthouse.testing.simulation.records import Change, EndpointRecord, Outcome, Publication, Received
from posthouse.testing.simulation.rows import EventRow, Pair

LAW = "I2 loss"
_MEETING_SECONDS = 0.01
_ROUTING = frozenset({Change.CREATE, Change.SUBSCRIBE, Change.DELETE})


def check(evidence: Evidence) -> None:
    """Look up every acknowledgement, every debt, every success."""
    for publication in evidence.records.publications:
        _check_answers(evidence, publication)
    for row in evidence.rows.events.values():
        if not is_test(row):
            _check_debts(evidence, row)
    _check_successes(evidence)
    _check_endpoints(evidence)


def _check_answers(evidence: Evidence, publication: Publication) -> None:
    records = evidence.records
    ids: set[str] = set()
    done_before = False
    for call, answer in publication.answers():
        row = evidence.event_of.get((publication.tenant, answer["id"]))
        if row is None or row.data != publication.data:
            records.find(LAW, f"event {answer['id']} was acknowledged and is not in the store", call.ended_at)
            continue
        if answer["deliveries"] != len(row.owed):
            message = f"the answer says that {answer['id']} owes {answer['deliveries']}, the store {len(row.owed)}"
            records.find(LAW, message, call.ended_at)
        tried_before = any(
            c.may_have_worked and c is not call and c.sent_at <= (call.ended_at or 0) for c in publication.calls
        )
        if answer["duplicate"] and not tried_before:
            records.find(LAW, f"{answer['id']} was called a repeat the first time", call.ended_at)
        if publication.named and done_before and not answer["duplicate"]:
            records.find(LAW, f"the repeat of {answer['id']} was not recognised", call.ended_at)
        ids.add(answer["id"])
        done_before = True
    if publication.named and len(ids) > 1:
        records.find(LAW, f"repeats of one event were acknowledged as {sorted(ids)}")


def _check_debts(evidence: Evidence, row: EventRow) -> None:
    """The event owes a delivery to each endpoint that subscribed to it when it was accepted."""
    span = routed_span(evidence, row)
    if span is None:
        return  # invention reports it
    for record in evidence.records.endpoints:
        if record.tenant != row.tenant:
            continue
        takes = _takes(evidence, record, row.type, span)
        if shapes.wants(record.rules, row) is False:
            takes = {False}
        key = evidence.key_of.get(record.number)
        owed = key in row.owed
        if not owed and takes == {True}:
            message = f"{row.id} ({row.type}) was accepted and is not owed to endpoint {record.number}"
            evidence.records.find(LAW, message, span.low)
        elif owed and True not in takes:
            message = f"{row.id} ({row.type}) is owed to endpoint {record.number}, which did not subscribe to it"
            evidence.records.find("I3 invention", message, span.low)


def accepted_span(evidence: Evidence, row: EventRow, publication: Publication) -> Span | None:
    """When the event was routed: from the time that its row names to the answer; None if that was never asked for."""
    found = []
    for call in publication.calls:
        if call.may_have_worked:
            effect = evidence.effect(call)
            span = evidence.wall_span(row.accepted_at, 1, since=effect.low, until=effect.high)
            if span is not None:
                found.append(Span(span.low, effect.high))
    return Span(min(s.low for s in found), max(s.high for s in found)) if found else None


def routed_span(evidence: Evidence, row: EventRow) -> Span | None:
    """When an event that was published, or found in a request to a source, was routed; None if nobody sent it."""
    arrival = evidence.rows.inbound.arrivals.get(row.key)
    if arrival is None:
        publication = evidence.publication_of.get(row.data)
        return None if publication is None else accepted_span(evidence, row, publication)
    request = evidence.rows.inbound.requests.get(arrival.request_key)
    letter = None if request is None else evidence.letter_of.get(request.body)
    posted_at = min((call.sent_at for call in letter.posts), default=None) if letter is not None else None
    if posted_at is None:
        return None
    span = evidence.wall_span(row.accepted_at, 1, since=posted_at, until=evidence.ended_at)
    if span is None:
        return None
    # The engine hears of it from the commit on, which is the moment that counts.
    sent = [requests[0].at for key in row.owed if (requests := evidence.requests.get((row.key, key)))]
    return Span(span.low, max(span.high, min([*sent, evidence.life_end(span.high)])))


def _takes(evidence: Evidence, record: EndpointRecord, event_type: str, span: Span) -> set[bool]:
    """Whether the endpoint took events of this type in the span; both, if it may have changed."""
    calls = [call for call in record.calls if call.change in _ROUTING]
    takes = set()
    for call in evidence.possible(calls, span.low, span.high):
        patterns = None if call is None or call.change is Change.DELETE else call.value
        takes.add(patterns is not None and bool(Router({1: patterns}).match(event_type)))
    return takes


def _check_successes(evidence: Evidence) -> None:
    """A delivery is settled as delivered only if a receiver wrote a whole 2xx answer."""
    for pair, rounds in sorted(evidence.rows.history.items()):
        delivered = sum(row.state == "delivered" for row in rounds)
        requests = evidence.requests.get(pair, ())
        answers = sum(request.succeeded or _may_look_answered(evidence, request) for request in requests)
        if answers < delivered and not _may_have_met_a_stray(evidence, pair):
            message = f"the {evidence.name_of(pair)} was settled as delivered {delivered} times, and answered {answers}"
            evidence.records.find(LAW, message)


def _may_look_answered(evidence: Evidence, request: Received) -> bool:
    """Whether an answer that nobody asked for met a request on its way, so that this one got that of another."""
    before = [
        other
        for other in evidence.records.received
        if (other.host, other.connection) == (request.host, request.connection) and other.at <= request.at
    ]
    for one, other in pairwise(before):
        if one.unasked_at is not None:
            late = evidence.is_troubled(one.unasked_at, other.at, "wire")
            if late or other.at - one.unasked_at < _MEETING_SECONDS:
                return True
    return False


def _may_have_met_a_stray(evidence: Evidence, pair: Pair) -> bool:
    """Whether an answer that nobody asked for met a request on its way that then never arrived."""
    record = evidence.endpoint[evidence.number_of[pair[1]]]
    strays = [r for r in evidence.records.received if r.host == record.host and r.unasked_at is not None]
    for attempt in evidence.rows.attempts.get(pair, ()):
        span = evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at)
        ended_at = 0.0 if span is None else span.high + attempt.total_us / 1e6
        for stray in strays:
            written_at = stray.unasked_at or 0.0
            soon = ended_at - written_at < _MEETING_SECONDS or evidence.is_troubled(written_at, ended_at, "wire")
            if written_at <= ended_at and soon:
                return True
    return False


def _check_endpoints(evidence: Evidence) -> None:
    """What operators were told about endpoints holds."""
    for record in evidence.records.endpoints:
        created = [c for c in record.calls if c.change is Change.CREATE and c.call.outcome is Outcome.DONE]
        row = evidence.rows.endpoints.get(record.key or 0)
        if created and row is None:
            evidence.records.find(LAW, f"endpoint {record.number} was created and is not in the store")
        if row is None:
            continue
        routing = [call for call in record.calls if call.change in _ROUTING]
        last = [call for call in evidence.possible(routing, evidence.ended_at, evidence.ended_at) if call is not None]
        deleted = {call.change is Change.DELETE for call in last}
        if (row.state == "deleted") not in deleted:
            evidence.records.find(LAW, f"endpoint {record.number} is {row.state} after {[c.change for c in last]}")
        patterns = {call.value for call in last if call.change is not Change.DELETE}
        if row.state != "deleted" and row.events not in patterns:
            evidence.records.find(LAW, f"endpoint {record.number} takes {row.events} after {sorted(patterns)}")


def is_test(row: EventRow) -> bool:
    """Whether the event is one that the node made for an operator."""
    return row.type == TEST_TYPE
