"""I15: nothing came in that nobody sent: every request is a letter, every event is of one, as it is, and once."""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from posthouse.testing.simulation.evidence import Evidence, Span
from posthouse.testing.simulation.inbound_rows import WHOLE, ArrivalRow, RequestRow
from posthouse.testing.simulation.plan import SourceVerb
from posthouse.testing.simulation.records import Call, Letter, Meant, Outcome, SourceRecord
from posthouse.testing.simulation.rows import EventRow

LAW = "I15 origins"

_VERBS = {"released": SourceVerb.RELEASE, "discarded": SourceVerb.DISCARD, "reverified": SourceVerb.REVERIFY}


class _Origin(NamedTuple):
    """An event that came in, and what it was made of."""

    event: EventRow
    arrival: ArrivalRow
    letter: Letter
    meant: Meant


def check(evidence: Evidence) -> None:
    """Compare every request with what was posted, every event with its request, and all of one identity."""
    for request in evidence.rows.inbound.requests.values():
        _check_request(evidence, request)
    _check_numbers(evidence)
    _check_resolutions(evidence)
    same: dict[tuple[int, str], list[_Origin]] = defaultdict(list)
    for arrival in evidence.rows.inbound.arrivals.values():
        origin = _origin(evidence, arrival)
        if origin is not None:
            _check_event(evidence, origin)
            same[arrival.source_key, origin.meant.identity].append(origin)
    for origins in same.values():
        _check_once(evidence, origins)


# -- requests ---------------------------------------------------------------------------------------


def _check_request(evidence: Evidence, request: RequestRow) -> None:
    """It was posted, just so and just then."""
    records = evidence.records
    letter, source = evidence.letter_of.get(request.body), evidence.source_of.get(request.source_key)
    if letter is None or source is None or letter.source != source.plan.number:
        records.find(LAW, f"nobody posted request {request.key} to source {request.source_key}: {request.body[:80]!r}")
        return
    given = {(name.lower(), value) for name, value in letter.headers}
    if not given <= set(request.headers):
        records.find(LAW, f"request {request.key} has the headers {request.headers}, and was posted with {given}")
    if not request.url.endswith(source.path + letter.query) or request.tenant != source.plan.tenant:
        records.find(LAW, f"request {request.key} of {request.tenant} is said to be sent to {request.url}")
    spans = [
        evidence.wall_span(request.received_at, 1, since=effect.low, until=effect.high)
        for effect in (_effect(evidence, call) for call in letter.posts if call.outcome is not Outcome.UNSENT)
    ]
    if not any(spans):
        records.find(LAW, f"request {request.key} was received at {request.received_at}, when nobody posted it")


def _effect(evidence: Evidence, call: Call) -> Span:
    """When a request was received, if it was: also one that was refused is kept."""
    if call.status is not None:
        return Span(call.sent_at, call.ended_at or call.sent_at)
    return evidence.effect(call)


def _check_numbers(evidence: Evidence) -> None:
    """A request is there no more often than it may have been kept."""
    kept: defaultdict[bytes, list[int]] = defaultdict(list)
    for request in evidence.rows.inbound.requests.values():
        kept[request.body].append(request.status)
    for body, statuses in kept.items():
        letter = evidence.letter_of.get(body)
        posts = [] if letter is None else letter.posts
        unclear = sum(call.outcome in {Outcome.UNKNOWN, Outcome.PENDING} for call in posts)
        told = [call.status for call in posts if call.outcome in {Outcome.DONE, Outcome.REFUSED}]
        excess = sum(max(0, statuses.count(status) - told.count(status)) for status in set(statuses))
        if excess > unclear:
            evidence.records.find(LAW, f"{body[:60]!r} is kept with {statuses}, and was answered {told}")


def _check_resolutions(evidence: Evidence) -> None:
    """Nothing leaves quarantine by itself."""
    for place, row in sorted(evidence.rows.inbound.quarantine.items()):
        if row.resolution is not None and not _was_asked(evidence, row.source_key, row.resolution, place):
            evidence.records.find(LAW, f"{place} left quarantine, {row.resolution}, and nobody asked for it")


def _was_asked(evidence: Evidence, source_key: int, resolution: str, place: tuple[int, int]) -> bool:
    source: SourceRecord | None = evidence.source_of.get(source_key)
    return source is not None and any(
        change.verb is _VERBS.get(resolution)
        and change.call.may_have_worked
        and (change.verb is SourceVerb.REVERIFY or place in change.entries)
        for change in source.calls
    )


# -- events -----------------------------------------------------------------------------------------


def _origin(evidence: Evidence, arrival: ArrivalRow) -> _Origin | None:
    event = evidence.rows.events.get(arrival.event_key)
    request = evidence.rows.inbound.requests.get(arrival.request_key)
    if event is None or request is None:
        return None  # the books report it
    letter = evidence.letter_of.get(request.body)
    if letter is None or not 0 <= arrival.position < len(letter.items):
        evidence.records.find(LAW, f"event {event.id} came from {arrival}, where there is none: {event.data[:80]!r}")
        return None
    if (arrival.source_key, arrival.at) != (request.source_key, request.received_at):
        evidence.records.find(LAW, f"event {event.id} came in by {arrival}, and its request by {request.source_key}")
    return _Origin(event, arrival, letter, letter.items[arrival.position])


def _check_event(evidence: Evidence, origin: _Origin) -> None:
    """It says what its request says, whose sender knows the secret, unless an operator let it pass all the same."""
    event, arrival, letter, meant = origin
    records = evidence.records
    source = records.sources[letter.source]
    said = (source.plan.tenant, meant.type, meant.data, meant.occurred_ms, meant.ordering_key)
    found = (event.tenant, event.type, event.data, event.occurred_at, event.ordering_key)
    if said != found:
        records.find(LAW, f"event {event.id} is {found}, and was posted as {said}")
    whole, own = ((arrival.request_key, WHOLE), (arrival.request_key, arrival.position))
    if letter.forged and not _was_released(evidence, whole):
        records.find(LAW, f"event {event.id} is forged, and nobody released it: {event.data[:80]!r}")
    if meant.contradicts and not _was_released(evidence, own):
        records.find(LAW, f"event {event.id} is said to be {event.type}, cannot be, and nobody released it")
    records.counts["events of sources"] += 1
    records.counts["events released"] += letter.forged or meant.contradicts


def _was_released(evidence: Evidence, place: tuple[int, int]) -> bool:
    row = evidence.rows.inbound.quarantine.get(place)
    return row is not None and row.resolution == "released"


def _check_once(evidence: Evidence, origins: list[_Origin]) -> None:
    """Two events of one identity were received further apart than the window, or repetitions were not known then."""
    ordered = sorted((o for o in origins if not o.arrival.unchecked), key=lambda o: o.arrival.at)
    unchecked = len(origins) - len(ordered)
    evidence.records.counts["events unchecked"] += unchecked
    if unchecked and not evidence.records.counts["dedupe lost"]:
        evidence.records.find(LAW, f"{origins[0].meant.identity} was not checked, and nothing was lost")
    for first, second in pairwise(ordered):
        if second.arrival.at - first.arrival.at < first.meant.window_ms:
            message = f"events {first.event.id} and {second.event.id} are one: {first.meant.identity}"
            evidence.records.find(LAW, message)
