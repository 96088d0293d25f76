"""The checkers of what puts the engine under pressure bite, as those of ``test_laws`` do."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from posthouse.core.jobs import JobKind, JobMode
from posthouse.core.rules import Batch, Order, Rules, TenantRules
from posthouse.testing.simulation.checkers import check
from posthouse.testing.simulation.checkers.downs import Downs
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.plan import (
    EndpointPlan,
    HostPlan,
    JobPlan,
    Mood,
    Phase,
    Plan,
    PublisherPlan,
    TenantPlan,
)
from posthouse.testing.simulation.rows import ObligationRow, Pair
from posthouse.testing.simulation.scenario import live
from posthouse.testing.simulation.trace import Trace

FIFO, LATEST, DOWN, BATCHED = range(4)
RULES = {
    FIFO: Rules(order=Order.FIFO, rate="10/s"),
    LATEST: Rules(order=Order.LATEST),
    DOWN: Rules(rate="30/m"),
    BATCHED: Rules(batch=Batch(max_events=5, max_wait_ms=300), filter='type != "misc"'),
}


def job(
    number: int, at: float, kind: JobKind, *, dry_run: bool = False, cancelled_after: float | None = None
) -> JobPlan:
    return JobPlan(
        number=number,
        at=at,
        kind=kind,
        endpoint=BATCHED,
        tenant=None,
        states=(),
        mode=JobMode.ALL,
        dry_run=dry_run,
        rate="20/s",
        paused_for=None,
        cancelled_after=cancelled_after,
    )


#: One endpoint is down for a while; else nothing goes wrong, so little is excused.
PRESSED = Plan(
    seed=1,
    profile="pressed",
    seconds=60.0,
    in_flight_max=64,
    in_flight_per_endpoint=4,
    commit_interval_ms=4,
    drain_seconds=5.0,
    hosts=tuple(
        HostPlan(
            i,
            f"r{i}.example",
            f"203.0.114.{i + 1}",
            (Phase(10.0, Mood.SLAM, 1.0), Phase(45.0, Mood.FINE, 1.0)) if i == DOWN else (),
            dead=False,
        )
        for i in RULES
    ),
    endpoints=tuple(
        EndpointPlan(
            number=i,
            host=i,
            by_address=True,
            tenant="default",
            events=("user.left",) if i == DOWN else ("*",),
            retry="custom:1s,2s,4s,8s,16s,32s",
            timeout_ms=2_000,
            connect_timeout_ms=1_000,
            own_secret=True,
            born_at=0.0,
            managed=False,
            rules=rules,
        )
        for i, rules in RULES.items()
    ),
    publishers=tuple(
        PublisherPlan(
            number=i,
            tenant="default",
            pause=0.3,
            batch_share=0.2,
            batch_max=3,
            named_share=0.5,
            odd_share=0.0,
            data_bytes=40,
            patience=5.0,
            ordering_keys=2,
            keyed_share=0.8,
        )
        for i in range(2)
    ),
    tenants=(TenantPlan(0.5, "default", TenantRules(rate="40/s", in_flight_max=10)),),
    jobs=(
        job(0, 20.0, JobKind.REPLAY),
        job(1, 30.0, JobKind.REPLAY, dry_run=True),
        job(2, 40.0, JobKind.REPLAY, cancelled_after=0.5),
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
    """What was seen of one history, which kept every law."""
    evidence = live(PRESSED, Trace())
    untouched = copied(evidence)
    check(untouched)
    assert not untouched.records.findings
    counts = untouched.records.counts
    looked_at = ("order checked fifo", "order checked latest", "latest checked", "rates checked", "probes seen")
    happened = ("job replay", "job completed", "job cancelled")
    assert [name for name in (*looked_at, *happened) if not counts[name]] == []
    return evidence


def neighbours(evidence: Evidence, number: int) -> Iterator[tuple[Pair, Pair]]:
    """Deliveries of one ordering key, one behind the other, each sent once; the second well after the first."""
    endpoint_key = evidence.key_of[number]
    rows = sorted(evidence.rows.events.values(), key=lambda row: row.key)
    keyed = [row for row in rows if row.ordering_key == "key 0" and endpoint_key in row.owed]
    for one, other in pairwise(keyed):
        pairs = (one.key, endpoint_key), (other.key, endpoint_key)
        requests = [evidence.requests[pair] for pair in pairs]
        if all(len(found) == 1 for found in requests) and other.accepted_at - one.accepted_at > 100:
            yield pairs


def send_the_earlier_one_behind(evidence: Evidence) -> None:
    one, other = next(neighbours(evidence, FIFO))
    later = evidence.requests[other][0]
    evidence.requests[one][0].at = later.at + 0.5
    evidence.requests[one][0].answered_at = later.at + 0.6


def send_the_older_one_behind(evidence: Evidence) -> None:
    one, other = next(neighbours(evidence, LATEST))
    evidence.requests[one][0].at = evidence.requests[other][0].at + 0.5


def settle_it_after_the_next(evidence: Evidence) -> None:
    one, other = next(neighbours(evidence, FIFO))
    (row,) = evidence.rows.history[one]
    (next_,) = evidence.rows.history[other]
    evidence.rows.history[one] = [replace(row, settled_at=next_.settled_at + 500)]


def send_two_of_a_key(evidence: Evidence) -> None:
    one, other = next(neighbours(evidence, LATEST))
    evidence.requests[one][0].answered_at = evidence.requests[other][0].at + 0.5


def supersede_the_latest(evidence: Evidence) -> None:
    endpoint_key = evidence.key_of[LATEST]
    keyed = [row.key for row in evidence.rows.events.values() if row.ordering_key == "key 0"]
    pair = max(keyed), endpoint_key
    (row,) = evidence.rows.history[pair]
    evidence.rows.history[pair] = [replace(row, state="discarded", reason="superseded")]


def hurry(evidence: Evidence, number: int) -> None:
    """Let an endpoint get in half a second what it got in three."""
    key = evidence.key_of[number]
    found = sorted(
        (a.started_at, pair) for pair, rows in evidence.rows.attempts.items() for a in rows if pair[1] == key
    )
    started = [at for at, _ in found]
    begin = next(at for at in started if sum(at <= other < at + 3_000 for other in started) > 12)
    for pair, attempts in evidence.rows.attempts.items():
        if pair[1] == key:
            evidence.rows.attempts[pair] = [
                replace(a, started_at=begin + (a.started_at - begin) // 6)
                if begin <= a.started_at < begin + 3_000
                else a
                for a in attempts
            ]


def send_faster_than_the_rate(evidence: Evidence) -> None:
    hurry(evidence, FIFO)


def send_more_to_one_that_is_down(evidence: Evidence) -> None:
    key = evidence.key_of[DOWN]
    begin, end = Downs(evidence, key).openings()[0]
    probes = [
        (pair, place)
        for pair, attempts in evidence.rows.attempts.items()
        for place, attempt in enumerate(attempts)
        if pair[1] == key and (span := evidence.wall_span(attempt.started_at, 1, until=end)) and span.low > begin + 1
    ]
    pair, place = min(probes, key=lambda found: evidence.rows.attempts[found[0]][found[1]].started_at)
    attempts = evidence.rows.attempts[pair]
    attempts[place] = replace(attempts[place], total_us=15_000_000)


def send_more_than_the_tenant_may_get(evidence: Evidence) -> None:
    """Not more than each of its endpoints may get."""
    middle = evidence.began + 30
    for number in (FIFO, LATEST, BATCHED):
        request = next(r for r in evidence.records.received if r.endpoint == number and r.at > middle)
        copies = [replace(request, connection=1_000 + i, answered_at=request.at + 1.5) for i in range(4)]
        request.answered_at = request.at
        evidence.records.received += copies


def count_one_too_many(evidence: Evidence) -> None:
    key, row = next((key, row) for key, row in evidence.rows.jobs.items() if row.kind == "replay" and not row.dry_run)
    evidence.rows.jobs[key] = replace(row, done=row.done + 1)


def reopen_in_a_dry_run(evidence: Evidence) -> None:
    """Opened again, and counted by the dry run alone."""
    for key, row in evidence.rows.jobs.items():
        if row.kind == "replay" and not row.dry_run:
            evidence.rows.jobs[key] = replace(row, done=0)


def go_on_after_the_end(evidence: Evidence) -> None:
    key, row = next((key, row) for key, row in evidence.rows.jobs.items() if row.state == "cancelled")
    evidence.rows.jobs[key] = replace(row, skipped=row.skipped + 1)


def leave_it_running(evidence: Evidence) -> None:
    key, row = next((key, row) for key, row in evidence.rows.jobs.items() if row.state == "completed" and row.total)
    evidence.rows.jobs[key] = replace(row, state="running")


def cancel_for_nobody(evidence: Evidence) -> None:
    pair = next(neighbours(evidence, FIFO))[0]
    (row,) = evidence.rows.history[pair]
    evidence.rows.history[pair] = [replace(row, state="discarded", reason="cancelled")]


def change_one_of_a_batch(evidence: Evidence) -> None:
    batch = next(r for r in evidence.records.received if len(r.event_ids) > 1)
    batch.body = batch.body.replace(b'"data":{', b'"data":{ ', 1)


def owe_what_the_filter_keeps_back(evidence: Evidence) -> None:
    key = evidence.key_of[BATCHED]
    row = next(row for row in evidence.rows.events.values() if row.type == "misc")
    evidence.rows.events[row.key] = replace(row, owed=(*row.owed, key))


BREAKS: dict[str, tuple[Callable[[Evidence], None], ...]] = {
    "I10 ordering keys": (
        send_the_earlier_one_behind,
        send_the_older_one_behind,
        settle_it_after_the_next,
        send_two_of_a_key,
        supersede_the_latest,
    ),
    "I9 bounds": (send_more_than_the_tenant_may_get,),
    "I11 rates": (send_faster_than_the_rate,),
    "I12 breaker": (send_more_to_one_that_is_down,),
    "I13 jobs": (count_one_too_many, reopen_in_a_dry_run, go_on_after_the_end, leave_it_running, cancel_for_nobody),
    "I3 invention": (change_one_of_a_batch, owe_what_the_filter_keeps_back),
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


@pytest.mark.parametrize("behind", [(1,), (0, 0), (1, 1)])
def test_of_a_key_exactly_one_does_not_stand_behind(kept: Evidence, behind: tuple[int, ...]) -> None:
    evidence = copied(kept)
    pairs = next(neighbours(evidence, FIFO))
    for pair, stands in zip(pairs, behind, strict=False):
        del evidence.rows.history[pair], evidence.rows.attempts[pair]
        evidence.rows.obligations[pair] = ObligationRow(*pair, 0, 0, 0, 1, 0, 0, "key 0", stands)
    broken = copied(evidence)
    check(broken)
    messages = [f.message for f in broken.records.findings if f.law == "I1 conservation"]
    assert [message for message in messages if "do not stand behind" in message]


def test_a_cancellation_that_worked_may_let_the_next_one_go(kept: Evidence) -> None:
    """It is the operator's decision that the request on its way does not count."""
    evidence = copied(kept)
    send_two_of_a_key(evidence)
    one, other = next(neighbours(kept, LATEST))
    (row,) = evidence.rows.history[one]
    at = evidence.rows.events[other[0]].accepted_at
    evidence.rows.history[one] = [replace(row, state="discarded", reason="cancelled", settled_at=at)]
    allowed = copied(evidence)
    check(allowed)
    assert not any("on its way" in f.message for f in allowed.records.findings if f.law == "I10 ordering keys")
