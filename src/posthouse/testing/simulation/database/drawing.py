"""Drawing histories whose nodes keep their store on a database server."""

from dataclasses import replace
from random import Random
from typing import Final

from posthouse.core.failpoints import OF_DATABASES, Failpoint
from posthouse.testing.simulation.database.plans import DatabaseFault, Rift
from posthouse.testing.simulation.plan import (
    RECEIVING,
    RUNNING,
    CrashPlan,
    Plan,
    StopPlan,
    Trigger,
    generator,
)

#: Within transactions of the embedded engine.
_IN_THE_ENGINE: Final = frozenset(
    {
        Failpoint.ACCEPT_BEGUN,
        Failpoint.ACCEPT_IDENTIFIED,
        Failpoint.ACCEPT_WRITTEN,
        Failpoint.SETTLE_FENCED,
        Failpoint.SETTLE_WRITTEN,
        Failpoint.LEASE_WRITTEN,
        Failpoint.COMMIT_DONE,
    }
)
#: What a node comes to whose database does the rest.
_ON_A_DATABASE: Final = tuple(
    point for point in (*RECEIVING, *RUNNING, *sorted(OF_DATABASES)) if point not in _IN_THE_ENGINE
)
_EVERY: Final = 4  #: one history of so many has a database server
_FAILS_OVER: Final = 0.7  #: of the times when the standby was away, and somebody did not want to wait


def on_a_database(plan: Plan) -> Plan:
    """A plan with a database server, if the seed is of that kind; what is drawn for others is not touched by it."""
    if plan.seed % _EVERY != 1:
        return plan
    chance = generator(plan.seed, "database")
    nodes = chance.choice((1, 2, 3))
    return replace(
        plan,
        nodes=nodes,
        disk_faults=(),
        crashes=tuple(_crash(chance, crash, nodes) for crash in plan.crashes),
        stops=tuple(StopPlan(stop.at, stop.pause, chance.randrange(nodes)) for stop in plan.stops),
        freezes=tuple(
            replace(freeze, rival=False, node=chance.randrange(nodes)) for freeze in plan.freezes if freeze.seconds
        ),
        database_faults=_faults(chance, plan, nodes),
    )


def _crash(chance: Random, crash: CrashPlan, nodes: int) -> CrashPlan:
    """A node has no disk to die in; instead it dies where its store says something."""
    node = chance.randrange(nodes)
    if crash.trigger is Trigger.TIME or crash.point in _ON_A_DATABASE:
        return replace(crash, node=node)
    at = max(crash.at, 1.0)
    point = chance.choice(sorted(OF_DATABASES)) if chance.random() < 0.3 else chance.choice(_ON_A_DATABASE)
    return replace(crash, at=at, trigger=Trigger.FAILPOINT, point=point, nth=chance.choice((1, 2, 5)), node=node)


def _faults(chance: Random, plan: Plan, nodes: int) -> tuple[DatabaseFault, ...]:
    faults: list[DatabaseFault] = []
    for _ in range(chance.randint(2, 6)):
        rift = chance.choice((*Rift, Rift.CANCELLED))
        at = chance.uniform(1, plan.seconds)
        seconds = chance.uniform(0.2, 8)
        faults.append(
            DatabaseFault(
                at,
                rift,
                seconds,
                nth=chance.choice((0, 1, 2, 5)) if rift in {Rift.RESTART, Rift.FAILOVER, Rift.CUT} else 0,
                silent=chance.random() < 0.3,
                node=chance.randrange(nodes) if chance.random() < 0.5 else None,
            )
        )
        if rift in {Rift.ALONE, Rift.CANCELLED} and chance.random() < _FAILS_OVER:
            faults.append(DatabaseFault(at + seconds * chance.random(), Rift.FAILOVER, chance.uniform(0.5, 8)))
    return tuple(sorted(faults, key=lambda fault: fault.at))
