"""``posthouse publish``: one event."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.exits import Exit

Run = Callable[..., Any]

PUBLISHED = {"id": "evt_1", "deliveries": 2, "duplicate": False}


def test_data_comes_from_the_argument_untouched(api: Any, run: Run) -> None:
    api.on("POST /v1/events", PUBLISHED, status=202)
    ended = run("publish", "order.created", '{ "total":  12.50 }')
    assert ended.code == Exit.OK
    assert api.requests[0].content == b'{"type":"order.created","data":{ "total":  12.50 }}'
    assert ended.out == "evt_1 is accepted and owed to 2 endpoints.\n"


def test_data_comes_from_a_file(api: Any, run: Run, tmp_path: Path) -> None:
    api.on("POST /v1/events", PUBLISHED, status=202)
    (tmp_path / "data.json").write_bytes(b"[1,\n2]\n")
    assert run("publish", "a", "@data.json").code == Exit.OK
    assert api.body()["data"] == [1, 2]


def test_data_comes_from_stdin(api: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api.on("POST /v1/events", PUBLISHED, status=202)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'"hello"')))
    assert run("publish", "a", "-").code == Exit.OK
    assert api.body()["data"] == "hello"


def test_every_field_is_sent(api: Any, run: Run) -> None:
    api.on("POST /v1/events", PUBLISHED, status=202)
    options = ("--tenant", "acme", "--id", "i1", "--occurred-at", "2026-11-22T08:30:00Z", "--ordering-key", "k")
    assert run("publish", "a", *options).code == Exit.OK
    assert api.body() == {
        "type": "a",
        "data": {},
        "tenant": "acme",
        "id": "i1",
        "occurred_at": "2026-11-22T08:30:00Z",
        "ordering_key": "k",
    }


def test_json_is_the_answer_alone(api: Any, run: Run) -> None:
    api.on("POST /v1/events", {**PUBLISHED, "deliveries": 0}, status=202)
    ended = run("publish", "a", "--json")
    assert ended.document == {**PUBLISHED, "deliveries": 0}
    assert ended.err == ""


def test_event_that_nobody_wants_is_said_so(api: Any, run: Run) -> None:
    api.on("POST /v1/events", {**PUBLISHED, "deliveries": 0}, status=202)
    assert "No endpoint of its tenant subscribes" in run("publish", "a").err


def test_duplicate_is_said_so(api: Any, run: Run) -> None:
    api.on("POST /v1/events", {**PUBLISHED, "duplicate": True}, status=202)
    assert "was there already" in run("publish", "a", "--id", "evt_1").out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a", "{"),
        ("a", "@missing.json"),
        ("a", "--again"),
        ("a", "--ndjson", "x"),
        ("--ndjson", "x", "--id", "1"),
        ("--ndjson", "missing.ndjson"),
    ],
)
def test_nothing_is_sent_for_a_line_that_makes_no_sense(api: Any, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("publish", *arguments).code == Exit.USAGE
    assert api.requests == []


def test_file_is_published_and_reported(api: Any, run: Run, tmp_path: Path) -> None:
    lines = [{"type": "a", "data": n} for n in range(3)]
    (tmp_path / "events.ndjson").write_text("\n".join(json.dumps(line) for line in lines))
    answers = [
        {"id": "1", "deliveries": 2, "duplicate": False},
        {"id": "2", "deliveries": 1, "duplicate": False},
        {"id": "3", "deliveries": 5, "duplicate": True},
    ]
    api.on("POST /v1/events/batch", {"events": answers}, status=202)
    ended = run("publish", "--ndjson", "events.ndjson")
    assert ended.code == Exit.OK
    assert ended.out == "2 published (owed 3 times), 1 were there already, 0 not published.\n"
    assert run("publish", "--ndjson", "events.ndjson", "--json").document == {
        "published": 2,
        "duplicates": 1,
        "refused": 0,
        "deliveries": 3,
        "faults": [],
    }


def test_bad_lines_are_named_and_end_with_refused(api: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text('{"type": "a", "data": 1}\nnonsense\n')
    ended = run("publish", "--ndjson", "events.ndjson")
    assert ended.code == Exit.REFUSED
    assert "line 2: " in ended.err
    assert api.requests == []


def test_interrupted_file_says_how_to_go_on(api: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text('{"type": "a", "data": 1}\n')
    api.refuse("POST /v1/events/batch", 401, "unauthorized", "The API key is not valid.")
    ended = run("publish", "--ndjson", "events.ndjson")
    assert ended.code == Exit.UNAUTHORIZED
    assert "Run the same command again to go on." in ended.err
