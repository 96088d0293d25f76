"""The checkers bite: each law is broken in what was seen of a history that kept it, and must be found broken."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from posthouse.core.model import EndpointState, slot_of
from posthouse.testing.simulation.checkers import check
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.plan import Act, EndpointPlan, HostPlan, Plan, PublisherPlan, Verb
from posthouse.testing.simulation.records import Call, Change, EndpointCall, Outcome, Received, Reign, Sample
from posthouse.testing.simulation.rows import ObligationRow, Pair
from posthouse.testing.simulation.scenario import live
from posthouse.testing.simulation.trace import Trace

#: Nothing goes wrong, so nothing is excused.
CALM = Plan(
    seed=1,
    profile="calm",
    seconds=40.0,
    in_flight_max=64,
    in_flight_per_endpoint=2,
    commit_interval_ms=4,
    drain_seconds=5.0,
    hosts=tuple(HostPlan(i, f"r{i}.example", f"203.0.114.{i + 1}", (), dead=False) for i in range(3)),
    endpoints=tuple(
        EndpointPlan(
            number=i,
            host=i,
            by_address=False,
            tenant="default",
            events=("*",) if i < 2 else ("order.*",),
            retry="custom:1s,2s",
            timeout_ms=2_000,
            connect_timeout_ms=1_000,
            own_secret=True,
            born_at=0.0,
            managed=False,
        )
        for i in range(3)
    ),
    publishers=(
        PublisherPlan(
            number=0,
            tenant="default",
            pause=0.5,
            batch_share=0.2,
            batch_max=3,
            named_share=0.5,
            odd_share=0.1,
            data_bytes=40,
            patience=5.0,
        ),
    ),
    acts=(Act(20.0, Verb.AUDIT, 0),),
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
    """What was seen of one calm history, which kept every law."""
    evidence = live(CALM, Trace())
    untouched = copied(evidence)
    check(untouched)
    assert not untouched.records.findings
    assert untouched.records.counts["isolation checked"]
    return evidence


def some_pair(evidence: Evidence) -> Pair:
    """A delivery of somebody's event to endpoint 0, which one request settled in the middle of the history."""
    rows = evidence.rows
    key = evidence.key_of[0]
    found = [
        pair
        for pair, requests in sorted(evidence.requests.items())
        if pair[1] == key
        and len(requests) == len(rows.attempts[pair]) == len(rows.history[pair]) == 1
        and rows.events[pair[0]].data in evidence.publication_of
        and (rows.events[pair[0]].occurred_at is None)
    ]
    return found[len(found) // 2]


def some_request(evidence: Evidence) -> Received:
    return evidence.requests[some_pair(evidence)][0]


def forget_history(evidence: Evidence) -> None:
    del evidence.rows.history[some_pair(evidence)]


def owe_it_to_nobody(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    row = evidence.rows.events[pair[0]]
    evidence.rows.events[pair[0]] = replace(row, owed=tuple(key for key in row.owed if key != pair[1]))


def lose_event(evidence: Evidence) -> None:
    event_key, _ = some_pair(evidence)
    row = evidence.rows.events.pop(event_key)
    for endpoint_key in row.owed:
        del evidence.rows.history[event_key, endpoint_key]
        del evidence.rows.attempts[event_key, endpoint_key]


def deliver_nothing(evidence: Evidence) -> None:
    evidence.records.received.remove(some_request(evidence))


def change_body(evidence: Evidence) -> None:
    some_request(evidence).body += b" "


def send_elsewhere(evidence: Evidence) -> None:
    some_request(evidence).host += 1


def invent_event(evidence: Evidence) -> None:
    some_request(evidence).event_ids = ("evt_0000000000000",)


def sign_with_another_secret(evidence: Evidence) -> None:
    some_request(evidence).headers["webhook-signature"] = "v1,AAAA"


def store_what_nobody_published(evidence: Evidence) -> None:
    event_key, _ = some_pair(evidence)
    row = evidence.rows.events[event_key]
    evidence.rows.events[event_key] = replace(row, data=row.data + b" ")


def send_while_it_is_on_its_way(evidence: Evidence) -> None:
    request = some_request(evidence)
    assert request.answered_at is not None
    evidence.records.received.append(replace(request, at=request.at + 0.001, stamp=request.stamp - 1, answered_at=None))
    request.answered_at = request.at + 0.5


def overlap_attempts(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    (attempt,) = evidence.rows.attempts[pair]
    second = replace(attempt, number=2, started_at=attempt.started_at + 100)
    evidence.rows.attempts[pair] = [replace(attempt, total_us=1_000_000), second]


def send_while_held(evidence: Evidence) -> None:
    request = some_request(evidence)
    pause = Call("POST", "/pause", request.at - 9, ended_at=request.at - 8, outcome=Outcome.DONE)
    evidence.endpoint[0].calls.append(EndpointCall(Change.STATE, EndpointState.PAUSED, pause))


def settle_under_a_rival(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    request = some_request(evidence)
    reign = Reign(frozenset({slot_of(pair[1])}), request.at - 1, request.life, until=request.at + 1)
    reign.after = frozenset({(*pair, 1)})
    evidence.records.reigns.append(reign)


def settle_after_a_rival(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    request = some_request(evidence)
    reign = Reign(frozenset({slot_of(pair[1])}), request.at + 0.5, request.life, until=request.at + 1)
    reign.after = frozenset()
    evidence.records.reigns.append(reign)


def send_under_a_rival(evidence: Evidence) -> None:
    request = some_request(evidence)
    key = evidence.key_of[0]
    reign = Reign(frozenset({slot_of(key)}), request.at - 9, request.life, until=request.at + 9)
    reign.lease_over_at = request.at - 5
    evidence.records.reigns.append(reign)


def send_again(evidence: Evidence) -> None:
    request = some_request(evidence)
    evidence.records.received.append(replace(request, at=request.at + 3, stamp=request.stamp + 3, answered_at=None))


def send_late(evidence: Evidence) -> None:
    request = some_request(evidence)
    request.at += 20
    request.answered_at = request.at


def skip_a_number(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    evidence.rows.attempts[pair] = [replace(evidence.rows.attempts[pair][0], number=2)]


def lose_an_attempt(evidence: Evidence) -> None:
    del evidence.rows.attempts[some_pair(evidence)]


def give_out_an_old_key(evidence: Evidence) -> None:
    first = min(evidence.rows.events)
    event_key, _ = some_pair(evidence)
    row = evidence.rows.events[event_key]
    evidence.rows.events[event_key] = replace(row, key=first - 1)


def make_two_events(evidence: Evidence) -> None:
    event_key, _ = some_pair(evidence)
    evidence.rows.events[1] = replace(evidence.rows.events[event_key], key=1, owed=())


def send_all_at_once(evidence: Evidence) -> None:
    request = some_request(evidence)
    assert request.answered_at is not None
    request.answered_at += 0.1
    copies = evidence.plan.in_flight_per_endpoint
    evidence.records.received += [replace(request, connection=1_000 + i) for i in range(copies)]


def hold_too_much(evidence: Evidence) -> None:
    evidence.records.samples.append(Sample(evidence.began, 1, {"in_flight": evidence.plan.in_flight_max + 1}))


def stop_for_ever(evidence: Evidence) -> None:
    life = evidence.records.lives[-1]
    assert life.stopping_at is not None
    life.ended_at = life.stopping_at + 1_000


def leave_it_open(evidence: Evidence) -> None:
    pair = some_pair(evidence)
    del evidence.rows.history[pair]
    del evidence.rows.attempts[pair]
    evidence.rows.obligations[pair] = ObligationRow(*pair, 0, 0, 0, 1, 0, 0)


BREAKS: dict[str, tuple[Callable[[Evidence], None], ...]] = {
    "I1 conservation": (forget_history, owe_it_to_nobody),
    "I2 loss": (lose_event, deliver_nothing, owe_it_to_nobody),
    "I3 invention": (
        change_body,
        send_elsewhere,
        sign_with_another_secret,
        store_what_nobody_published,
        owe_it_to_nobody,
    ),
    "I4 order": (send_while_it_is_on_its_way, overlap_attempts, send_while_held),
    "I5 single owner": (settle_under_a_rival, settle_after_a_rival, send_under_a_rival),
    "I6 duplicates": (send_again,),
    "I7 isolation": (send_late, deliver_nothing),
    "I8 density": (skip_a_number, lose_an_attempt, give_out_an_old_key, make_two_events),
    "I9 bounds": (send_all_at_once, hold_too_much, stop_for_ever),
    "liveness": (leave_it_open,),
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


def test_an_event_that_was_delivered_and_is_not_there_is_lost(kept: Evidence) -> None:
    evidence = copied(kept)
    invent_event(evidence)
    broken = copied(evidence)
    check(broken)
    assert any("was delivered, and is not in the store" in finding.message for finding in broken.records.findings)
