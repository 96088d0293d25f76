"""The picture of a delivery's attempts."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli.timeline import ATTEMPTS_SHOWN, BAR_CELLS, PHASES, bar_cells, outlook, phases_us, timeline

NOW = datetime(2026, 11, 22, 8, 31, 0, tzinfo=UTC)


def attempt(number: int, started_at: str = "2026-11-22T08:30:00.000Z", **fields: Any) -> dict[str, Any]:
    timings = {"dns_us": None, "connect_us": None, "tls_us": None, "first_byte_us": None, "total_us": 0}
    return {
        "id": f"att_{number}",
        "number": number,
        "started_at": started_at,
        "outcome": "status",
        "response_status": 503,
        "error": None,
        "peer": "127.0.0.1:9001",
        "reused": False,
        "response_headers": "",
        "response_body": "",
        "response_body_encoding": "utf-8",
        **fields,
        "timings": {**timings, **fields.get("timings", {})},
    }


def delivery(*attempts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "dlv_1",
        "event": "evt_1",
        "event_type": "a.b",
        "endpoint": "ep_1",
        "tenant": "default",
        "status": "retrying",
        "lane": "retry",
        "round": 1,
        "attempt_count": len(attempts),
        "opened_at": "2026-11-22T08:30:00.000Z",
        "next_attempt_at": "2026-11-22T08:34:12.000Z",
        "settled_at": None,
        "reason": None,
        "last_outcome": None,
        "last_response_status": None,
        "waits_for": {"code": "due_at", "message": "The next attempt is not due yet."},
        "attempts": list(attempts),
        **fields,
    }


def drawn(document: dict[str, Any], **options: Any) -> list[str]:
    return ["".join(span.text for span in line).rstrip() for line in timeline(document, now=NOW, **options)]


def test_picture() -> None:
    """The whole picture, as a person reads it."""
    first = attempt(
        1,
        timings={
            "dns_us": 10_000,
            "connect_us": 10_000,
            "tls_us": 20_000,
            "first_byte_us": 50_000,
            "total_us": 100_000,
        },
    )
    second = attempt(
        2,
        "2026-11-22T08:30:15.600Z",
        outcome="read_timeout",
        response_status=None,
        error="No answer within 50 ms.",
        reused=True,
        timings={"total_us": 50_000},
    )
    bar = "····░░░░▒▒▒▒▒▒▒▒▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓████"
    assert drawn(delivery(first, second)) == [
        "1  08:30:00.000  status 503             100 ms  127.0.0.1:9001",
        "   " + bar + "  dns 10 ms, connect 10 ms, tls 20 ms, first byte 50 ms, rest 10 ms",
        "   │ 16 s later",
        "2  08:30:15.600  read timeout            50 ms  127.0.0.1:9001 (kept alive)  No answer within 50 ms.",
        "   ████████████████████  rest 50 ms",
        "",
        "· dns   ░ connect   ▒ tls   ▓ first byte   █ rest",
        "",
        "Next attempt in 3 min 12 s, because: The next attempt is not due yet.",
    ]


def test_picture_without_unicode() -> None:
    lines = drawn(delivery(attempt(1, timings={"first_byte_us": 3_000, "total_us": 4_000})), unicode=False)
    assert "\n".join(lines).isascii()
    assert lines[1].startswith("   " + "=" * 30 + "#" * 10)


def test_long_histories_are_cut_in_the_middle() -> None:
    lines = drawn(delivery(*(attempt(n) for n in range(1, 31))))
    heads = [line.split()[0] for line in lines if "status 503" in line]
    assert len(heads) == ATTEMPTS_SHOWN
    assert heads == ["1", "2", "3", *map(str, range(22, 31))]
    assert any("… 18 attempts not drawn" in line for line in lines)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"status": "delivered", "settled_at": "2026-11-22T08:30:01Z", "waits_for": None, "next_attempt_at": None},
            "delivered at 2026-11-22 08:30:01Z.",
        ),
        (
            {
                "status": "exhausted",
                "settled_at": "2026-11-22T08:30:01Z",
                "waits_for": None,
                "reason": "attempts_spent",
            },
            "exhausted at 2026-11-22 08:30:01Z, because: attempts_spent.",
        ),
        (
            {"waits_for": {"code": "endpoint_paused", "message": "Its endpoint is paused."}},
            "No attempt is planned, because: Its endpoint is paused.",
        ),
        (
            {"waits_for": {"code": "parked", "message": "It is put aside."}},
            "No attempt is planned, because: It is put aside.",
        ),
        (
            {"waits_for": {"code": "breaker_open", "message": "Its endpoint is down."}},
            "Waiting, because: Its endpoint is down.",
        ),
        (
            {"waits_for": {"code": "in_flight", "message": "A request is on its way."}},
            "An attempt is on its way now, because: A request is on its way.",
        ),
        (
            {"waits_for": {"code": "queued", "message": "It is due."}, "next_attempt_at": "2026-11-22T08:30:50Z"},
            "Next attempt now (due 10 s ago), because: It is due.",
        ),
        ({"waits_for": None, "next_attempt_at": None}, "Waiting."),
    ],
)
def test_outlook(fields: dict[str, Any], sentence: str) -> None:
    """A wait always names its reason."""
    assert outlook(delivery(**fields), now=NOW) == sentence


def test_never_attempted() -> None:
    assert drawn(delivery(next_attempt_at=None, waits_for=None)) == ["", "Waiting."]


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=5), st.integers(0, 10**8))
def test_bars_are_to_scale(parts: list[int], longer: int) -> None:
    """A part is drawn exactly when it took time, and a bar is never longer than its share of the longest allows."""
    scale = sum(parts) + longer
    cells = bar_cells(parts, scale)
    assert [bool(size) for size in cells] == [bool(part) for part in parts]
    share = sum(parts) * BAR_CELLS / scale if scale else 0
    assert sum(cells) <= share + 0.5 + len(parts)
    assert sum(cells) >= share - 0.5


@given(st.fixed_dictionaries({phase.field: st.none() | st.integers(0, 10**7) for phase in PHASES[:-1]}), st.integers(0))
def test_phases_add_up(timings: dict[str, Any], rest: int) -> None:
    total = sum(value or 0 for value in timings.values()) + rest
    found = phases_us({"timings": {**timings, "total_us": total}})
    assert sum(found[phase.field] for phase in PHASES) == found["total_us"] == total
