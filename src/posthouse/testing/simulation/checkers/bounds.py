"""I9: everything has a bound."""

import math
from collections import defaultdict
from typing import Final

from posthouse.core.limits import (
    INBOX_WAITING_MAX,
    INBOX_WINDOW_BYTES_MAX,
    INBOX_WINDOW_ITEMS_MAX,
    INTAKE_WAITING_MAX,
    UNSETTLED_MAX,
    WINDOW_BYTES_MAX,
    WINDOW_ITEMS_MAX,
    WINDOWS_BYTES_MAX,
)
from posthouse.testing.simulation.evidence import Evidence

LAW = "I9 bounds"

_BATCH_MAX: Final = 1_000  #: events of one request, by which a bound may be passed
_LANES: Final = 3
_TIMEOUT_SECONDS_MAX: Final = 10.0  #: of an endpoint; what was sent before a cap was lowered is back by then


def check(evidence: Evidence) -> None:
    """Count requests at a time, and read what the node said of itself."""
    _check_in_flight(evidence)
    _check_samples(evidence)


def _check_in_flight(evidence: Evidence) -> None:
    """Requests that were surely on their way at one time, for each endpoint and in all."""
    marks: dict[tuple[int, int | str | None], list[tuple[float, int]]] = defaultdict(list)
    for request in evidence.records.received:
        limit = evidence.endpoint[request.endpoint].timeout_ms / 1_000
        ends = [evidence.signed(request).low + limit]
        if request.answered_at is not None:
            ends.append(request.answered_at)
        if request.ended_at is not None:
            ends.append(request.at if request.torn else request.ended_at)
        if evidence.is_troubled(request.at, min(ends), "wire", host=request.host):
            continue
        if any(reign.life == request.life and reign.at <= request.at + limit for reign in evidence.records.reigns):
            continue  # the requests of its former reign are the node's own no more
        for who in (request.endpoint, evidence.endpoint[request.endpoint].tenant, None):
            marks[request.life, who] += [(request.at, 1), (max(request.at, min(ends)), -1)]
    for (life, who), changes in sorted(marks.items(), key=str):
        count = 0
        for at, change in sorted(changes):
            count += change
            evidence.records.counts["requests at once"] = max(evidence.records.counts["requests at once"], count)
            if change > 0 and count > _most(evidence, who, at):
                whose = "the node" if who is None else f"tenant {who}" if isinstance(who, str) else f"endpoint {who}"
                evidence.records.find(LAW, f"{count} requests of {whose} were on their way in life {life}", at)
                break


def _most(evidence: Evidence, who: int | str | None, at: float) -> float:
    """Requests at once that the node, a tenant or an endpoint may have at some time."""
    if who is None:
        return evidence.plan.in_flight_max
    if isinstance(who, int):
        return _cap(evidence, who)
    caps = evidence.tenant_rules(who, "in_flight_max", at - _TIMEOUT_SECONDS_MAX, at)
    return math.inf if None in caps else max(caps)


def _cap(evidence: Evidence, endpoint: int) -> int:
    """Requests at once that an endpoint may get, by its own rule or the node's setting."""
    own = evidence.endpoint[endpoint].rules.in_flight_max
    return evidence.plan.in_flight_per_endpoint if own is None else own


def _check_samples(evidence: Evidence) -> None:
    plan, records = evidence.plan, evidence.records
    fenced: dict[int, float] = {}
    for sample in records.samples:
        values = sample.values
        bounds = {
            "in_flight": plan.in_flight_max,
            "unsettled": UNSETTLED_MAX + plan.in_flight_max,
            "intake_waiting": INTAKE_WAITING_MAX + _BATCH_MAX,
            "window_items": WINDOW_ITEMS_MAX * max(1.0, values.get("windows", 1)),
            "window_bytes": WINDOWS_BYTES_MAX + WINDOW_BYTES_MAX,
            "inbox_arriving": INBOX_WAITING_MAX,
            "inbox_items": INBOX_WINDOW_ITEMS_MAX * len(plan.sources),
            "inbox_bytes": WINDOWS_BYTES_MAX + INBOX_WINDOW_BYTES_MAX,
            "windows": _LANES * len(evidence.rows.endpoints),
        }
        for name, most in bounds.items():
            if values.get(name, 0) > most:
                records.find(LAW, f"{name} was {values[name]}, and is at most {most}", sample.at)
        fenced[sample.life] = values.get("settlements_fenced_total", 0)
        records.counts["window items at once"] = max(
            records.counts["window items at once"], int(values.get("window_items", 0))
        )
    records.counts["fenced"] += int(sum(fenced.values()))
