from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.limits import RATE_COUNT_MAX, THROTTLE_SECONDS_MAX
from posthouse.core.rate import CATCH_UP_SECONDS, Bucket, Meter, Throttle, parse_rate

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
RATES = st.floats(0.01, 2_000)
EPSILON = 1e-6  #: of a request: what sums of floats may be off
STARTS = st.sampled_from([0.0, 1.0, 12_345.678, 5_000_000.0])


@given(st.integers(1, RATE_COUNT_MAX), st.sampled_from(sorted(UNITS)))
def test_every_rate_within_the_bounds_is_read_and_written_alike(count: int, unit: str) -> None:
    rate = parse_rate(f"{count}/{unit}")
    assert rate.per_second == pytest.approx(count / UNITS[unit])
    assert parse_rate(rate.text) == rate


def assert_the_law(taken: list[float], changes: list[tuple[float, float]]) -> None:
    """In no window of time were more taken than the greatest rate of that window allows.

    ``changes``: (from when on, rate), ascending. It is enough to look at windows that begin and end with one.
    """
    starts = [at for at, _ in changes]
    for first, begin in enumerate(taken):
        before = max(bisect_left(starts, begin) - 1, 0)
        for last in range(first, len(taken)):
            end = taken[last]
            greatest = max(rate for at, rate in changes[before:] if at <= end)
            allowed = greatest * (end - begin + CATCH_UP_SECONDS) + 1
            assert last - first + 1 <= allowed * (1 + EPSILON) + EPSILON


@given(STARTS, RATES, st.lists(st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 30)), max_size=60))
def test_no_window_of_time_has_more_than_its_rate(start: float, rate: float, waits: list[float]) -> None:
    """Whoever asks whenever it likes, and takes one at a time while one is ready."""
    bucket, now = Bucket(rate, now=start), start
    taken: list[float] = []
    for wait in waits:
        now += wait
        while bucket.ready_at() <= now and len(taken) < 150:
            bucket.take(now)
            taken.append(now)
    assert_the_law(taken, [(start, rate)])


@given(
    STARTS,
    RATES,
    st.lists(st.tuples(st.floats(0, 3), st.one_of(st.none(), RATES)), max_size=60),
)
def test_no_change_of_the_rate_gives_anything_for_free(
    start: float, rate: float, steps: list[tuple[float, float | None]]
) -> None:
    bucket, now = Bucket(rate, now=start), start
    taken: list[float] = []
    changes = [(start, rate)]
    for wait, changed in steps:
        now += wait
        if changed is not None:
            bucket.change(changed, now=now)
            changes.append((now, changed))
        while bucket.ready_at() <= now and len(taken) < 150:
            bucket.take(now)
            taken.append(now)
    assert_the_law(taken, changes)


@given(STARTS, RATES, st.lists(st.floats(0, CATCH_UP_SECONDS * 0.999), min_size=1, max_size=300))
def test_who_is_never_later_than_the_tolerance_loses_nothing(start: float, rate: float, late: list[float]) -> None:
    bucket, now = Bucket(rate, now=start), start
    for lateness in late:
        now = max(now, bucket.ready_at() + lateness)
        bucket.take(now)
    assert bucket.ready_at() == pytest.approx(start + len(late) / rate, rel=1e-9, abs=EPSILON)


@given(STARTS, RATES, RATES, st.floats(0, 0.2))
def test_a_change_and_back_makes_no_wait_shorter(start: float, rate: float, other: float, waited: float) -> None:
    bucket = Bucket(rate, now=start)
    bucket.take(start)
    ready, now = bucket.ready_at(), start + waited
    bucket.change(other, now=now)
    bucket.change(rate, now=now)
    assert bucket.ready_at() >= ready - EPSILON / min(rate, 1)


@given(STARTS, st.floats(1, 3_000), st.floats(0, 50), st.floats(30, 60), st.floats(0, 1))
def test_a_steady_rate_is_read_within_a_tenth(
    start: float, rate: float, before: float, seconds: float, phase: float
) -> None:
    """Also one that follows another, ten seconds after that has ended, and at any moment between two requests."""
    meter, now = Meter(now=start), start
    for _ in range(int(before)):
        meter.note(now)
        now += 1 / max(before, 1)
    begin = now + 10.0
    for number in range(int(seconds * rate) + 1):
        meter.note(begin + number / rate)
    at = begin + (int(seconds * rate) + phase) / rate
    assert meter.per_second(at) == pytest.approx(rate, rel=0.1, abs=0.02 * before)
    assert meter.usual(at) >= meter.per_second(at) * 0.999


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), min_size=1, max_size=40))
def test_the_usual_rate_falls_by_half_an_hour_at_most(notes: list[tuple[float, int]]) -> None:
    meter, now = Meter(now=0.0), 0.0
    usual = [0.0]
    times = [0.0]
    for wait, count in notes:
        now += wait
        meter.note(now, count)
        usual.append(meter.usual(now))
        times.append(now)
        assert usual[-1] >= meter.per_second(now) * (1 - 1e-9)
    for (at, before), (later, after) in pairwise(zip(times, usual, strict=True)):
        assert after >= before * 0.5 ** ((later - at) / 3_600) * (1 - 1e-9)


ANSWERS = st.one_of(
    st.tuples(st.just("pushed_back"), st.one_of(st.none(), st.floats(0, 100_000))),
    st.tuples(st.just("slowed"), st.none()),
    st.tuples(st.just("went_well"), st.none()),
)


@given(st.floats(0, 1_000), st.lists(st.tuples(st.floats(0, 100), ANSWERS), max_size=60))
def test_a_limit_stays_within_its_bounds(usual: float, answers: list[tuple[float, tuple[str, float | None]]]) -> None:
    throttle, now = Throttle(), 0.0
    for wait, (answer, retry_after_s) in answers:
        now += wait
        limit, until = throttle.limit, throttle.until
        if answer == "pushed_back":
            throttle.pushed_back(now, usual=usual, retry_after_s=retry_after_s)
        elif answer == "slowed":
            throttle.slowed(now, usual=usual)
        else:
            throttle.went_well(now)
        assert until <= throttle.until <= max(until, now + THROTTLE_SECONDS_MAX)
        if answer != "went_well":
            assert throttle.limit is not None
            assert 0.1 <= throttle.limit <= (max(usual, 1.0) if limit is None else limit)
        elif limit is None:
            assert throttle.limit is None
        elif throttle.limit is not None:
            assert limit <= throttle.limit < 4 * max(usual, 1.0)


@given(st.floats(0, 1_000), st.integers(1, 20), st.floats(0.1, 5))
def test_whatever_was_cut_comes_back(usual: float, cuts: int, every: float) -> None:
    """Nothing is limited for ever: two minutes without a pushback lift it."""
    throttle = Throttle()
    for number in range(cuts):
        throttle.slowed(2.0 * number, usual=usual)
    now = 2.0 * cuts
    while now <= 2.0 * cuts + 120:
        throttle.went_well(now)
        now += every
    assert throttle.limit is None
