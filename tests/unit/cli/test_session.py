"""Where a command finds its node and key, and how failures end it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from posthouse.cli.exits import Exit
from posthouse.cli.session import URL_DEFAULT, locate

Run = Callable[..., Any]

BOOKS = {
    "owed": 0,
    "delivered": 0,
    "waiting": 0,
    "retrying": 0,
    "exhausted": 0,
    "discarded": 0,
    "discarded_by_reason": {},
    "imbalance": 0,
    "tenants": [],
    "endpoints": [],
    "sources": [],
}


def test_option_beats_variable_beats_file_beats_default(tmp_path: Path, api: Any, run: Run, monkeypatch: Any) -> None:
    api.on("GET /v1/audit", BOOKS)
    data = tmp_path / "posthouse-data"

    def called(*options: str) -> tuple[str, str | None]:
        run("audit", *options)
        request = api.requests[-1]
        return f"{request.url.scheme}://{request.url.netloc.decode()}", request.headers.get("authorization")

    assert called() == (URL_DEFAULT, None)
    data.mkdir()
    (data / "api_key").write_text("from-file\n")
    (data / "node.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    assert called() == ("http://127.0.0.1:1", "Bearer from-file")
    monkeypatch.setenv("POSTHOUSE_URL", "http://127.0.0.1:2")
    monkeypatch.setenv("POSTHOUSE_API_KEY", "from-variable")
    assert called() == ("http://127.0.0.1:2", "Bearer from-variable")
    assert called("--url", "http://127.0.0.1:3", "--api-key", "from-option") == (
        "http://127.0.0.1:3",
        "Bearer from-option",
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_node_file_that_makes_no_sense_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "node.json").write_text(content)
    assert locate(None, "key", tmp_path) == (URL_DEFAULT, "key")


def test_key_file_that_cannot_be_read_is_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "api_key").mkdir()
    ended = run("audit", "--data", str(tmp_path))
    assert ended.code == Exit.UNAUTHORIZED
    assert str(tmp_path / "api_key") in ended.err


def test_unreachable_node(run: Run) -> None:
    ended = run("audit", "--url", "http://127.0.0.1:9", "--json")
    assert ended.code == Exit.UNREACHABLE
    assert ended.out == ""
    assert ended.problem["code"] == "node_unreachable"
    assert "posthouse serve" in ended.problem["hint"]


def test_url_that_is_none(run: Run) -> None:
    assert run("audit", "--url", "127.0.0.1:8400").code == Exit.USAGE


def test_refusal_is_passed_on_whole_with_json(api: Any, run: Run) -> None:
    api.refuse("GET /v1/deliveries/dlv_x", 404, "not_found", "There is no such delivery.", instance="/x")
    ended = run("deliveries", "show", "dlv_x", "--json")
    assert ended.code == Exit.NOT_FOUND
    assert ended.out == ""
    assert ended.problem["instance"] == "/x"


def test_refusal_names_fields_and_hint_for_people(api: Any, run: Run) -> None:
    fault = {"path": "url", "code": "url", "message": "It is no URL."}
    api.refuse("POST /v1/endpoints", 422, "invalid_input", "The request is not valid.", errors=[fault])
    ended = run("endpoints", "create", "nonsense")
    assert ended.code == Exit.REFUSED
    assert ended.out == ""
    assert ended.err.splitlines() == [
        "error: The request is not valid. (invalid_input)",
        "  url: It is no URL.",
        "hint: Do something else.",
    ]


def test_answer_that_is_no_json(api: Any, run: Run) -> None:
    api.on("GET /v1/audit", httpx2.Response(200, text="<html>"))
    ended = run("audit")
    assert ended.code == Exit.UNREACHABLE
    assert "does not answer like a Posthouse node" in ended.err
