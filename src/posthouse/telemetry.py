"""The names of logs and metrics as declared data, and the only code that writes them out.

Metrics are plain integers on one object: the hot path adds to an attribute, and everything that
costs (labels, text, unit conversion) happens when somebody reads. Their names, and the names of the log
events, are API.
"""

import logging
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, Literal, NamedTuple, TextIO

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.typing import EventDict, Processor, WrappedLogger

from posthouse import __version__

# -- metrics --------------------------------------------------------------------------------


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
    Timer("commit_ms", "posthouse_store_commit_seconds", "One COMMIT, fsync included.", _COMMIT_BOUNDS_MS),
)

GAUGES: Final = (
    Gauge("in_flight", "Requests to endpoints that are on their way."),
    Gauge("intake_waiting", "Events that wait for their commit."),
    Gauge("unsettled", "Outcomes that wait for their commit."),
    Gauge("windows", "Queues (endpoint and lane) that hold work in memory."),
    Gauge("window_items", "Deliveries that are buffered in memory."),
    Gauge("window_bytes", "Bytes of event data that are buffered in memory."),
    Gauge("jobs_running", "Bulk jobs that count or work, or wait for their rate."),
    Gauge("jobs_paused", "Bulk jobs that an operator holds."),
    Gauge("store_bytes", "Bytes of the store's main file."),
    Gauge("store_wal_bytes", "Bytes of the store's write-ahead log."),
    Gauge("slots_owned", "Hash slots of endpoints that this node owns."),
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
        self.commits = 0
        self.commit_rows = 0
        self.accept_to_first_attempt_ms = Histogram(TIMERS[0].bounds_ms)
        self.attempt_total_ms = Histogram(TIMERS[1].bounds_ms)
        self.commit_ms = Histogram(TIMERS[2].bounds_ms)
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


# -- logs -----------------------------------------------------------------------------------


class Log(Enum):
    """Every event that Posthouse logs: its level and what it means. Its name in the log is in lower case.

    Nothing is logged per event or per delivery: those have rows.
    """

    NODE_STARTED = "info", "The node answers requests on `url`."
    NODE_STOPPING = "info", "A signal came: no new requests, and at most `drain_seconds` for those on their way."
    NODE_STOPPED = "info", "Everything is settled and the store is closed."
    NODE_FAILED = "error", "The node cannot go on and ends; what it acknowledged is in the store."
    STORE_FAILED = "error", "A COMMIT or fsync failed, so its outcome is unknown; the process must start anew."
    SLOTS_ACQUIRED = "info", "This node owns `count` more slots of endpoints."
    SLOTS_LOST = "warning", "Another node took `count` slots, or their lease ran out."
    LEASE_RENEWAL_FAILED = "warning", "The leases could not be prolonged; tried again before they run out."
    ENDPOINT_DISABLED = (
        "warning",
        "The endpoint's deliveries are held: it answered 410 Gone, failed for too long, or is unusable.",
    )
    ENDPOINT_UNUSABLE = "warning", "What is stored of the endpoint cannot be used, as `detail` says; it gets disabled."
    ENDPOINT_DOWN = (
        "warning",
        "The endpoint fails; its deliveries wait, and one probe at a time looks whether it is up.",
    )
    ENDPOINT_ANSWERS = "info", "An endpoint that was down answers again; what waited is sent, with a ramp."
    ENDPOINT_RECOVERED = "info", "Nothing waits any more of what an endpoint missed while it was down."
    ENDPOINT_FAILING = "warning", "The endpoint has failed for a long time; unless it answers, it is disabled then."
    HEALTH_UNWRITTEN = "warning", "What is known of endpoints that fail could not be stored; tried again."
    DELIVERY_FAULT = "error", "The node itself failed at a delivery: `count` times since this was last logged."
    QUEUE_UNREADABLE = "error", "Queues cannot be read, `count` more than was logged before; tried every second."
    QUEUE_STUCK = "warning", "The queue's first delivery is due, nothing holds it, and it has not moved for `seconds`."
    QUEUE_MOVES = "info", "A queue that was stuck for `seconds` moves again, or is held for a known reason now."
    CLOCK_STEPPED = "warning", "The wall clock was stepped by `by_ms` milliseconds against the monotonic one."
    DELIVERIES_RETIMED = "info", "A clock ahead of this one had set due times; `count` of them were set anew."
    SETTLE_FAILED = "error", "Outcomes could not be made durable; their deliveries will be attempted again."
    JOB_ENDED = "info", "A bulk job ended as `state` says; it changed `done` deliveries and skipped `skipped`."
    JOB_FAILED = "error", "A bulk job met a fault and stands where it was; others go on."
    LOOP_FAILED = "error", "A loop of the node met a fault of the program; it goes on where it can."
    REQUEST_FAILED = "error", "An API request met a fault of the program and was answered with 500."
    UNDELIVERED_AT_STOP = "warning", "`count` requests had no answer when the drain ended; they will be sent again."

    def __init__(self, level: str, meaning: str) -> None:
        self.level = level
        self.meaning = meaning


def log(event: Log, /, *, exc_info: BaseException | None = None, **fields: object) -> None:
    """Write one declared event with its fields. Once, at the place that handles it."""
    if exc_info is not None:
        fields["exc_info"] = exc_info
    _logger.log(_LEVELS[event.level], event.name.lower(), **fields)


_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_logger = structlog.stdlib.get_logger("posthouse")

REDACTED: Final = "[redacted]"
_SECRET_KEY: Final = re.compile(r"secret|authorization|token|password|api_?key$|cookie|signature$", re.IGNORECASE)
_SECRET_TEXT: Final = re.compile(r"\b(whsec_|whsk_|[Bb]earer )[^\s\"',}]+")


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Hide what must not be in a log: fields by name, and secrets that stand inside a text.

    Every line begins with when, how bad and what.
    """
    first = {key: event_dict[key] for key in ("timestamp", "level", "event") if key in event_dict}
    return {key: _redacted(key, value) for key, value in {**first, **event_dict}.items()}


def _redacted(key: str, value: object) -> object:
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\1{REDACTED}", value)
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(key, part) for part in value]
    return value


def configure_logging(
    level: str, log_format: Literal["auto", "json", "pretty"], *, stream: TextIO | None = None
) -> None:
    """Send all logs, those of libraries too, to ``stream`` (standard error) as JSON or pretty lines.

    ``auto`` is pretty on a terminal and JSON elsewhere. Calling it again replaces the earlier set-up.
    """
    target = stream or sys.stderr
    pretty = log_format == "pretty" or (log_format == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The traceback becomes text before redaction, so that a secret inside it is hidden as well.
    trace = structlog.processors.format_exc_info
    last: list[Processor] = [redact, structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, trace, *last],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "aiohttp"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(_LEVELS[level], logging.WARNING))
