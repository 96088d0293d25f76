"""The rules of endpoints from the command line: given, taken away, shown."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from posthouse.cli.endpoint_rules import UNSETTABLE
from posthouse.cli.exits import Exit

Run = Callable[..., Any]

ENDPOINT: dict[str, Any] = {
    "id": "ep_1",
    "tenant": "default",
    "url": "https://example.com/h",
    "events": ["*"],
    "active": True,
    "state": "active",
    "state_reason": None,
    "description": "",
    "headers": {},
    "retry": "three-weeks",
    "connect_timeout_ms": 5_000,
    "timeout_ms": 60_000,
    "rate": "50/s",
    "in_flight_max": 1,
    "order": "fifo",
    "block_seconds": 3_600,
    "payload": "thin",
    "format": "gocardless",
    "batch": {"max_events": 100, "max_wait_ms": 1_500},
    "success": "200-299,409",
    "sources": ["src_1", "src_2"],
    "filter": "data.n > 1",
    "transform": {"n": "data.ñ"},
    "disable_after_days": 1,
    "health": {
        "state": "down",
        "failing_since": "2026-11-22T08:00:00Z",
        "next_probe_at": "2026-11-22T09:00:00Z",
        "disables_at": "2026-11-23T08:00:00Z",
        "rate_now": 12.5,
        "in_flight": 1,
    },
    "secrets": [],
    "created_at": "2026-11-22T08:00:00Z",
    "updated_at": "2026-11-22T08:00:00Z",
}
GIVEN = [
    *("--rate", "50/s", "--in-flight-max", "1", "--order", "fifo", "--block-seconds", "600"),
    *("--payload", "full", "--format", "asana", "--batch-max-events", "100", "--batch-max-wait-ms", "1500"),
    *("--source", "src_1", "--source", "src_2"),
    *("--success", "200-299,409", "--filter", "data.n > 1", "--transform", '{"n": "data.n"}'),
    *("--disable-after-days", "14"),
]
FIELDS = {
    "rate": "50/s",
    "in_flight_max": 1,
    "order": "fifo",
    "block_seconds": 600,
    "payload": "full",
    "format": "asana",
    "batch": {"max_events": 100, "max_wait_ms": 1_500},
    "success": "200-299,409",
    "sources": ["src_1", "src_2"],
    "filter": "data.n > 1",
    "transform": {"n": "data.n"},
    "disable_after_days": 14,
}


def test_a_new_endpoint_gets_the_rules_that_are_given(api: Any, run: Run) -> None:
    api.on("POST /v1/endpoints", {**ENDPOINT, "secret": "whsec_x"}, status=201)
    assert run("endpoints", "create", "https://e.x/", *GIVEN).code == Exit.OK
    assert api.body() == {"url": "https://e.x/", "events": ["*"], "active": True, **FIELDS}


def test_a_change_names_the_rules_that_are_given(api: Any, run: Run) -> None:
    api.on("PATCH /v1/endpoints/ep_1", ENDPOINT)
    assert run("endpoints", "update", "ep_1", *GIVEN).code == Exit.OK
    assert api.body() == FIELDS
    assert run("endpoints", "update", "ep_1", "--batch-max-events", "5").code == Exit.OK
    assert api.body() == {"batch": {"max_events": 5}}


def test_every_rule_can_be_taken_away(api: Any, run: Run) -> None:
    """But for the order, the payload and the format, which have a word for it."""
    api.on("PATCH /v1/endpoints/ep_1", ENDPOINT)
    options = [part for name in UNSETTABLE for part in ("--unset", name)]
    usual = {"order": "none", "payload": "full", "format": "standard-webhooks"}
    options += [part for name, word in usual.items() for part in (f"--{name}", word)]
    assert run("endpoints", "update", "ep_1", *options).code == Exit.OK
    assert api.body() == {**dict.fromkeys(FIELDS), **usual}


def test_an_endpoint_need_never_be_disabled(api: Any, run: Run) -> None:
    api.on("PATCH /v1/endpoints/ep_1", ENDPOINT)
    run("endpoints", "update", "ep_1", "--disable-after-days", "never")
    assert api.body() == {"disable_after_days": None}


def test_expressions_are_read_from_files_and_stdin(
    api: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("PATCH /v1/endpoints/ep_1", ENDPOINT)
    (tmp_path / "filter.cel").write_text("data.n > 1\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"n": "data.n"}\n')))
    run("endpoints", "update", "ep_1", "--filter", "@filter.cel", "--transform", "-")
    assert api.body() == {"filter": "data.n > 1", "transform": {"n": "data.n"}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--unset", "url"], "cannot be unset"),
        (["--rate", "5/s", "--unset", "rate"], "set and unset"),
        (["--batch-max-wait-ms", "5"], "--batch-max-events"),
        (["--transform", "[1]"], "JSON object"),
        (["--transform", "{"], "not valid JSON"),
        (["--filter", "@missing.cel"], "cannot be read"),
        (["--disable-after-days", "soon"], "number of days"),
        (["--disable-after-days", "-1"], "number of days"),
        (["--order", "lifo"], "lifo"),
    ],
)
def test_what_makes_no_sense_is_not_sent(api: Any, run: Run, options: list[str], said: str) -> None:
    ended = run("endpoints", "update", "ep_1", *options)
    assert ended.code == Exit.USAGE
    assert said in ended.err
    assert api.requests == []


def test_a_filter_that_is_no_text_is_not_sent(api: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "filter.cel").write_bytes(b"\xff")
    assert run("endpoints", "update", "ep_1", "--filter", "@filter.cel").code == Exit.USAGE
    assert api.requests == []


def test_rules_and_health_are_shown(api: Any, run: Run) -> None:
    api.on("GET /v1/endpoints/ep_1", ENDPOINT)
    lines = {
        line.split("  ", 1)[0]: line.split("  ", 1)[1].strip()
        for line in run("endpoints", "show", "ep_1").out.splitlines()
    }
    expected = {
        "rate": "50/s",
        "at once": "1 request",
        "order": "fifo; a failing event blocks its ordering key for 3,600 s",
        "payload": "thin",
        "format": "gocardless",
        "batch": "up to 100 events, the first waits 1,500 ms at most",
        "success": "200-299,409",
        "sources": "src_1, src_2",
        "filter": "data.n > 1",
        "transform": '{"n": "data.ñ"}',
        "disabled": "after 1 day without a success",
        "health": "down, failing since 2026-11-22 08:00:00Z",
        "next probe": "2026-11-22 09:00:00Z",
        "disables": "2026-11-23 08:00:00Z, unless it answers before",
        "rate now": "12.5/s at most",
        "in flight": "1",
    }
    assert {name: lines[name] for name in expected} == expected


def test_usual_rules_are_not_shown(api: Any, run: Run) -> None:
    usual: dict[str, Any] = {
        **dict.fromkeys(FIELDS),
        "sources": [],
        "order": "none",
        "payload": "full",
        "format": "standard-webhooks",
        "success": "200-299",
        "health": {**dict.fromkeys(ENDPOINT["health"]), "state": "ok", "in_flight": 0},
    }
    api.on("GET /v1/endpoints/ep_1", {**ENDPOINT, **usual})
    names = [line.split("  ", 1)[0] for line in run("endpoints", "show", "ep_1").out.splitlines()]
    shown = ["endpoint", "url", "state", "tenant", "events", "retry", "timeouts", "disabled", "health"]
    assert names == [*shown, "created", "updated"]
