"""I14: what a sender was told is taken is there, and all that it holds was found in it."""

from collections import Counter
from collections.abc import Iterable

from posthouse.testing.simulation.evidence import Evidence, Span
from posthouse.testing.simulation.inbound_rows import WHOLE, ArrivalRow, InboundRows, ReadingRow, RequestRow
from posthouse.testing.simulation.plan import SourceVerb
from posthouse.testing.simulation.records import Letter, Meant, Outcome, Records, SecretRecord, SourceRecord

LAW = "I14 receiving"

_REFUSED = 401
_HELD_SECONDS = 0.5


def check(evidence: Evidence) -> None:
    """Look at every letter, and at every request that is kept."""
    find_lost(evidence.rows.inbound, evidence.records, evidence.ended_at)
    for source in evidence.records.sources:
        for letter in source.letters:
            _check_answers(evidence, source, letter)
    for request in evidence.rows.inbound.requests.values():
        meant = evidence.letter_of.get(request.body)
        if meant is not None:  # origins reports it
            _check_found(evidence, request, meant)
    for place in sorted(evidence.rows.inbound.inbox):
        evidence.records.find("liveness", f"{place} is still in the inbox", evidence.ended_at)


def find_lost(rows: InboundRows, records: Records, at: float) -> None:
    """Whatever was answered until now is there, as often as it was answered."""
    kept = Counter((request.body, request.status) for request in rows.requests.values())
    for source in records.sources:
        for letter in source.letters:
            told = Counter(call.status for call in letter.posts if call.outcome in {Outcome.DONE, Outcome.REFUSED})
            for status in (source.accepted, _REFUSED):
                if told[status] > kept[letter.body, status]:
                    message = f"{letter.body[:60]!r} was answered {status} {told[status]} times, and is there"
                    records.find(LAW, f"{message} {kept[letter.body, status]} times", at)


# -- what its sender was told -----------------------------------------------------------------------


def _check_answers(evidence: Evidence, source: SourceRecord, letter: Letter) -> None:
    """Who knows the secret is not refused, and who does not is not taken at his word."""
    for call in letter.posts:
        if letter.forged and call.outcome is Outcome.DONE and source.plan.provider != "connectwise":
            evidence.records.find(LAW, f"{letter.body[:60]!r} is forged, and was taken", call.ended_at)
        if not letter.forged and call.status == _REFUSED and _surely_counts(evidence, source, letter, call.sent_at):
            evidence.records.find(LAW, f"{letter.body[:60]!r} is genuine, and was refused", call.ended_at)
        if call.outcome is Outcome.DONE and _was_refusing(evidence, source, Span(call.sent_at, call.ended_at or 0.0)):
            message = f"{letter.body[:60]!r} was taken while source {source.plan.number} refused everything"
            evidence.records.find(LAW, message, call.ended_at)


def _surely_counts(evidence: Evidence, source: SourceRecord, letter: Letter, at: float) -> bool:
    """Whether a letter's secret was one of the source from some time before ``at`` on, and stayed so."""
    return any(_is_newest(evidence, known, at) for known in source.secrets if known.value == letter.secret)


def _is_newest(evidence: Evidence, known: SecretRecord, at: float) -> bool:
    if known.sure_at is None or known.until_ms is not None:
        return False
    return evidence.known_by(Span(known.sure_at, known.sure_at)).high <= at


def _was_refusing(evidence: Evidence, source: SourceRecord, span: Span) -> bool:
    """Whether the source was surely paused all the time, and takes nothing then."""
    return source.plan.refuses and _was_paused(evidence, source, span)


def _was_paused(evidence: Evidence, source: SourceRecord, span: Span) -> bool:
    """Whether the source was surely paused all the time."""
    paused = [
        change.call
        for change in source.calls
        if change.verb is SourceVerb.PAUSE
        and change.call.outcome is Outcome.DONE
        and change.call.ended_at is not None
        and evidence.spread(change.call).high <= span.low
    ]
    if not paused:
        return False
    since = max(call.sent_at for call in paused)
    resumed = [
        evidence.spread(change.call)
        for change in source.calls
        if change.verb is SourceVerb.RESUME and change.call.may_have_worked
    ]
    return not any(effect.high >= since and effect.low <= span.high for effect in resumed)


# -- what became of it ------------------------------------------------------------------------------


def _check_found(evidence: Evidence, request: RequestRow, letter: Letter) -> None:
    """It was read as what it is, or is in quarantine for what is wrong with it."""
    rows, records = evidence.rows.inbound, evidence.records
    kept = rows.quarantine.get((request.key, WHOLE))
    name = f"request {request.key} ({letter.body[:60]!r})"
    if kept is not None and kept.keeps:
        if not _may_object(kept.objection, request, letter):
            records.find(LAW, f"{name} is in quarantine, {kept.objection}")
        return
    reading = rows.readings.get((request.key, WHOLE))
    if reading is None:
        return  # it waits, or the books report it
    _check_held(evidence, request, reading)
    if not letter.readable:
        records.find(LAW, f"{name} cannot be read, and was")
    if bool(reading.heartbeat) is not letter.beat:
        records.find(LAW, f"{name} is a heartbeat: {letter.beat}, and was read as one: {bool(reading.heartbeat)}")
    for position, meant in enumerate(letter.items):
        _check_item(evidence, request, position, meant)


def _check_held(evidence: Evidence, request: RequestRow, reading: ReadingRow) -> None:
    """What comes to a source that is paused is not passed on before it is resumed."""
    source = evidence.source_of.get(request.source_key)
    came = evidence.wall_span(request.received_at, 1, until=evidence.ended_at)
    read = evidence.wall_span(reading.at, 1, until=evidence.ended_at)
    if source is not None and came is not None and read is not None:
        if _was_paused(evidence, source, Span(came.low, read.high)):
            evidence.records.find(LAW, f"request {request.key} came while its source was paused, and was passed on")
        elif read.low - came.high > _HELD_SECONDS:
            evidence.records.counts["requests that waited"] += 1


def _may_object(objection: str, request: RequestRow, letter: Letter) -> bool:
    """Whether a whole request may be in quarantine for this."""
    match objection:
        case "bad_signature":
            return letter.forged or request.status == _REFUSED  # _check_answers judges the answer
        case "unreadable":
            return not letter.readable
        case "key_unavailable":
            return request.verdict == "pending"
    return False


def _check_item(evidence: Evidence, request: RequestRow, position: int, meant: Meant) -> None:
    """One event of a request that was read is an event now, or repeats one, or is in quarantine."""
    rows, records = evidence.rows.inbound, evidence.records
    name = f"event {position} of request {request.key} ({meant.type})"
    kept = rows.quarantine.get((request.key, position))
    if kept is not None and not (meant.contradicts and kept.objection == "type_contradiction"):
        records.find(LAW, f"{name} is or was in quarantine, {kept.objection}")
    if meant.contradicts and kept is None:
        records.find(LAW, f"{name} contradicts itself, and passed")
    repeated = rows.repeats.get((request.key, position), [])
    place = (request.key, position)
    if place in rows.arrived or place in rows.inbox or (kept is not None and kept.keeps):
        return
    if not any(_is_repeated(evidence, request, meant, rows.arrivals.get(key)) for key in repeated):
        records.find(LAW, f"{name} was lost: it is no event, repeats {repeated}, and is not in quarantine")


def _is_repeated(evidence: Evidence, request: RequestRow, meant: Meant, first: ArrivalRow | None) -> bool:
    """Whether an event that came in before is the same to its sender, and came soon enough before."""
    if first is None or first.source_key != request.source_key:
        return False
    origin = evidence.rows.inbound.requests.get(first.request_key)
    letter = None if origin is None else evidence.letter_of.get(origin.body)
    items: Iterable[Meant] = () if letter is None else letter.items[first.position : first.position + 1]
    is_soon = abs(request.received_at - first.at) < meant.window_ms
    return is_soon and any(item.identity == meant.identity for item in items)
