"""Sources, what comes in through them and the quarantine, from the command line."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from posthouse.cli import stepping
from posthouse.cli.exits import Exit

Run = Callable[..., Any]

AT = "2026-11-22T08:00:00Z"
SOURCE: dict[str, Any] = {
    "id": "src_1",
    "name": "payments",
    "provider": "gocardless",
    "tenant": "default",
    "url": "https://hooks.example.com/in/abc",
    "state": "active",
    "description": "",
    "fresh_seconds": None,
    "heartbeat_seconds": 3_600,
    "body_bytes_max": 1_048_576,
    "while_paused": "hold",
    "key_hosts": [],
    "custom": None,
    "secrets": [{"created_at": AT, "expires_at": None}, {"created_at": AT, "expires_at": "2026-11-23T08:00:00Z"}],
    "created_at": AT,
    "updated_at": AT,
}
REQUEST: dict[str, Any] = {
    "id": "req_1",
    "source": "src_1",
    "received_at": AT,
    "method": "POST",
    "url": "https://hooks.example.com/in/abc?x=1",
    "verdict": "genuine",
    "status": 204,
    "body_bytes": 9,
    "waiting": False,
    "read_at": AT,
    "events": 2,
    "duplicates": 1,
    "quarantined": 1,
    "is_heartbeat": False,
    "delivery": "d-1",
    "headers": [{"name": "Authorization", "value": "***"}, {"name": "Content-Type", "value": "application/json"}],
    "body": '{"a": 1}\n',
    "body_base64": None,
    "found": [
        {"position": 0, "event": "evt_1", "duplicate": False},
        {"position": 1, "event": "evt_0", "duplicate": True},
    ],
}
ENTRY: dict[str, Any] = {
    "id": "qua_1",
    "request": "req_1",
    "position": None,
    "source": "src_1",
    "tenant": "default",
    "objection": "bad_signature",
    "detail": "No signature of the request matches a secret. (no_match)",
    "type": None,
    "since": AT,
    "acknowledged": False,
    "resolution": None,
    "resolved_at": None,
}


def page(*items: Any, next_cursor: str | None = None) -> dict[str, Any]:
    return {"data": list(items), "next_cursor": next_cursor}


def facts(out: str) -> dict[str, str]:
    return {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in out.splitlines()}


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *answers: object) -> list[str]:
    """Somebody sits there, and gives these answers; the questions."""
    asked: list[str] = []
    given = iter(answers)

    def answer(text: str, **_: object) -> Any:
        asked.append(text)
        return next(given)

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.prompt", answer)
    monkeypatch.setattr("typer.confirm", answer)
    return asked


# -- sources ----------------------------------------------------------------------------------


def test_a_source_is_made_with_what_is_given(api: Any, run: Run) -> None:
    api.on("POST /v1/sources", SOURCE, status=201)
    ended = run("sources", "create", "payments", "--provider", "gocardless")
    assert (ended.code, api.body()) == (Exit.OK, {"name": "payments", "provider": "gocardless"})
    assert facts(ended.out) == {
        "source": "src_1",
        "name": "payments",
        "url": "https://hooks.example.com/in/abc",
        "state": "active",
        "tenant": "default",
        "provider": "gocardless",
        "secrets": "2 secrets valid, one until 2026-11-23 08:00:00Z",
        "heartbeat": "3,600 s",
        "largest body": "1.0 MiB",
        "created": "2026-11-22 08:00:00Z",
        "updated": "2026-11-22 08:00:00Z",
    }
    options = [
        *("--provider", "custom", "--custom", '{"scheme": {"kind": "none"}}', "--tenant", "acme"),
        *("--description", "d", "--fresh-seconds", "5", "--heartbeat-seconds", "0", "--body-bytes-max", "10"),
        *("--while-paused", "refuse", "--key-host", "a.example.com", "--key-host", "b.example.com"),
    ]
    assert run("sources", "create", "n", *options, "--json").document == SOURCE
    assert api.body() == {
        "name": "n",
        "provider": "custom",
        "custom": {"scheme": {"kind": "none"}},
        "tenant": "acme",
        "description": "d",
        "fresh_seconds": 5,
        "heartbeat_seconds": 0,
        "body_bytes_max": 10,
        "while_paused": "refuse",
        "key_hosts": ["a.example.com", "b.example.com"],
    }


def test_secrets_come_from_options_files_stdin_and_a_prompt(
    api: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST /v1/sources", SOURCE, status=201)
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from stdin\r\n")))
    create = ("sources", "create", "n", "--provider", "github")
    assert run(*create, "--secret", "given", "--secret", "-", "--secret-file", "secret").code == Exit.OK
    assert api.body()["secrets"] == ["given", "from stdin", "from a file"]
    asked = at_a_terminal(monkeypatch, "typed")
    assert run(*create, "--secret-prompt").code == Exit.OK
    assert (api.body()["secrets"], asked) == (["typed"], ["Secret"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--secret-file", "missing"], "cannot be read"),
        (["--secret-file", "empty"], "no secret"),
        (["--secret-file", "binary"], "UTF-8"),
        (["--secret-prompt"], "nobody to ask"),
        (["--custom", "{"], "not valid JSON"),
        (["--custom", "[1]"], "JSON object"),
        (["--while-paused", "drop"], "drop"),
    ],
)
def test_what_makes_no_sense_is_not_sent(
    api: Any, run: Run, tmp_path: Path, *, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    ended = run("sources", "create", "n", "--provider", "github", *options)
    assert ended.code == Exit.USAGE
    assert said in ended.err
    assert api.requests == []


def test_a_change_names_what_changes(api: Any, run: Run) -> None:
    api.on("PATCH /v1/sources/src_1", SOURCE)
    options = ["--name", "m", "--unset", "heartbeat-seconds", "--unset", "key-hosts", "--custom", "{}"]
    assert run("sources", "update", "src_1", *options).code == Exit.OK
    assert api.body() == {"name": "m", "heartbeat_seconds": None, "key_hosts": None, "custom": {}}
    for wrong in ([], ["--unset", "name"], ["--unset", "fresh-seconds", "--fresh-seconds", "5"]):
        assert run("sources", "update", "src_1", *wrong).code == Exit.USAGE
    assert len(api.requests) == 1


def test_sources_are_listed_paused_resumed_and_deleted(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api.on("GET /v1/sources", page(SOURCE))
    assert run("sources", "list", "--tenant", "default").out.splitlines() == [
        "ID     STATE   TENANT   PROVIDER    NAME      SECRETS  URL",
        "src_1  active  default  gocardless  payments        2  https://hooks.example.com/in/abc",
    ]
    api.on("POST /v1/sources/src_1/pause", {**SOURCE, "state": "paused", "while_paused": "refuse"})
    assert facts(run("sources", "pause", "src_1", "--while-paused", "refuse").out)["state"] == (
        "paused; requests are refused"
    )
    assert api.body() == {"while_paused": "refuse"}
    api.on("POST /v1/sources/src_1/resume", {**SOURCE, "secrets": []})
    assert facts(run("sources", "resume", "src_1").out)["secrets"] == "none yet"
    api.on("GET /v1/sources/src_1", {**SOURCE, "state": "paused"})
    assert facts(run("sources", "show", "src_1").out)["state"] == "paused; requests are kept"
    api.on("DELETE /v1/sources/src_1", {"id": "src_1"})
    asked = at_a_terminal(monkeypatch, True)
    assert run("sources", "delete", "src_1").out == "src_1 is deleted.\n"
    assert len(asked) == 1
    assert run("sources", "delete", "src_1", "--yes", "--json").document == {"id": "src_1"}


def test_nothing_is_deleted_if_nobody_can_be_asked(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run("sources", "delete", "src_1").code == Exit.USAGE
    assert api.requests == []


def test_a_secret_is_rotated_and_never_printed(
    api: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST /v1/sources/src_1/rotate-secret", SOURCE)
    (tmp_path / "secret").write_text("hush-1\n")
    ended = [run("sources", "rotate-secret", "src_1", "--secret-file", "secret", "--overlap-ms", "0")]
    assert api.body() == {"secret": "hush-1", "overlap_ms": 0}
    at_a_terminal(monkeypatch, "hush-2")
    ended.append(run("sources", "rotate-secret", "src_1"))
    assert api.body() == {"secret": "hush-2"}
    assert "posthouse reverify src_1" in ended[1].err
    ended.append(run("sources", "rotate-secret", "src_1", "--secret", "hush-3", "--json"))
    assert ended[2].document == SOURCE
    assert not [one for one in ended if "hush" in one.out + one.err or one.code]
    assert run("sources", "rotate-secret", "src_1", "--secret", "a", "--secret-file", "secret").code == Exit.USAGE


def test_providers_are_listed(api: Any, run: Run) -> None:
    provider = {
        "name": "asana",
        "title": "Asana",
        "docs": "https://x",
        "needs_secret": True,
        "secret_help": "Leave it.",
    }
    api.on("GET /v1/providers", page(provider, {**provider, "name": "zero", "needs_secret": False}))
    assert run("providers").out.splitlines() == [
        "NAME   SENDER  SECRET",
        "asana  Asana   Leave it.",
        "zero   Asana   It has none.",
    ]


# -- requests, incidents, events, books ---------------------------------------------------------


def test_requests_are_listed_with_what_became_of_them(api: Any, run: Run) -> None:
    nothing = dict.fromkeys(("events", "duplicates", "quarantined"), 0)
    api.on(
        "GET /v1/requests",
        page(
            REQUEST,
            {**REQUEST, **nothing, "waiting": True},
            {**REQUEST, **nothing, "is_heartbeat": True},
            {**REQUEST, **nothing},
        ),
    )
    ended = run("requests", "list", "--source", "src_1", "--verdict", "genuine", "--since", "2026-11-22T00:00:00Z")
    assert [line.partition("9 B  ")[2].strip() for line in ended.out.splitlines()[1:]] == [
        "2 events, 1 repetition, 1 in quarantine",
        "waits in the inbox",
        "heartbeat",
        "nothing in it",
    ]
    query = api.query()
    assert (query["source"], query["verdict"], query["since"]) == ("src_1", "genuine", "2026-11-22T00:00:00Z")


def test_a_request_is_shown_as_it_came(api: Any, run: Run) -> None:
    api.on("GET /v1/requests/req_1", REQUEST)
    head, _, sent = run("requests", "show", "req_1").out.partition("\n\n")
    assert facts(head)["events"] == "evt_1, evt_0 (came before)"
    assert sent.splitlines() == [
        "POST https://hooks.example.com/in/abc?x=1",
        "Authorization: ***",
        "Content-Type: application/json",
        "",
        '{"a": 1}',
        "",
    ]
    api.on("GET /v1/requests/req_1", {**REQUEST, "body": None, "body_base64": "AAEC"})
    assert "(3 B that are no text; --json has them in base64)" in run("requests", "show", "req_1").out


def test_incidents_are_listed(api: Any, run: Run) -> None:
    incident = {"id": "inc_1", "kind": "source_silent", "source": "src_1", "opened_at": AT, "closed_at": None}
    api.on("GET /v1/incidents", page({**incident, "detail": "Nothing came."}))
    ended = run("incidents", "--open", "--kind", "source_silent", "--source", "src_1")
    assert ended.out.splitlines()[1].split() == [
        *("inc_1", "source_silent", "src_1", "2026-11-22", "08:00:00Z", "now", "Nothing", "came.")
    ]
    assert {name: api.query()[name] for name in ("open", "kind", "source")} == {
        "open": "true",
        "kind": "source_silent",
        "source": "src_1",
    }
    run("incidents", "--over")
    assert api.query()["open"] == "false"
    run("incidents")
    assert "open" not in api.query()


def test_an_event_says_where_it_came_from(api: Any, run: Run) -> None:
    event = {
        "id": "evt_1",
        "type": "a.b",
        "tenant": "default",
        "accepted_at": AT,
        "occurred_at": None,
        "ordering_key": None,
        "delivery_counts": {},
        "origin": {
            "source": "src_1",
            "request": "req_1",
            "position": 0,
            "repeats": 2,
            "possible_duplicate": "unchecked",
        },
        "data": 1,
    }
    api.on("GET /v1/events/evt_1", event)
    shown = facts(run("events", "show", "evt_1").out)
    assert (shown["source"], shown["request"]) == ("src_1", "req_1")
    assert shown["repeats"] == "it came 2 more times, and was delivered once"
    assert shown["unchecked"].startswith("it may have come before")


@pytest.mark.parametrize(("imbalance", "code"), [(0, Exit.OK), (2, Exit.FAILED)])
def test_the_audit_shows_sources(api: Any, run: Run, imbalance: int, code: Exit) -> None:
    balance = dict.fromkeys(("owed", "delivered", "waiting", "retrying", "exhausted", "discarded"), 0)
    names = ("received", "waiting", "read", "quarantined", "events", "duplicates", "doubted")
    source = {"tenant": "default", "source": "src_1", **dict.fromkeys(names, 7), "imbalance": imbalance}
    books = {**balance, "imbalance": imbalance, "endpoints": [], "sources": [source], "discarded_by_reason": {}}
    api.on("GET /v1/audit", books)
    ended = run("audit")
    assert ended.code == code
    assert ["default", "src_1", *"7777777", str(imbalance)] in [line.split() for line in ended.out.splitlines()]
    assert ("2 entries off" in ended.out) == bool(imbalance)


# -- the quarantine -----------------------------------------------------------------------------


def test_the_quarantine_is_listed_and_shown(api: Any, run: Run) -> None:
    api.on("GET /v1/quarantine", page(ENTRY))
    assert run("quarantine", "list", "--objection", "bad_signature").out.splitlines()[1].startswith("qua_1  src_1")
    assert api.query()["objection"] == "bad_signature"
    assert "resolved" not in api.query()
    api.on("GET /v1/quarantine", page({**ENTRY, "resolution": "released"}))
    assert run("quarantine", "list", "--resolved").out.splitlines()[1].endswith("released")
    assert api.query()["resolved"] == "true"
    api.on("GET /v1/quarantine/qua_1", ENTRY)
    ended = run("quarantine", "show", "qua_1")
    assert facts(ended.out)["sender"] == "was told that it is refused"
    assert "posthouse requests show req_1" in ended.err
    taken = {**ENTRY, "acknowledged": True, "position": 3, "resolution": "released", "resolved_at": AT}
    api.on("GET /v1/quarantine/qua_1", taken)
    shown = facts(run("quarantine", "show", "qua_1").out)
    assert (shown["sender"], shown["event"]) == ("was told that it is taken", "number 3 of its request")


def test_entries_that_are_named_are_released_at_once(api: Any, run: Run) -> None:
    api.on("POST /v1/quarantine/release", {"examined": 2, "changed": 2, "next_cursor": None})
    ended = run("quarantine", "release", "qua_1", "qua_2")
    assert (ended.code, ended.out) == (Exit.OK, "2 of 2 released.\n")
    assert api.body() == {"ids": ["qua_1", "qua_2"], "dry_run": False}
    api.on("POST /v1/quarantine/discard", {"examined": 2, "changed": 1, "next_cursor": None})
    ended = run("quarantine", "discard", "qua_1", "qua_2", "--dry-run", "--json")
    assert (ended.code, ended.document) == (Exit.NOT_FOUND, {"examined": 2, "changed": 1, "dry_run": True})


class Steps:
    """A node that takes three steps for everything; remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        after = int(body.get("cursor", 0)) + 1
        step = {"examined": 10, "changed": 4, "next_cursor": None if after == 3 else str(after)}
        return httpx2.Response(200, json=step)


@pytest.mark.parametrize(
    ("arguments", "call", "body", "did"),
    [
        (
            ["quarantine", "release", "--source", "src_1", "--objection", "no_secret"],
            "POST /v1/quarantine/release",
            {"source": "src_1", "objections": ["no_secret"]},
            "released",
        ),
        (
            ["quarantine", "discard", "--objection", "unreadable"],
            "POST /v1/quarantine/discard",
            {"objections": ["unreadable"]},
            "discarded",
        ),
        (["reverify", "src_1"], "POST /v1/sources/src_1/reverify", {}, "passed on"),
    ],
)
def test_many_entries_are_counted_agreed_to_and_done(
    api: Any,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arguments: list[str],
    call: str,
    body: dict[str, Any],
    did: str,
) -> None:
    steps = Steps()
    api.on(call, steps)
    walk = [{**body, "limit": stepping.STEP, **more} for more in ({}, {"cursor": "1"}, {"cursor": "2"})]
    dry = [{**one, "dry_run": True} for one in walk]

    assert run(*arguments, "--dry-run").out == f"12 entries would be {did}, of 30 looked at.\n"
    assert steps.bodies == dry
    steps.bodies.clear()
    assert run(*arguments, "--yes", "--json").document == {"examined": 30, "changed": 12, "dry_run": False}
    assert steps.bodies == walk
    steps.bodies.clear()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ended = run(*arguments)
    assert (ended.code, steps.bodies) == (Exit.USAGE, dry)
    assert f"12 entries would be {did}" in ended.err
    steps.bodies.clear()
    asked = at_a_terminal(monkeypatch, True)
    assert run(*arguments).out == f"12 entries {did}, of 30 looked at.\n"
    assert steps.bodies == dry + walk
    assert asked == [f"12 entries would be {did}. Go on?"]


def test_nobody_is_asked_about_nothing(api: Any, run: Run) -> None:
    api.on("POST /v1/sources/src_1/reverify", {"examined": 5, "changed": 0, "next_cursor": None})
    assert run("reverify", "src_1").out == "0 entries would be passed on, of 5 looked at.\n"
    assert len(api.requests) == 1


def test_progress_is_said_now_and_then(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "PLAIN_SECONDS", 0.0)
    api.on("POST /v1/sources/src_1/reverify", Steps())
    assert run("reverify", "src_1", "--yes").err.splitlines() == [
        "10 looked at, 4 of them meant",
        "20 looked at, 8 of them meant",
    ]
    api.on("POST /v1/sources/src_1/reverify", Steps())
    assert run("reverify", "src_1", "--yes", "--json").err == ""


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["qua_1", "--source", "src_1"], ["--objection", "smell"]])
def test_which_entries_are_meant_is_said(api: Any, run: Run, arguments: list[str]) -> None:
    for verb in ("release", "discard"):
        assert run("quarantine", verb, *arguments).code == Exit.USAGE
    assert api.requests == []
