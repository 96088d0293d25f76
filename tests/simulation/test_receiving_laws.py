"""The checkers of what comes in bite, as those of ``test_laws`` do."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from posthouse.testing.simulation.checkers import check
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.inbound_rows import WHOLE, ArrivalRow, Place, QuarantineRow
from posthouse.testing.simulation.plan import EndpointPlan, HostPlan, Plan, SourceAct, SourcePlan, SourceVerb
from posthouse.testing.simulation.receiving import PROVIDERS
from posthouse.testing.simulation.records import Letter, Outcome
from posthouse.testing.simulation.scenario import live
from posthouse.testing.simulation.trace import Trace

GITHUB, CORNERSTONE, CONNECTWISE = range(3)
PAUSED_AT, RESUMED_AT = 10.0, 16.0

#: Nothing goes wrong but what senders do themselves.
RECEIVING = Plan(
    seed=1,
    profile="receiving",
    seconds=40.0,
    in_flight_max=64,
    in_flight_per_endpoint=8,
    commit_interval_ms=4,
    drain_seconds=5.0,
    hosts=(HostPlan(0, "r0.example", "203.0.114.1", (), dead=False),),
    endpoints=(
        EndpointPlan(
            number=0,
            host=0,
            by_address=False,
            tenant="default",
            events=("*",),
            retry="custom:1s,2s",
            timeout_ms=2_000,
            connect_timeout_ms=1_000,
            own_secret=True,
            born_at=0.0,
            managed=False,
        ),
    ),
    publishers=(),
    sources=tuple(
        SourcePlan(
            number=number,
            provider=provider,
            tenant="default",
            pause=0.7,
            batch_max=4,
            repeat_share=0.3,
            forged_share=0.15,
            odd_share=0.2,
            refuses=number == GITHUB,
        )
        for number, provider in enumerate(PROVIDERS)
    ),
    source_acts=(
        SourceAct(PAUSED_AT, SourceVerb.PAUSE, GITHUB),
        SourceAct(PAUSED_AT, SourceVerb.PAUSE, CORNERSTONE),
        SourceAct(RESUMED_AT, SourceVerb.RESUME, GITHUB),
        SourceAct(RESUMED_AT, SourceVerb.RESUME, CORNERSTONE),
        *(SourceAct(30.0, SourceVerb.RELEASE, source) for source in (GITHUB, CORNERSTONE, CONNECTWISE)),
    ),
)


def copied(evidence: Evidence) -> Evidence:
    """The same evidence, put side by side anew."""
    return Evidence(
        evidence.plan,
        copy.deepcopy(evidence.records),
        copy.deepcopy(evidence.rows),
        evidence.clock,
        began=evidence.began,
        healed_at=evidence.healed_at,
        ended_at=evidence.ended_at,
    )


@pytest.fixture(scope="module")
def kept() -> Evidence:
    """What was seen of one history in which everything came in as it should."""
    evidence = live(RECEIVING, Trace())
    untouched = copied(evidence)
    check(untouched)
    assert not untouched.records.findings
    counts = untouched.records.counts
    happened = ("letters forged", "letters unreadable", "letters with a contradiction", "letters repeated")
    assert all(counts[name] for name in (*happened, "events released", "requests that waited", "keys asked for"))
    return evidence


# -- what there is to break ---------------------------------------------------------------------------


def some_arrival(evidence: Evidence, source: int = GITHUB) -> ArrivalRow:
    """A genuine event in the middle of the history."""
    inbound = evidence.rows.inbound
    found = [
        arrival
        for _, arrival in sorted(inbound.arrivals.items())
        if evidence.source_of[arrival.source_key].plan.number == source
        and not letter_of(evidence, arrival.request_key).forged
        and (arrival.request_key, arrival.position) not in inbound.quarantine
    ]
    return found[len(found) // 2]


def letter_of(evidence: Evidence, request_key: int) -> Letter:
    return evidence.letter_of[evidence.rows.inbound.requests[request_key].body]


def some_repeat(evidence: Evidence) -> Place:
    return min(evidence.rows.inbound.repeats)


def event_in_quarantine(evidence: Evidence) -> QuarantineRow:
    return next(row for place, row in sorted(evidence.rows.inbound.quarantine.items()) if row.keeps and place[1] >= 0)


def refused_request(evidence: Evidence, resolution: str | None = None) -> QuarantineRow:
    """A forged request, which is in quarantine or left it so."""
    return next(
        row
        for place, row in sorted(evidence.rows.inbound.quarantine.items())
        if row.resolution == resolution and place[1] == WHOLE and letter_of(evidence, place[0]).forged
    )


def lose_event_rows(evidence: Evidence, event_key: int) -> None:
    rows = evidence.rows
    event = rows.events.pop(event_key)
    for endpoint_key in event.owed:
        del rows.history[event_key, endpoint_key]
        del rows.attempts[event_key, endpoint_key]


# -- breaking it --------------------------------------------------------------------------------------


def lose_a_request(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    del inbound.requests[key]
    del inbound.readings[key, WHOLE]


def lose_a_refused_request(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, refused_request(evidence).request_key
    del inbound.requests[key]
    del inbound.quarantine[key, WHOLE]


def read_nothing_in_it(evidence: Evidence) -> None:
    inbound, arrival = evidence.rows.inbound, some_arrival(evidence)
    place = (arrival.request_key, WHOLE)
    inbound.readings[place] = replace(inbound.readings[place], events=0)
    del inbound.arrivals[arrival.event_key]
    del inbound.arrived[arrival.request_key, arrival.position]
    lose_event_rows(evidence, arrival.event_key)


def call_it_a_repeat_of_another(evidence: Evidence) -> None:
    place = some_repeat(evidence)
    evidence.rows.inbound.repeats[place] = [some_arrival(evidence, CONNECTWISE).event_key]


def put_what_is_well_in_quarantine(evidence: Evidence) -> None:
    inbound, arrival = evidence.rows.inbound, some_arrival(evidence)
    place = (arrival.request_key, WHOLE)
    del inbound.readings[place]
    del inbound.arrivals[arrival.event_key]
    inbound.quarantine[place] = QuarantineRow(*place, arrival.source_key, "unreadable", 1, None)


def leave_it_in_the_inbox(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    del inbound.readings[key, WHOLE]
    inbound.inbox[key, WHOLE] = next(iter(inbound.inbox.values()), None)  # type: ignore[assignment]  # only its place


def take_what_is_forged(evidence: Evidence) -> None:
    letter = letter_of(evidence, refused_request(evidence).request_key)
    letter.source = GITHUB
    evidence.records.sources[GITHUB].letters.append(letter)
    letter.posts[0].outcome = Outcome.DONE


def refuse_what_is_genuine(evidence: Evidence) -> None:
    letter_of(evidence, some_arrival(evidence).request_key).posts[0].status = 401


def take_what_is_to_be_refused(evidence: Evidence) -> None:
    source = evidence.records.sources[GITHUB]
    letter = source.letters[-1]
    call = letter.posts[0]
    call.sent_at, call.ended_at, call.outcome = evidence.began + 12.0, evidence.began + 12.1, Outcome.DONE


def pass_on_what_is_held(evidence: Evidence) -> None:
    inbound = evidence.rows.inbound
    key = next(
        row.key
        for row in inbound.requests.values()
        if evidence.source_of[row.source_key].plan.number == CORNERSTONE
        and (row.key, WHOLE) in inbound.readings
        and not letter_of(evidence, row.key).forged
        and inbound.readings[row.key, WHOLE].at - row.received_at > 1_000
    )
    inbound.readings[key, WHOLE] = replace(inbound.readings[key, WHOLE], at=inbound.requests[key].received_at)


def keep_it_twice(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    inbound.requests[1] = replace(inbound.requests[key], key=1)
    inbound.readings[1, WHOLE] = replace(inbound.readings[key, WHOLE], request_key=1, events=0)


def change_a_request(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    inbound.requests[key] = replace(inbound.requests[key], body=inbound.requests[key].body + b" ")


def receive_it_before_it_was_posted(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    request = inbound.requests[key]
    inbound.requests[key] = replace(request, received_at=request.received_at - 3_000)


def change_data(evidence: Evidence) -> None:
    key = some_arrival(evidence).event_key
    row = evidence.rows.events[key]
    evidence.rows.events[key] = replace(row, data=row.data.replace(b": ", b":"))


def change_type(evidence: Evidence) -> None:
    key = some_arrival(evidence).event_key
    evidence.rows.events[key] = replace(evidence.rows.events[key], type="order.cancelled")


def make_it_twice(evidence: Evidence) -> None:
    """A repetition becomes an event of its own."""
    rows = evidence.rows
    place = some_repeat(evidence)
    (first,) = rows.inbound.repeats.pop(place)
    request = rows.inbound.requests[place[0]]
    arrival = ArrivalRow(1, request.source_key, *place, request.received_at, 0)
    rows.inbound.arrivals[1] = rows.inbound.arrived[place] = arrival
    rows.events[1] = replace(rows.events[first], key=1, owed=())


def release_it_to_nobody(evidence: Evidence) -> None:
    """What was forged is an event, and nobody let it pass."""
    place = (refused_request(evidence, "released").request_key, WHOLE)
    del evidence.rows.inbound.quarantine[place]


def let_it_go_unasked(evidence: Evidence) -> None:
    for source in evidence.records.sources:
        source.calls = [change for change in source.calls if change.verb is not SourceVerb.RELEASE]


def be_in_two_places(evidence: Evidence) -> None:
    row = event_in_quarantine(evidence)
    reading = evidence.rows.inbound.readings[row.request_key, WHOLE]
    evidence.rows.inbound.readings[row.request_key, row.position] = replace(reading, events=0, duplicates=0)


def lose_only_the_event(evidence: Evidence) -> None:
    lose_event_rows(evidence, some_arrival(evidence).event_key)


def count_one_more(evidence: Evidence) -> None:
    inbound, key = evidence.rows.inbound, some_arrival(evidence).request_key
    reading = inbound.readings[key, WHOLE]
    inbound.readings[key, WHOLE] = replace(reading, events=reading.events + 1)


def owe_it_to_nobody(evidence: Evidence) -> None:
    key = some_arrival(evidence).event_key
    evidence.rows.events[key] = replace(evidence.rows.events[key], owed=())


BREAKS: dict[str, tuple[Callable[[Evidence], None], ...]] = {
    "I1 conservation": (be_in_two_places, lose_only_the_event, count_one_more),
    "I2 loss": (owe_it_to_nobody,),
    "I14 receiving": (
        lose_a_request,
        lose_a_refused_request,
        read_nothing_in_it,
        call_it_a_repeat_of_another,
        put_what_is_well_in_quarantine,
        take_what_is_forged,
        refuse_what_is_genuine,
        take_what_is_to_be_refused,
        pass_on_what_is_held,
    ),
    "I15 origins": (
        keep_it_twice,
        change_a_request,
        receive_it_before_it_was_posted,
        change_data,
        change_type,
        make_it_twice,
        release_it_to_nobody,
        let_it_go_unasked,
    ),
    "liveness": (leave_it_in_the_inbox,),
}


@pytest.mark.parametrize(
    ("law", "break_it"), [(law, break_it) for law, breaks in BREAKS.items() for break_it in breaks]
)
def test_what_breaks_a_law_is_found(kept: Evidence, law: str, break_it: Callable[[Evidence], None]) -> None:
    evidence = copied(kept)
    break_it(evidence)
    broken = copied(evidence)
    check(broken)
    assert law in {finding.law for finding in broken.records.findings}
