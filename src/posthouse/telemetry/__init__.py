"""What a node tells of itself: metrics and logs, their names declared as data."""

from posthouse.telemetry.logs import REDACTED, Log, configure_logging, log, redact
from posthouse.telemetry.metrics import COUNTERS, GAUGES, TIMERS, Histogram, Metrics, metric_names

__all__ = [
    "COUNTERS",
    "GAUGES",
    "REDACTED",
    "TIMERS",
    "Histogram",
    "Log",
    "Metrics",
    "configure_logging",
    "log",
    "metric_names",
    "redact",
]
