"""Drawing what puts the engine under pressure: rules of endpoints and tenants, ordering keys, bulk jobs, long outages.

Each part is drawn by a generator of its own, so that what else a seed means stays as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType
from typing import Any, Final

from posthouse.core.jobs import REOPENING, JobKind, JobMode
from posthouse.core.retry import parse_schedule
from posthouse.core.rules import DEFAULT_RULES, Batch, Order, Payload, Rules, TenantRules
from posthouse.testing.simulation.plan import (
    Act,
    EndpointPlan,
    HostPlan,
    JobPlan,
    Mood,
    Phase,
    Plan,
    PublisherPlan,
    TenantPlan,
    Verb,
    generator,
)

ORDERS: Final = (Order.NONE, Order.FIFO, Order.LATEST)
RATES: Final = (None, "30/m", "2/s", "10/s", "50/s", "240/m")

#: Filters, and what each says of an event's type and number; None: it cannot be evaluated.
FILTERS: Final[Mapping[str, Callable[[str, int], bool | None]]] = MappingProxyType(
    {
        'type != "misc"': lambda event_type, _number: event_type != "misc",
        "data.n % 3 != 0": lambda _type, number: number % 3 != 0,
        'type.startsWith("order.") || data.n > 40': lambda event_type, n: event_type.startswith("order.") or n > 40,
        'type == "misc" ? data.missing == 1 : true': lambda event_type, _number: None if event_type == "misc" else True,
    }
)
#: Transformations, and the data that each makes of an event's type and number; None: it cannot be evaluated.
TRANSFORMS: Final[Mapping[str, Callable[[str, int], Any]]] = MappingProxyType(
    {
        '{"number":"data.n","kind":"type"}': lambda event_type, number: {"number": number, "kind": event_type},
        '{"n":"data.n","late":"type == \\"misc\\" ? data.missing : false"}': lambda event_type, number: (
            None if event_type == "misc" else {"n": number, "late": False}
        ),
    }
)

_PRESSED: Final = 0.7  # of the histories
_OUTAGES: Final = 0.04
_HOUR: Final = 3_600.0
_SUCCESS: Final = ("200-299,302", "200,204")


def pressed(plan: Plan) -> Plan:
    """``plan``, and in most histories rules and jobs with it."""
    if generator(plan.seed, "pressure").random() >= _PRESSED:
        return plan
    endpoints = _endpoints(generator(plan.seed, "rules"), plan)
    tenants = sorted({endpoint.tenant for endpoint in endpoints})
    acts = _acts(generator(plan.seed, "rule acts"), plan)
    return replace(
        plan,
        endpoints=endpoints,
        hosts=_hosts(generator(plan.seed, "content"), plan, endpoints),
        publishers=_publishers(generator(plan.seed, "ordering keys"), plan),
        acts=tuple(sorted((*plan.acts, *acts), key=lambda act: act.at)),
        tenants=_tenants(generator(plan.seed, "tenants"), plan, tenants),
        jobs=_jobs(generator(plan.seed, "jobs"), plan, endpoints, tenants),
        outage=_outage(generator(plan.seed, "outage")),
    )


def _outage(chance: Random) -> float:
    return chance.uniform(_HOUR, 4 * _HOUR) if chance.random() < _OUTAGES else 0.0


def _endpoints(chance: Random, plan: Plan) -> tuple[EndpointPlan, ...]:
    """The first one has no rules: it shows what becomes of those who have none."""
    return tuple(
        replace(endpoint, rules=_rules(chance, endpoint) if endpoint.number else DEFAULT_RULES)
        for endpoint in plan.endpoints
    )


def _rules(chance: Random, endpoint: EndpointPlan) -> Rules:
    rate = chance.choice(RATES[1:]) if chance.random() < 0.25 else None
    order = chance.choices(ORDERS, (4, 4, 3))[0]
    batch = Batch(chance.choice((2, 5, 20)), chance.choice((0, 200, 1_500))) if chance.random() < 0.25 else None
    payload = Payload.THIN if chance.random() < 0.15 else Payload.FULL
    transform = chance.choice(tuple(TRANSFORMS)) if chance.random() < 0.15 else None
    delays = parse_schedule(endpoint.retry).delays
    first = delays[0] // 1_000 if delays else 1
    block = max(first, chance.choice((2, 8, 3_600)))
    return Rules(
        rate=rate,
        in_flight_max=chance.choice((1, 2, 4)) if chance.random() < 0.2 else None,
        order=order,
        block_seconds=block if order is Order.FIFO else DEFAULT_RULES.block_seconds,
        payload=payload,
        batch=batch,
        success=chance.choice(_SUCCESS) if chance.random() < 0.15 else "",
        filter=chance.choice(tuple(FILTERS)) if chance.random() < 0.2 else None,
        transform=None if payload is Payload.THIN else transform,
    )


def _hosts(chance: Random, plan: Plan, endpoints: tuple[EndpointPlan, ...]) -> tuple[HostPlan, ...]:
    """Some of those that get batches look at what they get; some are away all through an outage."""
    batched = {endpoint.host for endpoint in endpoints if endpoint.rules.batch is not None}
    hosts = []
    for host in plan.hosts:
        phases = host.phases
        if host.number in batched and host.number and not host.dead and chance.random() < 0.6:
            at = chance.uniform(0, plan.seconds * 0.7)
            mood = chance.choice((Mood.PICKY, Mood.PARTIAL))
            ends = Phase(at + chance.uniform(5, 20), Mood.FINE, 1.0)
            phases = tuple(sorted((*phases, Phase(at, mood, 1.0), ends), key=lambda phase: phase.at))
        if host.number and not host.dead and chance.random() < 0.15:
            away = chance.choice((Mood.ERROR, Mood.DROP, Mood.HANG, Mood.SLAM))
            phases = (
                *(phase for phase in phases if phase.at < plan.seconds * 0.6),
                Phase(plan.seconds * 0.6, away, 1.0),
            )
        hosts.append(replace(host, phases=phases))
    return tuple(hosts)


def _publishers(chance: Random, plan: Plan) -> tuple[PublisherPlan, ...]:
    return tuple(
        replace(publisher, ordering_keys=chance.choice((0, 1, 2, 5)), keyed_share=chance.choice((0.5, 1.0)))
        for publisher in plan.publishers
    )


def _tenants(chance: Random, plan: Plan, tenants: list[str]) -> tuple[TenantPlan, ...]:
    plans = []
    for tenant in tenants:
        for _ in range(chance.choice((0, 0, 1, 2))):
            rules = TenantRules(
                weight=chance.choice((1, 2, 5)),
                rate=chance.choice(("10/s", "30/s")) if chance.random() < 0.3 else None,
                in_flight_max=chance.choice((2, 8)) if chance.random() < 0.3 else None,
                fresh_seconds=chance.choice((5, 60, 1_200)) if chance.random() < 0.5 else None,
            )
            plans.append(TenantPlan(chance.uniform(0.5, plan.seconds), tenant, rules))
    return tuple(sorted(plans, key=lambda planned: planned.at))


def _acts(chance: Random, plan: Plan) -> list[Act]:
    managed = [endpoint.number for endpoint in plan.endpoints if endpoint.managed]
    if not managed:
        return []
    return [
        Act(chance.uniform(1, plan.seconds), chance.choice((Verb.ORDER, Verb.RATE)), chance.choice(managed))
        for _ in range(chance.randint(0, 4))
    ]


def _jobs(chance: Random, plan: Plan, endpoints: tuple[EndpointPlan, ...], tenants: list[str]) -> tuple[JobPlan, ...]:
    jobs = []
    for number in range(chance.choice((0, 1, 2, 4))):
        kind = chance.choice(tuple(JobKind))
        scope = chance.choice(("endpoint", "endpoint", "tenant", "all"))
        dry_run = chance.random() < 0.2
        states: tuple[str, ...] = ()
        if kind is JobKind.RETRY:
            states = chance.choice(((), ("exhausted",), ("exhausted", "discarded"), ("retrying",)))
        jobs.append(
            JobPlan(
                number=number,
                at=chance.uniform(3, plan.seconds),
                kind=kind,
                endpoint=chance.choice(endpoints).number if scope == "endpoint" else None,
                tenant=chance.choice(tenants) if scope == "tenant" else None,
                states=states,
                mode=chance.choice(tuple(JobMode)) if kind in REOPENING else JobMode.ALL,
                dry_run=dry_run,
                rate=chance.choice((None, "5/s", "40/s")),
                paused_for=chance.uniform(0.5, 8) if chance.random() < 0.4 else None,
                cancelled_after=chance.uniform(0.01, 3) if chance.random() < 0.25 else None,
            )
        )
    return tuple(sorted(jobs, key=lambda job: job.at))
