"""Histories on a database that bring about, each time, what the seeds bring about now and then."""

from posthouse.core.rules import Rules
from posthouse.testing.simulation.database.plans import DatabaseFault, Rift
from posthouse.testing.simulation.plan import (
    EndpointPlan,
    FreezePlan,
    HostPlan,
    Mood,
    Phase,
    Plan,
    PublisherPlan,
)
from posthouse.testing.simulation.scenario import Result, simulate

SECONDS = 28.0


def plan(
    seed: int,
    *faults: DatabaseFault,
    nodes: int = 1,
    freezes: tuple[FreezePlan, ...] = (),
    named: float = 0.5,
    pause: float = 1.0,
    phases: tuple[Phase, ...] = (),
    endpoints: int = 2,
) -> Plan:
    """Two endpoints, one of which gets less than is published at times, and some publishers."""
    return Plan(
        seed=seed,
        profile="database",
        seconds=SECONDS,
        in_flight_max=64,
        in_flight_per_endpoint=4,
        commit_interval_ms=4,
        drain_seconds=5.0,
        hosts=tuple(HostPlan(i, f"r{i}.example", f"203.0.114.{i + 1}", phases, dead=False) for i in range(endpoints)),
        endpoints=tuple(
            EndpointPlan(
                number=i,
                host=i,
                by_address=False,
                tenant="default",
                events=("*",),
                retry="custom:1s,2s",
                timeout_ms=2_000,
                connect_timeout_ms=1_000,
                own_secret=True,
                born_at=0.0,
                managed=False,
                rules=Rules(rate="10/s" if i == 1 else None),
            )
            for i in range(endpoints)
        ),
        publishers=tuple(
            PublisherPlan(
                number=number,
                tenant="default",
                pause=pause,
                batch_share=0.6,
                batch_max=8,
                named_share=named,
                odd_share=0.0,
                data_bytes=40,
                patience=5.0,
            )
            for number in range(5)
        ),
        database_faults=faults,
        nodes=nodes,
        freezes=freezes,
    )


def lived(what: Plan) -> Result:
    """The history of a plan, which keeps every law."""
    result = simulate(what.seed, plan=what)
    assert result.findings == []
    assert result.counts["events acknowledged"] > 100
    return result


def test_what_a_failover_forgot_is_not_sent_once_the_node_has_heard_of_it() -> None:
    """Sweeps find what is visible and known to be durable by nobody; then the server with it is lost."""
    away = DatabaseFault(4.0, Rift.CANCELLED, 12.0)
    result = lived(plan(3, away, DatabaseFault(11.5, Rift.FAILOVER, 0.5), pause=0.2))
    assert result.counts["failovers that forget"] == 1
    assert result.counts["ghosts"] > 0


def test_lost_answers_double_nothing_and_lose_nothing() -> None:
    faults = (DatabaseFault(4.0, Rift.LOSSY, 20.0),)
    result = lived(plan(1, *faults, named=0.0, pause=0.4))
    assert result.counts["cable answer lost"] > 10


def test_a_node_that_stood_still_changes_nothing_of_what_another_one_has_taken() -> None:
    freeze = FreezePlan(6.0, 14.0, rival=False, patient=False, slots=0, holds=0.0, releases=False, node=1)
    slow = (Phase(4.0, Mood.SLOW, 1.0), Phase(10.0, Mood.FINE, 1.0))
    result = lived(plan(8, nodes=2, freezes=(freeze,), phases=slow, endpoints=6))
    assert result.counts["unrecorded after a takeover"] + result.counts["duplicate after a takeover"] > 0
    assert result.counts["owners checked"] > 100


def test_a_node_that_is_cut_off_sends_nothing_that_another_one_sends() -> None:
    lived(plan(1, DatabaseFault(6.0, Rift.DARK, 14.0, node=1), nodes=2))
