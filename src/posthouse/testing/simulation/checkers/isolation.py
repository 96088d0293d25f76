"""I7: who is well is served in time, whatever is wrong with others."""

from bisect import bisect_left, bisect_right

from posthouse.core.model import EndpointState
from posthouse.core.rules import Order
from posthouse.engine.turns import SLOW_PART
from posthouse.engine.windows import UNPROVEN_MAX
from posthouse.testing.simulation.checkers import shapes
from posthouse.testing.simulation.checkers.loss import accepted_span, routed_span
from posthouse.testing.simulation.evidence import FOREVER, Evidence
from posthouse.testing.simulation.records import Change, EndpointRecord

LAW = "I7 isolation"

BOUND_SECONDS = 1.5  #: from acceptance to the first request, when little else is owed
EACH_SECONDS = 0.4  #: more for each that must go before, over the requests at once
_BEFORE_SECONDS = 12.0  #: nothing was wrong for so long before, so that nothing of it is left to catch up
_STALE_MS = 300_000


def check(evidence: Evidence) -> None:
    """Look at each endpoint that was never in trouble."""
    plan = evidence.plan
    if plan.in_flight_max < plan.in_flight_per_endpoint * len(plan.endpoints):
        return  # the node may have no capacity left for those who are well
    if plan.in_flight_max // SLOW_PART < UNPROVEN_MAX * len(plan.endpoints):
        return  # those who have not answered yet may have none left
    for record in evidence.records.endpoints:
        held = any(call.change is Change.DELETE or call.value is EndpointState.PAUSED for call in record.calls)
        if not plan.hosts[record.host].faulty and not held and record.key is not None and _is_free(evidence, record):
            _check_endpoint(evidence, record.host, record.key)


def _is_free(evidence: Evidence, record: EndpointRecord) -> bool:
    """Whether nobody made a rule for it that makes events wait, and no job works on what it is owed."""
    rules = record.rules
    changed = any(call.change in {Change.ORDER, Change.RATE} for call in record.calls)
    tenants = {call.tenant for call in evidence.records.tenant_calls}
    jobs = any(
        job.may_work and job.plan.endpoint in {None, record.number} and job.plan.tenant in {None, record.tenant}
        for job in evidence.records.jobs
    )
    waits = rules.rate or rules.in_flight_max or rules.batch or rules.order is not Order.NONE
    return not (waits or changed or jobs or record.tenant in tenants)


def _check_endpoint(evidence: Evidence, host: int, key: int) -> None:
    accepted: list[tuple[float, float, int]] = []
    came_in: list[float] = []  # for the node they are as much work
    for row in evidence.rows.events.values():
        if row.key in evidence.rows.inbound.arrivals and key in row.owed:
            span = routed_span(evidence, row)
            came_in += [] if span is None else [span.low]
        publication = evidence.publication_of.get(row.data)
        if publication is None or key not in row.owed:
            continue
        if row.occurred_at is not None and row.accepted_at - row.occurred_at > _STALE_MS:
            continue
        record = evidence.endpoint[evidence.number_of[key]]
        if shapes.withheld(record.rules, row) is not None:
            continue
        span = accepted_span(evidence, row, publication)
        if span is not None:
            accepted.append((span.low, span.high, row.key))
    accepted.sort()
    times = sorted([*came_in, *(low for low, _, _ in accepted)])
    cap = evidence.plan.in_flight_per_endpoint
    for low, high, event_key in accepted:
        waiting = bisect_right(times, low + BOUND_SECONDS) - bisect_left(times, low - _BEFORE_SECONDS)
        bound = BOUND_SECONDS + EACH_SECONDS * (1 + waiting // cap)
        if high == FOREVER or not _is_calm(evidence, host, low - _BEFORE_SECONDS, high + bound):
            continue
        evidence.records.counts["isolation checked"] += 1
        requests = evidence.requests.get((event_key, key), ())
        if not requests or requests[0].at > high + bound:
            first = "never" if not requests else f"at {requests[0].at:.3f}"
            message = f"the {evidence.name_of((event_key, key))} was first sent {first}, with {waiting} around it"
            evidence.records.find(LAW, message, high)


def _is_calm(evidence: Evidence, host: int, begin: float, end: float) -> bool:
    """Whether each node served all the time, and nothing was wrong with its disk, its network or its clock."""
    serving = {
        life.node
        for life in evidence.records.lives
        if (life.ready_at or FOREVER) <= begin and (life.stopping_at or life.ended_at or FOREVER) >= end
    }
    kinds = {
        trouble.kind
        for trouble in evidence.records.troubles
        if trouble.overlaps(begin, end) and trouble.host in {None, host}
    }
    return (
        len(serving) == max(1, evidence.plan.nodes)
        and not kinds - {"api wire"}
        and not _is_reigned(evidence, begin, end)
    )


def _is_reigned(evidence: Evidence, begin: float, end: float) -> bool:
    return any(reign.at <= end and (reign.until or FOREVER) >= begin for reign in evidence.records.reigns)
