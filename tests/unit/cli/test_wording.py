"""How quantities and moments are written."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli.listing import time_option
from posthouse.cli.wording import byte_count, clock_time, count, duration, from_now, milliseconds, moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0421, "42 ms"),
        (1.44, "1.4 s"),
        (12.6, "13 s"),
        (192, "3 min 12 s"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (100_800, "1 d 4 h"),
        (86_401, "1 d"),
        (-192, "-3 min 12 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 10**9))
def test_every_duration_has_words(seconds: float) -> None:
    assert duration(seconds)
    assert len(duration(seconds)) < 20


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.421, "0.42 ms"), (9.999, "10.00 ms"), (182.4, "182 ms"), (60_000, "60,000 ms")]
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1_024, "1.0 KiB"), (18_140_000, "17.3 MiB"), (3 << 30, "3.0 GiB")],
)
def test_bytes(value: int, text: str) -> None:
    assert byte_count(value) == text


def test_counts() -> None:
    assert count(1, "event") == "1 event"
    assert count(0, "event") == "0 events"
    assert count(1_204, "delivery", "deliveries") == "1,204 deliveries"


def test_moments_are_utc() -> None:
    assert moment("2026-11-22T08:30:00.5+02:00") == "2026-11-22 06:30:00Z"
    assert clock_time("2026-11-22T08:30:00.0425Z") == "08:30:00.042"
    assert moment(None) == clock_time(None) == "-"


def test_distance_to_now() -> None:
    now = datetime(2026, 11, 22, 8, 0, 0, tzinfo=UTC)
    assert from_now("2026-11-22T08:03:12Z", now) == "in 3 min 12 s"
    assert from_now("2026-11-22T07:59:59.5Z", now) == "now"
    assert from_now("2026-11-22T07:59:50Z", now) == "now (due 10 s ago)"


def test_times_are_passed_on_and_ages_count_back() -> None:
    assert time_option(None) is None
    assert time_option("2026-11-22T08:30:00Z") == "2026-11-22T08:30:00Z"
    before = datetime.now(UTC)
    found = time_option("2h")
    assert found is not None
    assert found.endswith("Z")
    assert abs((before - datetime.fromisoformat(found)).total_seconds() - 7_200) < 60
