"""What the measurements come to: medians, ratios, a table for people and a document for programs."""

import statistics
from collections.abc import Callable, Sequence

import msgspec
from load import Published, Scenario
from paced import Latencies


class Round(msgspec.Struct, frozen=True):
    """One stretch of full load on one subject."""

    subject: str
    seconds: float
    accepted: int  #: events that were answered with 202, counted by wrk
    delivered: int  #: counted by the sink
    cpu_seconds: float
    published: Published
    unsettled_after_2_s: int | None = None  #: open deliveries by the node's audit; None for the forwarder

    @property
    def accepted_per_second(self) -> float:
        """Events acknowledged per second of load."""
        return self.accepted / (self.published.duration_us / 1e6)

    @property
    def delivered_per_second(self) -> float:
        """Deliveries that arrived per second of load."""
        return self.delivered / self.seconds

    @property
    def cpu_us_per_event(self) -> float:
        """CPU time of the subject for one delivered event."""
        return self.cpu_seconds * 1e6 / max(1, self.delivered)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one scenario."""

    scenario: Scenario
    rounds: list[Round]
    latencies: Latencies
    latency_events_per_second: float
    peak_memory_mb: dict[str, float]  #: by subject
    sink_received: int  #: from the node, in all
    audit_delivered: int  #: by the node's books, in all
    audit_imbalance: int

    def median(self, subject: str, figure: Callable[[Round], float]) -> float:
        """The median over the rounds of ``subject``."""
        return statistics.median(figure(r) for r in self.rounds if r.subject == subject)

    @property
    def ratio(self) -> float:
        """Deliveries per second: the node's as a part of the bare forwarder's."""
        node = self.median("node", lambda r: r.delivered_per_second)
        return node / self.median("forwarder", lambda r: r.delivered_per_second)

    @property
    def unsettled(self) -> int:
        """The worst of all rounds."""
        return max(r.unsettled_after_2_s or 0 for r in self.rounds)

    def faults(self) -> list[str]:
        """What makes the figures worthless; empty if nothing does."""
        found = []
        for position, measured in enumerate(self.rounds, start=1):
            if measured.published.faults:
                found.append(f"round {position} ({measured.subject}): {measured.published.faults} requests failed")
        # Whole batches are acknowledged faster than their deliveries can be made; single events must not be.
        if self.unsettled and self.scenario.events == 1:
            found.append(f"{self.unsettled} deliveries were open 2 s after the load stopped")
        if self.audit_imbalance:
            found.append(f"the books differ by {self.audit_imbalance}")
        if self.sink_received != self.audit_delivered:
            found.append(f"the sink counted {self.sink_received} deliveries, the node {self.audit_delivered}")
        late = self.latencies
        if not late.events == late.accepted == late.delivered:
            found.append(f"paced: {late.events} published, {late.accepted} accepted, {late.delivered} delivered")
        return [f"{self.scenario.name}: {fault}" for fault in found]


def document(measured: Sequence[Measured], facts: dict[str, object], *, date: str) -> bytes:
    """All of it as JSON."""
    whole = {
        "date": date,
        "machine": facts,
        "scenarios": [
            {**_figures(one), "rounds": [msgspec.to_builtins(r) for r in one.rounds], "faults": one.faults()}
            for one in measured
        ],
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _figures(one: Measured) -> dict[str, object]:
    by_subject = {
        subject: {
            "accepted_per_second": round(one.median(subject, lambda r: r.accepted_per_second)),
            "delivered_per_second": round(one.median(subject, lambda r: r.delivered_per_second)),
            "cpu_us_per_event": round(one.median(subject, lambda r: r.cpu_us_per_event), 1),
            "cpu_cores": round(one.median(subject, lambda r: r.cpu_seconds / r.seconds), 2),
            "request_p50_ms": round(one.median(subject, lambda r: r.published.p50_us) / 1000, 2),
            "request_p99_ms": round(one.median(subject, lambda r: r.published.p99_us) / 1000, 2),
            "peak_memory_mb": round(one.peak_memory_mb[subject], 1),
        }
        for subject in ("forwarder", "node")
    }
    return {
        "scenario": one.scenario.name,
        "events_per_request": one.scenario.events,
        "connections": one.scenario.connections,
        "ratio": round(one.ratio, 3),
        "unsettled_after_2_s": one.unsettled,
        **by_subject,
        "latency_ms_at_70_percent": msgspec.to_builtins(one.latencies),
        "latency_events_per_second": round(one.latency_events_per_second),
        "sink_received": one.sink_received,
        "audit_delivered": one.audit_delivered,
        "audit_imbalance": one.audit_imbalance,
    }


def table(one: Measured) -> str:
    """One scenario for people."""
    rows: list[tuple[str, Callable[[Round], float], str]] = [
        ("accepted/s (202 seen by wrk)", lambda r: r.accepted_per_second, ",.0f"),
        ("delivered/s (counted by the sink)", lambda r: r.delivered_per_second, ",.0f"),
        ("CPU µs per event", lambda r: r.cpu_us_per_event, ",.1f"),
        ("CPU cores used", lambda r: r.cpu_seconds / r.seconds, ".2f"),
        ("request p50, ms, full load", lambda r: r.published.p50_us / 1000, ",.1f"),
        ("request p99, ms, full load", lambda r: r.published.p99_us / 1000, ",.1f"),
    ]
    scenario, late = one.scenario, one.latencies
    kind = "single events" if scenario.events == 1 else f"batches of {scenario.events}"
    lines = [
        "",
        f"{kind}, {scenario.connections} connections{'':20}"[:38] + f"{'forwarder':>12}{'node':>12}{'ratio':>9}",
    ]
    for label, figure, form in rows:
        forwarder, node = one.median("forwarder", figure), one.median("node", figure)
        ratio = f"{node / forwarder:.2f}" if forwarder else "-"
        lines.append(f"  {label:36}{forwarder:>12{form}}{node:>12{form}}{ratio:>9}")
    lines += [f"  {'peak memory, MB':36}{one.peak_memory_mb['forwarder']:>12.0f}{one.peak_memory_mb['node']:>12.0f}"]
    latencies = [
        ("accept → delivered", late.accept_to_delivered_p50, late.accept_to_delivered_p99),
        ("publish → accepted", late.publish_to_accepted_p50, late.publish_to_accepted_p99),
        ("publish → delivered", late.publish_to_delivered_p50, late.publish_to_delivered_p99),
    ]
    lines.append(f"  node at 70 % load ({one.latency_events_per_second:,.0f} events/s)")
    for label, p50, p99 in latencies:
        lines.append(f"    {label:34}{'p50':>8}{p50:>9,.2f} ms{'p99':>7}{p99:>9,.2f} ms")
    lines.append(f"  open deliveries 2 s after the load stopped: {one.unsettled}; imbalance: {one.audit_imbalance}")
    lines += [f"  FAULT {fault}" for fault in one.faults()]
    return "\n".join(lines)
