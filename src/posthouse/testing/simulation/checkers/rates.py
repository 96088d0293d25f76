"""I11: no endpoint and no tenant gets requests faster than its rate, in any span of time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from posthouse.core.rate import CATCH_UP_SECONDS, parse_rate
from posthouse.testing.simulation.checkers.downs import Downs, Sending
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import Change, EndpointRecord

LAW = "I11 rates"

_LATE_SECONDS: Final = 0.02  #: between a turn and the time that its request says
_SETTLE_SECONDS: Final = 0.5  #: until a rule that an answer tells of is surely used


def check(evidence: Evidence) -> None:
    """Count what each endpoint and each tenant was sent, as the node itself recorded it, life by life."""
    downs = {number: Downs(evidence, key) for key, number in evidence.number_of.items()}
    for record in evidence.records.endpoints:
        if record.number in downs:
            for sendings, rate in _by_rate(evidence, record, downs[record.number].sendings):
                _check(evidence, f"endpoint {record.number}", sendings, rate)
    for tenant in sorted({call.tenant for call in evidence.records.tenant_calls}):
        numbers = [r.number for r in evidence.records.endpoints if r.tenant == tenant and r.number in downs]
        found = sorted((s for number in numbers for s in downs[number].sendings), key=lambda s: s.began)
        for sendings, rate in _by_tenant_rate(evidence, tenant, found):
            _check(evidence, f"tenant {tenant}", sendings, rate)


def _by_rate(
    evidence: Evidence, record: EndpointRecord, sendings: Sequence[Sending]
) -> Iterator[tuple[list[Sending], str]]:
    """Runs of requests through which an endpoint surely had one rate."""
    calls = [call for call in record.calls if call.change in {Change.CREATE, Change.RATE}]

    def rates(begin: float, end: float) -> set[str | None]:
        possible = [call for call in evidence.possible(calls, begin, end, anywhere=True) if call is not None]
        return {record.rules.rate if call.change is Change.CREATE else call.value for call in possible}

    return _runs(sendings, rates)


def _by_tenant_rate(
    evidence: Evidence, tenant: str, sendings: Sequence[Sending]
) -> Iterator[tuple[list[Sending], str]]:
    """Runs of requests through which a tenant surely had one rate."""

    def rates(begin: float, end: float) -> set[str | None]:
        return evidence.tenant_rules(tenant, "rate", begin, end)

    return _runs(sendings, rates)


def _runs(
    sendings: Sequence[Sending], rates: Callable[[float, float], set[str | None]]
) -> Iterator[tuple[list[Sending], str]]:
    """What was sent one after the other while a single rate held."""
    run: list[Sending] = []
    rate: str | None = None
    for sending in sendings:
        possible = rates(sending.began - _SETTLE_SECONDS, sending.began + _LATE_SECONDS)
        sure = next(iter(possible)) if len(possible) == 1 else None
        if sure != rate:
            if rate is not None:
                yield run, rate
            run, rate = [], sure
        run.append(sending)
    if rate is not None:
        yield run, rate


def _check(evidence: Evidence, whose: str, sendings: Sequence[Sending], rate: str) -> None:
    """In any T seconds of one life at most rate * (T + the catch-up) + 1.

    A life that stands still, or loses slots to a rival, is another one as far as this goes: what it knows of
    the requests before is gone, or their times say nothing.
    """
    per_second = parse_rate(rate).per_second
    spare = per_second * (CATCH_UP_SECONDS + _LATE_SECONDS) + 1
    least: float | None = None  # of what was sent before a time, less what the rate allows until then
    before: Sending | None = None
    for count, sending in enumerate(sendings):
        if before is not None and _is_apart(evidence, before, sending):
            least = None
        ahead = count - per_second * sending.began
        least = ahead if least is None else min(least, ahead)
        evidence.records.counts["rates checked"] += 1
        if ahead - least + 1 > spare + 1e-6:
            message = f"{whose} got {ahead - least + 1 - spare:.2f} requests more than {rate} allows"
            evidence.records.find(LAW, message, sending.began)
            return
        before = sending


def _is_apart(evidence: Evidence, one: Sending, other: Sending) -> bool:
    if one.life != other.life or evidence.is_troubled(one.began, other.began, "freeze", "step"):
        return True
    return any(reign.at <= other.began and evidence.noticed_by(reign) >= one.began for reign in evidence.records.reigns)
