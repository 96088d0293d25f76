"""Laws of logs and metrics: declared names, valid text, no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posthouse import telemetry
from posthouse.telemetry import COUNTERS, GAUGES, TIMERS, Log, Metrics, configure_logging, log


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def samples(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_counters_show_what_was_added() -> None:
    metrics = Metrics()
    metrics.events_accepted += 3
    metrics.attempts["success"] += 2
    metrics.attempts["dns"] += 1
    shown = samples(metrics)
    assert shown["posthouse_events_accepted_total"] == 3
    assert shown["posthouse_delivery_attempts_total{outcome=success}"] == 2
    assert shown["posthouse_delivery_attempts_total{outcome=dns}"] == 1
    assert shown["posthouse_events_duplicate_total"] == 0


def test_timers_show_cumulative_buckets_in_seconds() -> None:
    metrics = Metrics()
    for value_ms in (0.1, 1.0, 1.1, 900_000.0):
        metrics.accept_to_first_attempt_ms.observe(value_ms)
    shown = samples(metrics)
    name = "posthouse_accept_to_first_attempt_seconds"
    assert shown[f"{name}_bucket{{le=0.001}}"] == 2
    assert shown[f"{name}_bucket{{le=0.0025}}"] == 3
    assert shown[f"{name}_bucket{{le=300.0}}"] == 3
    assert shown[f"{name}_bucket{{le=+Inf}}"] == 4
    assert shown[f"{name}_count"] == 4
    assert shown[f"{name}_sum"] == pytest.approx(900.0022)


def test_gauges_are_read_when_asked_and_left_out_when_nobody_tells_them() -> None:
    metrics = Metrics()
    level = [1.0]
    metrics.gauge("in_flight", lambda: level[0])
    level[0] = 7.0
    shown = samples(metrics)
    assert shown["posthouse_in_flight"] == 7
    assert "posthouse_unsettled" not in shown


def test_an_undeclared_gauge_is_refused() -> None:
    with pytest.raises(KeyError, match="declared"):
        Metrics().gauge("mood", lambda: 1.0)


def test_two_nodes_in_one_process_count_apart() -> None:
    """No global registry: a simulation runs many nodes."""
    one, two = Metrics(), Metrics()
    one.commits += 1
    assert samples(two)["posthouse_store_commits_total"] == 0


def test_every_declaration_has_its_attribute_and_every_name_is_shown() -> None:
    metrics = Metrics()
    for gauge in GAUGES:
        metrics.gauge(gauge.name, lambda: 0.0)
    for counter in COUNTERS:
        if counter.label:
            getattr(metrics, counter.attribute)["x"] += 1
    shown = " ".join(samples(metrics))
    assert {c.attribute for c in COUNTERS} | {t.attribute for t in TIMERS} == {
        name for name in vars(metrics) if not name.startswith("_")
    }
    for name in telemetry.metric_names():
        assert name in shown


@pytest.mark.usefixtures("restored_logging")
def test_a_declared_event_is_one_line_of_json() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)
    log(Log.NODE_STARTED, url="http://127.0.0.1:1")
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["url"]) == ("node_started", "info", "http://127.0.0.1:1")
    assert line["timestamp"].endswith("Z")


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_secrets_never_reach_a_log(log_format: Literal["json", "pretty"]) -> None:
    """Neither by the name of a field, nor inside a text, nor in a traceback, nor from a library."""
    out = io.StringIO()
    configure_logging("info", log_format, stream=out)
    failure = RuntimeError("cannot use whsec_hidden1")
    log(
        Log.REQUEST_FAILED,
        exc_info=failure,
        headers={"Authorization": "hidden2", "webhook-signature": "hidden3"},
        url="https://example.com/?x=whsk_hidden4",
        secrets=["hidden5"],
        place="it is postgresql://app:hidden7@db/post",
        idempotency_key="kept",
    )
    logging.getLogger("library").warning("sent %s", "Bearer hidden6")
    assert "hidden" not in out.getvalue()
    assert "kept" in out.getvalue()
    assert "RuntimeError" in out.getvalue()


@pytest.mark.usefixtures("restored_logging")
def test_what_is_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    configure_logging("error", "json", stream=out)
    log(Log.NODE_STARTED)
    logging.getLogger("uvicorn.error").warning("no")
    assert out.getvalue() == ""


def test_every_event_has_a_known_level_and_a_sentence() -> None:
    assert len({event.meaning for event in Log}) == len(Log.__members__)
    for event in Log:
        assert event.level in {"debug", "info", "warning", "error"}
        assert event.meaning.endswith(".")
