"""``posthouse outbox``: the script, and what waits."""

from typing import Any

from posthouse.cli.exits import Exit
from posthouse.sdk.outbox_schema import outbox_schema

Run = Any

WAITING = {
    "place": "elsewhere",
    "source": "5f1c",
    "waiting": 12,
    "oldest_at": "2026-11-22T08:30:00.000Z",
    "doubts": 1,
}
EMPTY = {"place": "store", "source": "77aa", "waiting": 0, "oldest_at": None, "doubts": 0}


def test_the_script_is_printed_as_it_is(run: Run) -> None:
    assert run("outbox", "schema").out == outbox_schema()
    named = run("outbox", "schema", "--schema", "mail", "--application", "shop", "--gateway", "keeper")
    assert named.out == outbox_schema(schema="mail", application="shop", gateway="keeper")
    assert run("outbox", "schema", "--json").document == {"script": outbox_schema()}


def test_a_name_that_is_no_plain_one_is_wrong_usage(run: Run) -> None:
    ended = run("outbox", "schema", "--schema", "a;b", "--json")
    assert (ended.code, ended.problem["code"]) == (Exit.USAGE, "usage")


def test_what_waits_is_shown(api: Any, run: Run) -> None:
    api.on("GET /v1/outbox", {"data": [EMPTY, WAITING], "next_cursor": None})
    shown = run("outbox", "status")
    head, empty, waiting = shown.out.splitlines()
    assert head.split() == ["OUTBOX", "SOURCE", "WAITING", "OLDEST", "DOUBTS"]
    assert empty.split() == ["store", "77aa", "0", "0"]
    assert waiting.split()[:3] == ["elsewhere", "5f1c", "12"]
    assert "posthouse_outbox_v1_doubts" in shown.err
    assert run("outbox", "status", "--json").document["data"] == [EMPTY, WAITING]


def test_a_node_without_an_outbox_says_how_to_get_one(api: Any, run: Run) -> None:
    api.on("GET /v1/outbox", {"data": [], "next_cursor": None})
    ended = run("outbox", "status")
    assert (ended.code, ended.out) == (Exit.OK, "")
    assert "POSTHOUSE_OUTBOX" in ended.err
