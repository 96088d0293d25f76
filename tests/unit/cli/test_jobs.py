"""``posthouse jobs`` and ``posthouse backlog`` against a scripted node."""

from collections.abc import Callable
from typing import Any

import pytest

from posthouse.cli import job_view
from posthouse.cli.exits import Exit

Run = Callable[..., Any]

WORKING = {"phase": "working", "processed": 30, "share": 0.3, "per_second": 10.0, "eta_seconds": 7.0}
NO_FILTER: dict[str, Any] = {
    "tenant": None,
    "endpoint": None,
    "source": None,
    "event": None,
    "types": [],
    "states": [],
    "reasons": [],
    "ordering_key": None,
    "since": None,
    "until": None,
    "older_than": None,
}
JOB: dict[str, Any] = {
    "id": "job_1",
    "kind": "retry",
    "state": "running",
    "filter": {**NO_FILTER, "types": ["order.*"], "tenant": "acme"},
    "mode": "all",
    "dry_run": False,
    "rate": "10/s",
    "total": 100,
    "counted": 100,
    "done": 28,
    "skipped": 2,
    "progress": WORKING,
    "created_at": "2026-11-22T08:00:00Z",
    "started_at": "2026-11-22T08:00:01Z",
    "finished_at": None,
    "error": None,
    "trail": [
        {"at": "2026-11-22T08:00:00Z", "by": "ops", "what": "created"},
        {"at": "2026-11-22T08:00:05Z", "by": "ops", "what": "rate 10/s"},
    ],
}
COUNTING = {
    **JOB,
    "total": None,
    "counted": 40,
    "done": 0,
    "skipped": 0,
    "progress": {"phase": "counting", "processed": 40, "share": None, "per_second": None, "eta_seconds": None},
}
ENDED_PROGRESS = {"phase": "ended", "processed": 100, "share": 1.0, "per_second": None, "eta_seconds": None}
DONE = {
    **JOB,
    "state": "completed",
    "done": 98,
    "finished_at": "2026-11-22T08:00:20Z",
    "progress": ENDED_PROGRESS,
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_view, "POLL_SECONDS", 0)
    monkeypatch.setattr(job_view, "PLAIN_SECONDS", 0)


def test_a_job_is_made_and_followed_to_its_end(api: Any, run: Run) -> None:
    api.on("POST /v1/jobs", COUNTING, status=201)
    api.on("GET /v1/jobs/job_1", COUNTING, JOB, DONE)
    ended = run("jobs", "create", "retry", "--type", "order.*", "--type", "a", "--tenant", "acme", "--rate", "10/s")
    assert (ended.code, ended.out) == (Exit.OK, "job_1 completed: 98 deliveries retried, 2 skipped, of 100.\n")
    assert ended.err.splitlines() == [
        "40 deliveries counted",
        "40 deliveries counted",
        "30 of 100 deliveries, 10/s, ends in 7.0 s",
    ]
    assert api.body(0) == {
        "kind": "retry",
        "filter": {"types": ["order.*", "a"], "tenant": "acme"},
        "mode": "all",
        "dry_run": False,
        "rate": "10/s",
        "all": False,
    }


def test_every_condition_is_passed_on(api: Any, run: Run) -> None:
    api.on("POST /v1/jobs", JOB, status=201)
    options = {
        "--endpoint": "ep_1",
        "--source": "src_1",
        "--event": "evt_1",
        "--reason": "gone",
        "--ordering-key": "k",
        "--since": "2026-11-20T00:00:00Z",
        "--until": "2026-11-21T00:00:00Z",
        "--older-than": "3d",
    }
    given = [word for option in options.items() for word in option]
    states = ["--status", "exhausted", "--status", "discarded"]
    ended = run("jobs", "create", "replay", *given, *states, "--latest", "--dry-run", "--all", "--no-wait")
    assert ended.out == "job_1 is running; see how far it is:\nposthouse jobs get job_1\n"
    assert api.body() == {
        "kind": "replay",
        "filter": {
            "endpoint": "ep_1",
            "source": "src_1",
            "event": "evt_1",
            "reasons": ["gone"],
            "ordering_key": "k",
            "since": "2026-11-20T00:00:00Z",
            "until": "2026-11-21T00:00:00Z",
            "older_than": "3d",
            "states": ["exhausted", "discarded"],
        },
        "mode": "latest",
        "dry_run": True,
        "rate": None,
        "all": True,
    }
    assert len(api.requests) == 1


def test_json_is_the_job_as_it_ended(api: Any, run: Run) -> None:
    api.on("POST /v1/jobs", JOB, status=201)
    api.on("GET /v1/jobs/job_1", DONE)
    ended = run("jobs", "create", "retry", "--all", "--json")
    assert (ended.document, ended.err) == (DONE, "")


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (
            {**DONE, "dry_run": True, "done": 1, "skipped": 0, "total": 1},
            "job_1 completed: 1 delivery would be retried, 0 skipped, of 1.",
        ),
        (
            {**DONE, "state": "failed", "kind": "cancel", "error": "KeyError: 'x'"},
            "job_1 failed: 98 deliveries cancelled, 2 skipped, of 100. KeyError: 'x'",
        ),
        ({**COUNTING, "state": "cancelled"}, "job_1 cancelled: 0 deliveries retried, 0 skipped."),
    ],
)
def test_how_a_job_ended_is_told(api: Any, run: Run, job: dict[str, Any], line: str) -> None:
    """Whoever waited for one that did not complete learns it from the exit code too."""
    api.on("POST /v1/jobs", JOB, status=201)
    api.on("GET /v1/jobs/job_1", job)
    ended = run("jobs", "create", "retry", "--all")
    assert ended.out == line + "\n"
    assert ended.code == (Exit.OK if job["state"] == "completed" else Exit.FAILED)


def test_a_job_that_is_paused_is_not_waited_for(api: Any, run: Run) -> None:
    api.on("POST /v1/jobs", JOB, status=201)
    api.on("GET /v1/jobs/job_1", {**JOB, "state": "paused"})
    ended = run("jobs", "create", "retry", "--all")
    assert ended.code == Exit.FAILED
    assert "job_1 is paused" in ended.out


def test_who_stops_waiting_stops_nothing(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    api.on("POST /v1/jobs", JOB, status=201)
    ended = run("jobs", "create", "retry", "--all")
    assert ended.code == Exit.INTERRUPTED
    assert "job_1 goes on by itself" in ended.err
    assert [request.method for request in api.requests] == ["POST"]


def test_a_terminal_gets_a_bar(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    api.on("POST /v1/jobs", COUNTING, status=201)
    api.on("GET /v1/jobs/job_1", JOB, DONE)
    ended = run("jobs", "create", "retry", "--all")
    assert ended.code == Exit.OK
    assert "98 deliveries retried" in ended.out


def test_a_job_is_shown_with_its_trail(api: Any, run: Run) -> None:
    api.on("GET /v1/jobs/job_1", JOB)
    assert run("jobs", "get", "job_1").out.splitlines() == [
        "job       job_1",
        "kind      retry",
        "state     running",
        "filter    tenant acme, types order.*",
        "mode      all",
        "rate      10/s",
        "total     100",
        "done      28",
        "skipped   2",
        "progress  30%",
        "speed     10/s",
        "ends in   7.0 s",
        "created   2026-11-22 08:00:00Z",
        "  2026-11-22 08:00:00Z  created  by ops",
        "  2026-11-22 08:00:05Z  rate 10/s  by ops",
    ]


def test_a_job_over_everything_says_so(api: Any, run: Run) -> None:
    api.on("GET /v1/jobs/job_1", {**COUNTING, "dry_run": True, "filter": NO_FILTER})
    lines = run("jobs", "get", "job_1").out.splitlines()
    assert "kind      retry (dry run)" in lines
    assert "filter    every delivery" in lines
    assert "counted   40" in lines
    assert "progress  -" in lines


def test_jobs_are_listed(api: Any, run: Run) -> None:
    api.on("GET /v1/jobs", {"data": [JOB, {**DONE, "dry_run": True}], "next_cursor": None})
    assert run("jobs", "list", "--state", "running").out.splitlines() == [
        "ID     KIND             STATE      PROGRESS  DONE  SKIPPED  ENDS IN  CREATED               BY",
        "job_1  retry            running         30%    28        2  7.0 s    2026-11-22 08:00:00Z  ops",
        "job_1  retry (dry run)  completed      100%    98        2  -        2026-11-22 08:00:00Z  ops",
    ]
    assert api.query() == {"state": "running", "limit": "50"}


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_people_decide(api: Any, run: Run, verb: str) -> None:
    api.on(f"POST /v1/jobs/job_1/{verb}", JOB)
    assert run("jobs", verb, "job_1").code == Exit.OK
    assert run("jobs", verb, "job_1", "--json").document == JOB


def test_a_rate_is_changed_and_lifted(api: Any, run: Run) -> None:
    api.on("PATCH /v1/jobs/job_1", JOB)
    for text, rate in (("5/m", "5/m"), ("none", None)):
        assert run("jobs", "rate", "job_1", text).code == Exit.OK
        assert api.body() == {"rate": rate}


def test_a_refusal_is_told(api: Any, run: Run) -> None:
    api.refuse("POST /v1/jobs", 422, "invalid_input", "The filter names no condition.")
    ended = run("jobs", "create", "cancel")
    assert ended.code == Exit.REFUSED
    assert "The filter names no condition." in ended.err


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (("park",), {"kind": "park", "filter": {"older_than": "5m"}}),
        (
            ("park", "--tenant", "t", "--older-than", "1h", "--dry-run"),
            {"kind": "park", "filter": {"tenant": "t", "older_than": "1h"}, "dry_run": True},
        ),
        (("drain",), {"kind": "drain", "all": True}),
        (("drain", "--endpoint", "ep_1", "--rate", "9/s"), {"filter": {"endpoint": "ep_1"}, "rate": "9/s"}),
        (("park", "--source", "src_1"), {"filter": {"source": "src_1", "older_than": "5m"}}),
        (("drain", "--source", "src_1"), {"filter": {"source": "src_1"}}),
        (("promote", "--source", "src_1"), {"filter": {"source": "src_1"}}),
        (("promote",), {"kind": "promote"}),
        (("promote", "--all"), {"kind": "promote", "all": True}),
        (("promote", "--older-than", "1d"), {"filter": {"older_than": "1d"}}),
    ],
)
def test_a_backlog_is_moved_by_a_job(api: Any, run: Run, arguments: tuple[str, ...], body: dict[str, Any]) -> None:
    """What is parked without a word is what is backlog; what is drained without a word is all that is parked."""
    api.on("POST /v1/jobs", JOB, status=201)
    api.on("GET /v1/jobs/job_1", DONE)
    assert run("backlog", *arguments).code == Exit.OK
    usual = {"kind": arguments[0], "filter": {}, "dry_run": False, "rate": None, "all": False}
    assert api.body(0) == {**usual, **body}


@pytest.mark.parametrize("arguments", [("backlog", "drain"), ("backlog", "promote"), ("jobs", "create", "park")])
def test_an_empty_condition_is_not_none(api: Any, run: Run, arguments: tuple[str, ...]) -> None:
    """Such as of a variable that is not set: it must not mean every delivery."""
    api.on("POST /v1/jobs", JOB, status=201)
    run(*arguments, "--source", "", "--no-wait")
    assert (api.body()["filter"], api.body()["all"]) == ({"source": ""}, False)


def test_what_waits_is_shown(api: Any, run: Run) -> None:
    lanes = {"live": 1, "retry": 20, "backlog": 3_000, "parked": 0, "behind": 5}
    api.on(
        "GET /v1/backlog",
        {"data": [{"endpoint": "ep_1", "tenant": "acme", "state": "active", **lanes}], "next_cursor": None},
    )
    assert run("backlog", "show", "--tenant", "acme", "--endpoint", "ep_1").out.splitlines() == [
        "ENDPOINT  TENANT  STATE   LIVE  RETRY  BACKLOG  PARKED  BEHIND",
        "ep_1      acme    active     1     20    3,000       0       5",
    ]
    assert api.query() == {"tenant": "acme", "endpoint": "ep_1", "limit": "50"}
