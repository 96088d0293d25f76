"""``posthouse feed``: events, and who reads them by a name."""

import json
from typing import Any

from posthouse.cli.exits import Exit

Run = Any


def event(number: int) -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "type": "order.paid",
        "tenant": "acme",
        "accepted_at": "2026-11-22T08:30:00.000Z",
        "occurred_at": None,
        "ordering_key": None,
        "cursor": f"c{number}",
        "data": {"n": number},
    }


def page(*numbers: int, cursor: str = "end of page", more: bool = False) -> dict[str, Any]:
    return {"data": [event(number) for number in numbers], "next_cursor": cursor, "more": more}


CONSUMER = {
    "name": "books",
    "cursor": "c1",
    "created_at": "2026-11-22T08:30:00.000Z",
    "acknowledged_at": "2026-11-22T09:30:00.000Z",
}


def test_events_are_printed_one_a_line(api: Any, run: Run) -> None:
    api.on("GET /v1/feed", page(1, 2))
    shown = run("feed", "read", "--types", "order.*", "--tenant", "acme")
    first, second = shown.out.splitlines()
    assert "evt_1" in first
    assert second.endswith('{"n": 2}')
    as_json = run("feed", "read", "--json").out.splitlines()
    assert [json.loads(line) for line in as_json] == [event(1), event(2)]


def test_what_was_printed_is_acknowledged(api: Any, run: Run) -> None:
    """Not more: with a limit, only up to the last line."""
    api.on("GET /v1/feed", page(1, 2, 3))
    api.on("PUT /v1/feed/consumers/books", CONSUMER)
    assert run("feed", "read", "--consumer", "books", "--ack").code == Exit.OK
    shown = run("feed", "read", "--consumer", "books", "--ack", "--limit", "2")
    assert len(shown.out.splitlines()) == 2
    assert "--cursor c2" in shown.err
    assert [json.loads(sent.content)["cursor"] for sent in api.requests if sent.method == "PUT"] == [
        "end of page",
        "c2",
    ]


def test_an_acknowledgement_needs_a_name(run: Run) -> None:
    ended = run("feed", "read", "--ack", "--json")
    assert (ended.code, ended.problem["code"]) == (Exit.USAGE, "usage")


def test_consumers_are_shown(api: Any, run: Run) -> None:
    api.on("GET /v1/feed/consumers", {"data": [CONSUMER], "next_cursor": None})
    assert run("feed", "consumers").out.splitlines()[1].split()[0] == "books"
    assert run("feed", "consumers", "--json").document["data"] == [CONSUMER]
    behind = {"state": "reading", "lag": 10_000, "lag_is_exact": False, "oldest_at": "2026-11-22T08:30:00.000Z"}
    api.on("GET /v1/feed/consumers/books", {**CONSUMER, **behind})
    assert "10,000 events, and more" in run("feed", "lag", "books").out
    gone = {"state": "expired", "lag": None, "lag_is_exact": False, "oldest_at": None}
    api.on("GET /v1/feed/consumers/books", {**CONSUMER, **gone})
    assert "its position is gone" in run("feed", "lag", "books").out


def test_no_consumers(api: Any, run: Run) -> None:
    api.on("GET /v1/feed/consumers", {"data": [], "next_cursor": None})
    assert "posthouse feed ack" in run("feed", "consumers").err


def test_a_consumer_is_moved_and_forgotten(api: Any, run: Run) -> None:
    api.on("PUT /v1/feed/consumers/books", CONSUMER)
    api.on("DELETE /v1/feed/consumers/books", None)
    assert "books" in run("feed", "ack", "books", "--cursor", "start", "--back").out
    assert api.body() == {"cursor": "start", "back": True}
    assert "forgotten" in run("feed", "forget", "books").out
    assert run("feed", "forget", "books", "--json").document == {"name": "books"}
