"""``posthouse nodes``."""

from typing import Any

from posthouse.cli.exits import Exit

Run = Any

THIS = {
    "name": "node-a",
    "role": "all",
    "version": "1.2.3",
    "host": "mail-1",
    "process_id": 812,
    "url": "http://10.0.0.4:8400",
    "joined_at": "2026-11-22T08:30:00.000Z",
    "state": "alive",
    "last_beat_seconds": 0.42,
    "slots": 256,
    "is_this": True,
}
DEAD = {**THIS, "name": "node-b", "state": "dead", "last_beat_seconds": 12.0, "slots": 0, "url": None, "is_this": False}
NEW = {**THIS, "name": "node-c", "state": "unknown", "last_beat_seconds": None, "is_this": False}


def test_the_nodes_are_listed(api: Any, run: Run) -> None:
    api.on("GET /v1/nodes", {"data": [THIS, NEW], "next_cursor": None})
    shown = run("nodes")
    head, this, new = shown.out.splitlines()
    assert head.split() == ["NODE", "ROLE", "SLOTS", "STATE", "LAST", "BEAT", "VERSION", "HOST", "PROCESS", "URL"]
    assert " ".join(this.split()) == "node-a * all 256 alive 0.4 s ago 1.2.3 mail-1 812 http://10.0.0.4:8400"
    assert new.split()[:4] == ["node-c", "all", "256", "unknown"]
    assert (shown.code, shown.err) == (Exit.OK, "")
    assert run("nodes", "--json").document["data"] == [THIS, NEW]


def test_what_becomes_of_a_dead_one_is_said(api: Any, run: Run) -> None:
    api.on("GET /v1/nodes", {"data": [THIS, DEAD], "next_cursor": None})
    assert "by themselves" in run("nodes").err
