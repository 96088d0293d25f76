"""The numbers of a node: their names as declared data, and the only code that writes them out.

Metrics are plain integers on one object: the hot path adds to an attribute, and everything that costs (labels, text,
unit conversion) happens when somebody reads. Their names are API.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from posthouse import __version__


class Counter(NamedTuple):
    """A number that only grows while the process lives."""

    attribute: str  #: of Metrics
    name: str  #: as Prometheus shows it, without ``_total``
    help: str
    label: str | None = None  #: with one, the attribute is a mapping from its value to the number


class Timer(NamedTuple):
    """How long something takes: milliseconds inside, seconds in Prometheus."""

    attribute: str
    name: str
    help: str
    bounds_ms: tuple[float, ...]


class Gauge(NamedTuple):
    """A number that is read from its owner when somebody asks."""

    name: str  #: for :meth:`Metrics.gauge`; Prometheus shows it after ``posthouse_``
    help: str


COUNTERS: Final = (
    Counter("events_accepted", "posthouse_events_accepted", "Events that were made durable and acknowledged."),
    Counter("events_duplicate", "posthouse_events_duplicate", "Repeats of an event that was there before."),
    Counter("outbox_taken", "posthouse_outbox_events", "Events that were taken out of outboxes."),
    Counter("outbox_doubted", "posthouse_outbox_doubts", "Rows of outboxes that cannot be events, put aside."),
    Counter("deliveries_owed", "posthouse_deliveries_owed", "Deliveries that accepted events owe."),
    Counter(
        "deliveries_settled",
        "posthouse_deliveries_settled",
        "Attempts made durable, by the state they led to.",
        "state",
    ),
    Counter(
        "attempts",
        "posthouse_delivery_attempts",
        "HTTP requests to endpoints, by outcome; `fault`: the node itself failed.",
        "outcome",
    ),
    Counter("fenced", "posthouse_settlements_fenced", "Outcomes refused because the slot has another owner."),
    Counter(
        "superseded", "posthouse_settlements_superseded", "Outcomes that came after an operator changed the delivery."
    ),
    Counter(
        "deliveries_swept", "posthouse_deliveries_swept", "Due deliveries that only the sweep found: a hint was lost."
    ),
    Counter("breakers_opened", "posthouse_breakers_opened", "Times that the breaker of an endpoint opened."),
    Counter("probes", "posthouse_endpoint_probes", "Requests that looked whether an endpoint is up again."),
    Counter("jobs_ended", "posthouse_jobs_ended", "Bulk jobs that ended, by the state they led to.", "state"),
    Counter("job_deliveries", "posthouse_job_deliveries", "Deliveries that bulk jobs changed, by kind.", "kind"),
    Counter(
        "requests_received",
        "posthouse_source_requests",
        "Requests to sources that were judged, by verdict.",
        "verdict",
    ),
    Counter(
        "requests_turned_away",
        "posthouse_source_requests_turned_away",
        "Requests to sources that were not kept, by reason.",
        "reason",
    ),
    Counter("handshakes", "posthouse_source_handshakes", "Handshakes of senders that were answered."),
    Counter("heartbeats", "posthouse_source_heartbeats", "Requests by which a sender only said that it is alive."),
    Counter("requests_read", "posthouse_source_requests_read", "Requests to sources that were passed on."),
    Counter("events_received", "posthouse_source_events", "Events that came in through sources."),
    Counter("events_repeated", "posthouse_source_events_repeated", "Events that had come in before: suppressed."),
    Counter(
        "events_unchecked",
        "posthouse_source_events_unchecked",
        "Events that were passed on although repetitions could not be recognised.",
    ),
    Counter(
        "quarantined",
        "posthouse_source_quarantined",
        "Requests and events behind their answer that were put in quarantine, by objection.",
        "objection",
    ),
    Counter(
        "keys_fetched",
        "posthouse_source_keys_fetched",
        "Fetches of keys to check requests with, by outcome.",
        "outcome",
    ),
    Counter("commits", "posthouse_store_commits", "Transactions that the store made durable."),
    Counter("commit_rows", "posthouse_store_commit_rows", "Rows that those transactions wrote."),
)

_WAIT_BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 300_000)
_ATTEMPT_BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
_COMMIT_BOUNDS_MS: Final = (0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000)

TIMERS: Final = (
    Timer(
        "accept_to_first_attempt_ms",
        "posthouse_accept_to_first_attempt_seconds",
        "From an event's acceptance to the start of a delivery's first attempt.",
        _WAIT_BOUNDS_MS,
    ),
    Timer(
        "attempt_total_ms",
        "posthouse_delivery_attempt_seconds",
        "One HTTP request to an endpoint, from look-up to the last byte.",
        _ATTEMPT_BOUNDS_MS,
    ),
    Timer(
        "outbox_wait_ms",
        "posthouse_outbox_wait_seconds",
        "From the writing of an event into an outbox to its acceptance.",
        _WAIT_BOUNDS_MS,
    ),
    Timer("commit_ms", "posthouse_store_commit_seconds", "One COMMIT, fsync included.", _COMMIT_BOUNDS_MS),
)

GAUGES: Final = (
    Gauge("in_flight", "Requests to endpoints that are on their way."),
    Gauge("intake_waiting", "Events that wait for their commit."),
    Gauge("inbox_arriving", "Requests to sources that wait for their commit."),
    Gauge("inbox_items", "Requests to sources that are buffered in memory behind their answer."),
    Gauge("inbox_bytes", "Bytes of their bodies."),
    Gauge("sources_silent", "Sources of which nothing came for twice as long as usual."),
    Gauge("unsettled", "Outcomes that wait for their commit."),
    Gauge("windows", "Queues (endpoint and lane) that hold work in memory."),
    Gauge("window_items", "Deliveries that are buffered in memory."),
    Gauge("window_bytes", "Bytes of event data that are buffered in memory."),
    Gauge("jobs_running", "Bulk jobs that count or work, or wait for their rate."),
    Gauge("jobs_paused", "Bulk jobs that an operator holds."),
    Gauge("store_bytes", "Bytes of the store's main file."),
    Gauge("store_wal_bytes", "Bytes of the store's write-ahead log."),
    Gauge("store_findings", "What an operator should know of how the store is set up; the node's log says what."),
    Gauge("slots_owned", "Hash slots of endpoints that this node owns."),
    Gauge("slots_unquiet", "Slots of them for which requests of a node that died may still be on their way."),
    Gauge("nodes", "Nodes that live, this one included."),
    Gauge("endpoints_down", "Endpoints whose breaker is open: their deliveries wait for a probe to go well."),
    Gauge("endpoints_recovering", "Endpoints that answer again and get what waited, with a ramp."),
    Gauge("stuck_queues", "Queues whose first delivery is due for more than 10 s although nothing holds it."),
    Gauge("stuck_seconds", "For how long the oldest of them has not moved."),
    Gauge("survey_age_seconds", "Since the store last said which queues have work; it is asked every few seconds."),
)


class Histogram:
    """Counts of values between fixed bounds. Adding costs one binary search."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``; one that equals a bound falls under it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """All numbers of one node. Used from the event loop only, so that nothing needs a lock."""

    def __init__(self) -> None:
        self.events_accepted = 0
        self.events_duplicate = 0
        self.outbox_taken = 0
        self.outbox_doubted = 0
        self.deliveries_owed = 0
        self.deliveries_settled: dict[str, int] = defaultdict(int)
        self.attempts: dict[str, int] = defaultdict(int)
        self.fenced = 0
        self.superseded = 0
        self.deliveries_swept = 0
        self.breakers_opened = 0
        self.probes = 0
        self.jobs_ended: dict[str, int] = defaultdict(int)
        self.job_deliveries: dict[str, int] = defaultdict(int)
        self.requests_received: dict[str, int] = defaultdict(int)
        self.requests_turned_away: dict[str, int] = defaultdict(int)
        self.handshakes = 0
        self.heartbeats = 0
        self.requests_read = 0
        self.events_received = 0
        self.events_repeated = 0
        self.events_unchecked = 0
        self.quarantined: dict[str, int] = defaultdict(int)
        self.keys_fetched: dict[str, int] = defaultdict(int)
        self.commits = 0
        self.commit_rows = 0
        self.accept_to_first_attempt_ms = Histogram(TIMERS[0].bounds_ms)
        self.attempt_total_ms = Histogram(TIMERS[1].bounds_ms)
        self.outbox_wait_ms = Histogram(TIMERS[2].bounds_ms)
        self.commit_ms = Histogram(TIMERS[3].bounds_ms)
        self._readers: dict[str, Callable[[], float]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self))
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Let ``read`` tell the gauge ``name``, which :data:`GAUGES` declares. The last reader counts."""
        if name not in {gauge.name for gauge in GAUGES}:
            raise KeyError(f"{name} is no declared gauge")
        self._readers[name] = read

    def render(self) -> bytes:
        """Everything in the text format of Prometheus. A gauge that nobody tells is left out."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """Everything as Prometheus families, in the order of the declarations."""
        info = GaugeMetricFamily("posthouse_build_info", "The version that runs; always 1.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for counter in COUNTERS:
            labels = [counter.label] if counter.label else []
            family = CounterMetricFamily(counter.name, counter.help, labels=labels)
            value: int | Mapping[str, int] = getattr(self, counter.attribute)
            for label_value, count in sorted(value.items()) if isinstance(value, Mapping) else [("", value)]:
                family.add_metric([label_value] if counter.label else [], count)
            yield family
        for timer in TIMERS:
            histogram: Histogram = getattr(self, timer.attribute)
            seconds = HistogramMetricFamily(timer.name, timer.help)
            seconds.add_metric([], _buckets(histogram), sum_value=histogram.total / 1_000)
            yield seconds
        for gauge in GAUGES:
            if gauge.name in self._readers:
                yield GaugeMetricFamily(f"posthouse_{gauge.name}", gauge.help, value=self._readers[gauge.name]())


class _Families(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families()


def metric_names() -> tuple[str, ...]:
    """Every name of Posthouse's own that ``/metrics`` can show."""
    return (
        "posthouse_build_info",
        *(f"{counter.name}_total" for counter in COUNTERS),
        *(timer.name for timer in TIMERS),
        *(f"posthouse_{gauge.name}" for gauge in GAUGES),
    )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts with upper bounds in seconds, as the text format wants them."""
    cumulative, buckets = 0, []
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if bound is None else str(bound / 1_000), float(cumulative)))
    return buckets
