"""The process dies, or the power is cut, at every failpoint that each operation comes to; the laws hold all the same.

By default each failpoint of an operation is tried with one of the two ends, in turn, so that over the operations each
of them meets both. FAILPOINT_ENDS=both tries both everywhere; that takes twice as long.
"""

import os
from dataclasses import replace

import pytest

from posthouse.core.failpoints import OF_DATABASES, Failpoint
from posthouse.store.sqlite import writer
from posthouse.testing.simulation.plan import (
    Act,
    CrashPlan,
    EndpointPlan,
    HostPlan,
    Mood,
    Phase,
    Plan,
    PublisherPlan,
    SourceAct,
    SourcePlan,
    SourceVerb,
    StopPlan,
    Trigger,
    Verb,
)
from posthouse.testing.simulation.receiving import PROVIDERS
from posthouse.testing.simulation.scenario import Result, simulate

BOTH_ENDS = os.environ.get("FAILPOINT_ENDS") == "both"
LOG_PAGES_MAX = 60  #: a checkpoint is due so soon that a history of seconds has some
RETRY = "custom:1s,1s,1s"
ARMED_AT = 0.9  #: just before what operators do
ACT_AT = 1.0
ENDS_MIN = 12  #: of the failpoints of a history, those that come after the moment from which its end may come


def host(number: int, *phases: Phase) -> HostPlan:
    return HostPlan(number, f"r{number}.example", f"203.0.114.{number + 1}", phases, dead=False)


def endpoint(number: int, retry: str = RETRY) -> EndpointPlan:
    return EndpointPlan(
        number=number,
        host=number,
        by_address=False,
        tenant="default",
        events=("*",),
        retry=retry,
        timeout_ms=1_000,
        connect_timeout_ms=500,
        own_secret=True,
        born_at=0.0,
        managed=True,
    )


def publisher(*, batch: float = 0.0, named: float = 0.5, odd: float = 0.0) -> PublisherPlan:
    return PublisherPlan(
        number=0,
        tenant="default",
        pause=0.25,
        batch_share=batch,
        batch_max=5,
        named_share=named,
        odd_share=odd,
        data_bytes=200,
        patience=2.0,
    )


QUIET = Plan(
    seed=1,
    profile="one operation",
    seconds=3.0,
    in_flight_max=64,
    in_flight_per_endpoint=8,
    commit_interval_ms=4,
    drain_seconds=5.0,
    hosts=(host(0), host(1)),
    endpoints=(endpoint(0), endpoint(1)),
    publishers=(publisher(),),
)


def failing(mood: Mood, retry: str = RETRY) -> Plan:
    """The second receiver answers badly at first."""
    hosts = (host(0), host(1, Phase(0.0, mood, 1.0), Phase(2.0, Mood.FINE, 1.0)))
    return replace(QUIET, hosts=hosts, endpoints=(endpoint(0), endpoint(1, retry)))


def acting(*verbs: Verb, on: Plan = QUIET) -> Plan:
    """Operators do these things, close together."""
    return replace(on, acts=tuple(Act(ACT_AT + 0.2 * i, verb, 1) for i, verb in enumerate(verbs)))


def receiving(*verbs: SourceVerb, repeats: float = 0.0) -> Plan:
    """Nobody publishes; each sender posts, and operators do these things to each of their sources."""
    sources = tuple(
        SourcePlan(
            number=number,
            provider=provider,
            tenant="default",
            pause=0.3,
            batch_max=4,
            repeat_share=repeats,
            forged_share=0.2,
            odd_share=0.2,
            refuses=False,
        )
        for number, provider in enumerate(PROVIDERS)
    )
    acts = tuple(SourceAct(ACT_AT + 0.3 * i, verb, source.number) for i, verb in enumerate(verbs) for source in sources)
    return replace(QUIET, publishers=(), sources=sources, source_acts=acts)


#: What a node does, each alone, and from when on the end may come.
OPERATIONS: dict[str, tuple[Plan, float]] = {
    "start on a new disk": (QUIET, 0.0),
    "publish": (QUIET, ARMED_AT),
    "publish a batch": (replace(QUIET, publishers=(publisher(batch=1.0),)), ARMED_AT),
    "publish again": (replace(QUIET, publishers=(publisher(named=1.0, odd=0.5),)), ARMED_AT),
    "fail and retry": (failing(Mood.ERROR), ARMED_AT),
    "fail without an answer": (failing(Mood.DROP), ARMED_AT),
    "exhaust": (failing(Mood.ERROR, retry="none"), ARMED_AT),
    "be told that it is gone": (failing(Mood.GONE), ARMED_AT),
    "pause and resume": (acting(Verb.PAUSE, Verb.RESUME), ARMED_AT),
    "change an endpoint": (acting(Verb.SUBSCRIBE, Verb.ROTATE, Verb.LIMIT, Verb.TEST), ARMED_AT),
    "delete an endpoint": (acting(Verb.PAUSE, Verb.DELETE, Verb.DELETE), ARMED_AT),
    "retry and cancel": (acting(*(Verb.RETRY, Verb.CANCEL) * 3, on=failing(Mood.ERROR)), ARMED_AT),
    "read a long queue": (replace(QUIET, flood=280), 0.7),
    "renew the leases": (replace(QUIET, seconds=5.0), 1.5),
    "receive": (receiving(repeats=0.5), ARMED_AT),
    "hold what comes": (receiving(SourceVerb.PAUSE, SourceVerb.RESUME), ARMED_AT),
    "empty the quarantine": (
        receiving(SourceVerb.RELEASE, SourceVerb.ROTATE, SourceVerb.REVERIFY, SourceVerb.DISCARD),
        ARMED_AT,
    ),
    "stop": (replace(QUIET, stops=(StopPlan(1.0, 0.2),)), ARMED_AT),
}


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAL_PAGES_MAX", LOG_PAGES_MAX)


def run(plan: Plan, *crashes: CrashPlan) -> Result:
    return simulate(plan.seed, plan=replace(plan, crashes=crashes))


def reached(plan: Plan) -> set[Failpoint]:
    """The failpoints that a history without an end comes to after it was armed."""
    counts = run(plan).counts
    return {point for point in Failpoint if counts[f"reach {point}"]}


def test_the_operations_come_to_every_failpoint() -> None:
    assert set().union(*(reached(plan) for plan, _ in OPERATIONS.values())) == set(Failpoint) - OF_DATABASES


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_is_lost_wherever_an_operation_is_cut_off(operation: str) -> None:
    plan, armed_at = OPERATIONS[operation]
    first = list(OPERATIONS).index(operation)
    ended = 0
    for i, point in enumerate(sorted(reached(plan)), first):
        for power in (False, True) if BOTH_ENDS else (bool(i % 2),):
            crash = CrashPlan(at=armed_at, power=power, trigger=Trigger.FAILPOINT, point=point, pause=0.2)
            result = run(plan, crash)
            assert not result.findings, f"{'power cut' if power else 'kill'} at {point}: {result.findings}"
            ended += result.counts[f"crash at {point}"]
    assert ended >= ENDS_MIN, "the operation has to be cut off, or nothing is proved"
