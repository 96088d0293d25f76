import pytest

from posthouse.core.health import (
    FAILURES_IN_A_ROW,
    FAILURES_OF_LAST,
    LAST,
    Breaker,
    BreakerState,
    counts,
    disables_at,
    is_overdue,
    ramp_limit,
    warnings_due,
)
from posthouse.core.model import Health
from posthouse.core.retry import FAULT

DAY_MS = 86_400_000


def fail(breaker: Breaker, event_key: int, *, status: int | None = None, now: float = 0.0, jitter: float = 0.0) -> bool:
    failure = "timeout" if status is None else "http_status"
    return breaker.failed(event_key, failure=failure, status=status, now=now, now_ms=int(now * 1_000), jitter=jitter)


def succeed(breaker: Breaker, now: float = 0.0) -> bool:
    return breaker.succeeded(now, int(now * 1_000))


def opened(now: float = 100.0, jitter: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW):
        fail(breaker, 1, now=now, jitter=jitter)
    assert breaker.state is BreakerState.OPEN
    return breaker


def recovering(now: float = 200.0) -> Breaker:
    breaker = opened()
    assert succeed(breaker, now)
    return breaker


# -- what counts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status", "before", "expected"),
    [
        (None, 200, None, False),
        ("timeout", None, None, True),
        ("timeout", None, 7, True),  # the same event again
        ("http_status", 500, None, True),
        ("http_status", 500, 7, False),
        ("http_status", 500, 8, True),
        ("http_status", 429, None, False),
        (FAULT, None, None, False),
    ],
)
def test_what_counts_as_a_failure_of_the_endpoint(
    failure: str | None, status: int | None, before: int | None, *, expected: bool
) -> None:
    assert counts(failure, status, 7, before) is expected


# -- opening ------------------------------------------------------------------------------------


def test_a_new_breaker_is_closed_and_well() -> None:
    breaker = Breaker()
    assert (breaker.state, breaker.failing_since, breaker.opened_at) == (BreakerState.CLOSED, None, None)


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    assert [fail(breaker, 1, now=10.0 + n) for n in range(FAILURES_IN_A_ROW)] == [False] * 4 + [True]
    assert (breaker.state, breaker.failing_since, breaker.opened_at) == (BreakerState.OPEN, 10_000, 14_000)
    assert (breaker.probe_at, breaker.probes, breaker.probing) == (15.0, 0, False)


def test_a_success_ends_the_row() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(breaker, 1)
    assert not succeed(breaker)
    assert breaker.failing_since is None
    assert not any(fail(breaker, 1) for _ in range(FAILURES_IN_A_ROW - 1))
    assert fail(breaker, 1)


def test_half_of_the_last_twenty_open_it() -> None:
    breaker = Breaker()
    for number in range(FAILURES_OF_LAST - 1):
        assert not fail(breaker, number)
        succeed(breaker)
    assert fail(breaker, 100)


def test_what_was_more_than_twenty_ago_is_forgotten() -> None:
    breaker = Breaker()
    for number in range(FAILURES_OF_LAST - 1):
        fail(breaker, number)
        succeed(breaker)
    for _ in range(3):
        succeed(breaker)  # twenty-one outcomes: the first failure is out
    assert not fail(breaker, 100)


def test_one_poison_event_never_opens_it_and_two_do() -> None:
    breaker = Breaker()
    assert not any(fail(breaker, 7, status=500) for _ in range(50))
    assert [fail(breaker, 8 - n % 2, status=500) for n in range(4)] == [False, False, False, True]


def test_the_retries_of_one_poison_event_among_successes_do_not_add_up() -> None:
    breaker = Breaker()
    for _ in range(50):
        assert not fail(breaker, 7, status=500)
        succeed(breaker)


def test_a_failure_that_does_not_count_is_still_one_since_when_it_fails() -> None:
    breaker = Breaker()
    fail(breaker, 7, status=429, now=3.0)
    assert breaker.failing_since == 3_000


def test_a_fault_of_the_program_says_nothing() -> None:
    breaker = Breaker()
    for event in range(10):
        assert not breaker.failed(event, failure=FAULT, status=None, now=0.0, now_ms=5, jitter=0.0)
    assert (breaker.state, breaker.failing_since) == (BreakerState.CLOSED, None)


def test_failures_of_requests_that_were_on_their_way_change_nothing_once_it_is_open() -> None:
    breaker = opened(100.0)
    assert not fail(breaker, 2, now=100.5)
    assert (breaker.opened_at, breaker.probe_at) == (100_000, 101.0)


def test_it_is_calm_until_it_fails_and_once_its_failures_are_forgotten() -> None:
    breaker = Breaker()
    assert breaker.is_calm
    fail(breaker, 1, status=429)
    assert not breaker.is_calm, "it fails, although that does not count"
    fail(breaker, 1)
    for _ in range(LAST):
        assert not breaker.is_calm
        succeed(breaker)
    assert breaker.is_calm
    assert not opened().is_calm
    assert not recovering().is_calm


# -- probes -------------------------------------------------------------------------------------


def test_probes_back_off_to_half_a_minute() -> None:
    breaker, now, waits = opened(100.0), 100.0, []
    for _ in range(8):
        waits.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker.begin_probe(now)
        assert breaker.probing
        breaker.probe_failed(now, 0.0)
        assert not breaker.probing
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert breaker.probes == 8


def test_jitter_adds_up_to_a_tenth() -> None:
    breaker = opened(100.0, jitter=0.5)
    assert breaker.probe_at == pytest.approx(101.05)
    breaker.begin_probe(101.05)
    breaker.probe_failed(200.0, 0.999)
    assert 202.19 < breaker.probe_at < 202.2


def test_a_lost_probe_is_made_good_at_once() -> None:
    breaker = opened(100.0)
    breaker.begin_probe(101.0)
    breaker.probe_lost(101.5)
    assert (breaker.probing, breaker.probe_at, breaker.probes) == (False, 101.5, 0)


def test_any_success_begins_the_recovery() -> None:
    breaker = opened(100.0)
    breaker.begin_probe(101.0)
    assert succeed(breaker, 101.2)  # of a request that was sent before it opened
    assert (breaker.state, breaker.opened_at, breaker.probing) == (BreakerState.RECOVERING, None, False)
    breaker.probe_failed(102.0, 0.0)  # the probe was on its way all the same
    assert (breaker.state, breaker.probes) == (BreakerState.RECOVERING, 0)
    assert not succeed(breaker, 103.0)


# -- recovery -----------------------------------------------------------------------------------


def test_it_opens_out_of_the_recovery_by_the_same_thresholds() -> None:
    breaker = recovering(200.0)
    assert [fail(breaker, 1, now=201.0) for _ in range(FAILURES_IN_A_ROW)] == [False] * 4 + [True]
    assert (breaker.failing_since, breaker.probe_at) == (201_000, 202.0)


@pytest.mark.parametrize(
    ("usual", "rate", "expected"),
    [(0.0, None, 50.0), (25.0, None, 50.0), (100.0, None, 200.0), (100.0, 150.0, 150.0), (0.0, 0.5, 0.5)],
)
def test_the_ramp_is_twice_the_usual_rate(usual: float, rate: float | None, expected: float) -> None:
    assert ramp_limit(usual, rate) == expected


# -- what outlives the node ---------------------------------------------------------------------


def test_one_that_is_well_leaves_nothing() -> None:
    breaker = Breaker()
    fail(breaker, 1)
    assert breaker.to_health(9, 0, 10.0) is None


def test_an_open_one_is_found_open_and_probed_at_once() -> None:
    breaker = opened(100.0)
    breaker.begin_probe(101.0)
    breaker.probe_failed(101.0, 0.0)
    health = breaker.to_health(9, 2, 70.0)
    assert health == Health(
        endpoint_key=9, failing_since=100_000, opened_at=100_000, probes=1, warned=2, usual_rate=70.0
    )
    again = Breaker()
    again.restore(health, 5.0)
    assert (again.state, again.failing_since, again.opened_at) == (BreakerState.OPEN, 100_000, 100_000)
    assert (again.probe_at, again.probes, again.probing) == (5.0, 1, False)


def test_one_that_recovers_is_found_recovering_and_well() -> None:
    health = recovering(200.0).to_health(9, 0, 70.0)
    assert health == Health(endpoint_key=9, failing_since=200_000, opened_at=None, usual_rate=70.0)
    again = Breaker()
    again.restore(health, 5.0)
    assert (again.state, again.failing_since, again.opened_at) == (BreakerState.RECOVERING, None, None)


# -- disabling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("since", "days"), [(None, 30), (5, None), (None, None)])
def test_without_a_failure_or_a_rule_nothing_is_disabled(since: int | None, days: int | None) -> None:
    assert disables_at(since, days) is None
    assert not is_overdue(since, days, 10**15)
    assert warnings_due(since, days, 10**15) == 0


def test_an_endpoint_is_overdue_when_its_days_are_over() -> None:
    at = disables_at(1_000, 10)
    assert at == 1_000 + 10 * DAY_MS
    assert not is_overdue(1_000, 10, at - 1)
    assert is_overdue(1_000, 10, at)


@pytest.mark.parametrize(
    ("days_passed", "expected"),
    [(0.0, 0), (4.999, 0), (5.0, 1), (7.499, 1), (7.5, 2), (8.999, 2), (9.0, 3), (10.0, 3), (50.0, 3)],
)
def test_warnings_come_at_half_three_quarters_and_nine_tenths(days_passed: float, expected: int) -> None:
    assert warnings_due(1_000, 10, 1_000 + int(days_passed * DAY_MS)) == expected
