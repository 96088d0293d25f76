"""I1 of what came in: each request is in one place, and everything that was found in it is where the books say."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.inbound_rows import WHOLE, InboundRows, Place
from posthouse.testing.simulation.records import Records

LAW = "I1 conservation"


def check(evidence: Evidence) -> None:
    """Recount the books of the end."""
    recount_sources(evidence.rows.inbound, set(evidence.rows.events), evidence.records, evidence.ended_at)


def recount_sources(rows: InboundRows, events: AbstractSet[int], records: Records, at: float) -> None:
    """Recount the books row by row, as they are at one instant; ``events`` are the keys of all that there are."""
    for key in sorted(rows.requests):
        places = _places(rows, (key, WHOLE))
        if len(places) != 1:
            records.find(LAW, f"request {key} is in {len(places)} places: {places}", at)
    everywhere = {*rows.inbox, *rows.readings, *rows.quarantine, *rows.repeats}
    everywhere |= {(arrival.request_key, arrival.position) for arrival in rows.arrivals.values()}
    for place in sorted(everywhere):
        if place[0] not in rows.requests and not _has_expired(rows, place):
            records.find(LAW, f"{place} is spoken of, and there is no such request", at)
    for arrival in rows.arrivals.values():
        if arrival.event_key not in events:
            records.find(LAW, f"event {arrival.event_key} came in and is not in the store", at)
    for message in (*_miscounted(rows), *_misplaced(rows)):
        records.find(LAW, message, at)


def _places(rows: InboundRows, place: Place) -> list[str]:
    """Where a request, or one event that left quarantine, is."""
    places = [name for name, there in (("the inbox", rows.inbox), ("readings", rows.readings)) if place in there]
    kept = rows.quarantine.get(place)
    return [*places, "quarantine"] if kept is not None and kept.keeps else places


def _has_expired(rows: InboundRows, place: Place) -> bool:
    kept = rows.quarantine.get(place)
    return kept is not None and kept.resolution == "expired"


def _miscounted(rows: InboundRows) -> Iterator[str]:
    """Each position of a request is one thing; and readings count what there is, no more and no less."""
    new: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for arrival in rows.arrivals.values():
        new[arrival.request_key][arrival.position] += 1
    for (request_key, position), event_keys in rows.repeats.items():
        new[request_key][position] += len(event_keys)
    for request_key, positions in sorted(new.items()):
        for position, number in sorted(positions.items()):
            if number != 1:
                yield f"position {position} of request {request_key} became {number} things"
    counted: Counter[int] = Counter()
    for reading in rows.readings.values():
        counted[reading.request_key] += reading.events + reading.duplicates
    for request_key in sorted({*counted, *new}):
        there = new[request_key].total()
        if counted[request_key] != there:
            yield f"readings of request {request_key} count {counted[request_key]} events, and {there} are there"


def _misplaced(rows: InboundRows) -> Iterator[str]:
    """An event that is or was in quarantine is in one place too."""
    for place, kept in sorted(rows.quarantine.items()):
        if place[1] != WHOLE and len(_places(rows, place)) != 1:
            yield f"event {place} of quarantine ({kept.resolution}) is in {_places(rows, place)}"
