import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import InvalidInput
from posthouse.core.limits import FAULTS_MAX, RETRY_AFTER_SECONDS_MAX, RETRY_SPAN_MS_MAX
from posthouse.core.retry import (
    ATTEMPTS_SPENT,
    FAULT,
    POISON,
    PRESETS,
    SPAN_SPENT,
    Decision,
    RetrySchedule,
    cut,
    decide,
    decide_after_fault,
    parse_schedule,
)

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOW = 1_760_000_000_000  #: Thu, 09 Oct 2025 08:53:20 GMT
SCHEDULE = parse_schedule("custom:10s,1m,1h")


def after_failure(
    attempts: int = 0,
    *,
    schedule: RetrySchedule = SCHEDULE,
    status: int | None = 500,
    retry_after: str | None = None,
    jitter: float = 0.0,
    opened_at: int = NOW,
) -> Decision:
    return decide(
        schedule,
        attempts=attempts,
        opened_at=opened_at,
        now=NOW,
        failure="status" if status else "dns",
        status=status,
        retry_after=retry_after,
        jitter=jitter,
    )


# -- schedules --------------------------------------------------------------------------------


def test_three_weeks_is_25_retries_in_20_days_and_10_hours() -> None:
    delays = parse_schedule("three-weeks").delays
    assert delays == tuple((n**4 + 15) * SECOND for n in range(25))
    assert sum(delays) == 1_763_395 * SECOND
    assert round(sum(delays) / DAY, 1) == 20.4


def test_standard_webhooks_is_the_example_schedule_of_the_specification() -> None:
    """Standard Webhooks 1.0.0, "Deliverability and reliability": the last retry is 75:35:05 after the start."""
    delays = parse_schedule("standard-webhooks").delays
    hours = tuple(h * HOUR for h in (2, 5, 10, 14, 20, 24))
    assert delays == (5 * SECOND, 5 * MINUTE, 30 * MINUTE, *hours)
    assert sum(delays) == 75 * HOUR + 35 * MINUTE + 5 * SECOND


def test_none_never_retries() -> None:
    assert parse_schedule("none").delays == ()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_found_by_their_names(name: str) -> None:
    assert parse_schedule(name) is PRESETS[name]
    assert PRESETS[name].name == name


@pytest.mark.parametrize(
    ("text", "delays", "name"),
    [
        ("custom:5s,1m,2h,1d", (5 * SECOND, MINUTE, 2 * HOUR, DAY), "custom:5s,1m,2h,1d"),
        ("custom:60s, 60m ,24h,48h", (MINUTE, HOUR, DAY, 2 * DAY), "custom:1m,1h,1d,2d"),
        ("custom:90s", (90 * SECOND,), "custom:90s"),
        ("custom:30d", (30 * DAY,), "custom:30d"),
        ("custom:" + ",".join(["1s"] * 100), (SECOND,) * 100, "custom:" + ",".join(["1s"] * 100)),
    ],
)
def test_custom_schedules_are_read_and_written_canonically(text: str, delays: tuple[int, ...], name: str) -> None:
    schedule = parse_schedule(text)
    assert schedule == RetrySchedule(name, delays)
    assert parse_schedule(schedule.name) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Three-Weeks",
        "custom",
        "custom:",
        "custom:,",
        "custom:5s,",
        "custom:5",
        "custom:s",
        "custom:0s",
        "custom:-5s",
        "custom:+5s",
        "custom:1.5s",
        "custom:5ms",
        "custom:5w",
        "custom:5 s",
        "custom:5s;6s",
        "custom:5S",
        "custom:\u0665s",
        "custom:5s\n",
        "custom:31d",
        "custom:30d,1s",
        "custom:99999999s",
        "custom:" + ",".join(["1s"] * 101),
        "custom:" + "1" * 5_000 + "s",
        "custom:1s" + " " * 5_000,
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_schedule(text)
    assert caught.value.errors[0]["path"] == "retry"


# -- decisions --------------------------------------------------------------------------------


def test_success_is_delivered_whatever_else_is_said() -> None:
    decision = decide(
        SCHEDULE, attempts=99, opened_at=0, now=NOW, failure=None, status=200, retry_after="9", jitter=0.9
    )
    assert decision == Decision(State.DELIVERED, 0, None, disable=False)


@pytest.mark.parametrize(("attempts", "delay"), [(0, 10 * SECOND), (1, MINUTE), (2, HOUR)])
def test_each_failure_takes_the_next_delay(attempts: int, delay: int) -> None:
    assert after_failure(attempts) == Decision(State.RETRYING, NOW + delay, None, disable=False)


@pytest.mark.parametrize("attempts", [3, 4, 1_000_000])
def test_a_spent_schedule_is_exhausted(attempts: int) -> None:
    assert after_failure(attempts) == Decision(State.EXHAUSTED, 0, ATTEMPTS_SPENT)
    assert after_failure(0, schedule=PRESETS["none"]) == Decision(State.EXHAUSTED, 0, ATTEMPTS_SPENT)


def test_the_default_schedule_makes_26_attempts() -> None:
    schedule = PRESETS["three-weeks"]
    assert after_failure(24, schedule=schedule).state is State.RETRYING
    assert after_failure(25, schedule=schedule).state is State.EXHAUSTED


def test_a_round_that_began_too_long_ago_is_not_retried() -> None:
    assert after_failure(0, opened_at=NOW - RETRY_SPAN_MS_MAX).state is State.RETRYING
    assert after_failure(0, opened_at=NOW - RETRY_SPAN_MS_MAX - 1) == Decision(State.EXHAUSTED, 0, SPAN_SPENT)


def test_failures_without_an_answer_are_retried() -> None:
    assert after_failure(status=None).due_at == NOW + 10 * SECOND


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 429, 500, 503, 599])
def test_every_answer_but_2xx_is_retried(status: int) -> None:
    """Redirects are failures: they are never followed."""
    assert after_failure(status=status) == Decision(State.RETRYING, NOW + 10 * SECOND)


@pytest.mark.parametrize(("attempts", "delay"), [(0, 10 * SECOND), (2, HOUR), (3, MINUTE), (500, MINUTE)])
def test_gone_disables_the_endpoint_and_holds_the_delivery(attempts: int, delay: int) -> None:
    """What is held is not lost: a 410 exhausts nothing, not even when the schedule is spent."""
    assert after_failure(attempts, status=410) == Decision(State.RETRYING, NOW + delay, None, disable=True)
    assert after_failure(0, status=410, opened_at=0).state is State.RETRYING


def test_jitter_adds_up_to_a_tenth_and_is_never_early() -> None:
    assert after_failure(2, jitter=0.0).due_at == NOW + HOUR
    assert after_failure(2, jitter=0.5).due_at == NOW + HOUR + HOUR // 20
    assert NOW + HOUR + HOUR // 11 < after_failure(2, jitter=0.999_999).due_at < NOW + HOUR + HOUR // 10


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [
        ("30", 30 * SECOND),
        (" 30 ", 30 * SECOND),
        ("5", 10 * SECOND),
        ("0", 10 * SECOND),
        ("Thu, 09 Oct 2025 08:54:20 GMT", MINUTE),
        ("Thursday, 09-Oct-25 08:54:20 GMT", MINUTE),
        ("Thu, 09 Oct 2025 08:53:00 GMT", 10 * SECOND),
        (str(RETRY_AFTER_SECONDS_MAX), RETRY_AFTER_SECONDS_MAX * SECOND),
        (str(RETRY_AFTER_SECONDS_MAX + 1), RETRY_AFTER_SECONDS_MAX * SECOND),
        ("9" * 9, RETRY_AFTER_SECONDS_MAX * SECOND),
        ("9" * 10_000, RETRY_AFTER_SECONDS_MAX * SECOND),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_SECONDS_MAX * SECOND),
        ("", 10 * SECOND),
        ("-30", 10 * SECOND),
        ("+30", 10 * SECOND),
        ("30.5", 10 * SECOND),
        ("\u0663\u0660", 10 * SECOND),
        ("30 seconds", 10 * SECOND),
        ("soon", 10 * SECOND),
    ],
)
def test_retry_after_is_the_least_delay_within_a_bound(status: int, retry_after: str, delay: int) -> None:
    """Seconds and dates count; what says nothing usable changes nothing."""
    assert after_failure(status=status, retry_after=retry_after).due_at == NOW + delay


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 502, 504, None])
def test_retry_after_counts_with_429_and_503_only(status: int | None) -> None:
    assert after_failure(status=status, retry_after="3600").due_at == NOW + 10 * SECOND


def test_retry_after_does_not_prolong_a_spent_schedule() -> None:
    assert after_failure(3, status=503, retry_after="60").state is State.EXHAUSTED


# -- faults of the program --------------------------------------------------------------------


def after_fault(*outcomes: str, schedule: str = "custom:10s,1m,1h,1h,1h") -> Decision:
    return decide_after_fault(parse_schedule(schedule), outcomes, opened_at=NOW, now=NOW, jitter=0.0)


def test_a_fault_goes_on_by_the_schedule() -> None:
    assert after_fault() == Decision(State.RETRYING, NOW + 10 * SECOND)
    assert after_fault(FAULT) == Decision(State.RETRYING, NOW + MINUTE)
    assert after_fault("status", "dns", FAULT) == Decision(State.RETRYING, NOW + HOUR)


def test_the_third_fault_in_a_row_is_the_last() -> None:
    assert FAULTS_MAX == 3
    assert after_fault(FAULT, FAULT) == Decision(State.EXHAUSTED, reason=POISON)
    assert after_fault("status", FAULT, FAULT) == Decision(State.EXHAUSTED, reason=POISON)


@pytest.mark.parametrize("outcomes", [(FAULT, "status"), ("status", FAULT), (FAULT, "dns", FAULT)])
def test_faults_that_are_not_in_a_row_park_nothing(outcomes: tuple[str, ...]) -> None:
    """The endpoint answered, or the network failed, in between: so it can be attempted."""
    assert after_fault(*outcomes).state is State.RETRYING


def test_faults_never_make_more_attempts_than_the_schedule() -> None:
    assert after_fault(schedule="none") == Decision(State.EXHAUSTED, reason=ATTEMPTS_SPENT)
    assert after_fault("status", FAULT, schedule="custom:1s,1s") == Decision(State.EXHAUSTED, reason=ATTEMPTS_SPENT)


@pytest.mark.parametrize("schedule", [*PRESETS, "custom:1s"])
def test_faults_do_not_spin(schedule: str) -> None:
    decision = after_fault(schedule=schedule)
    assert decision.state is State.EXHAUSTED or decision.due_at >= NOW + SECOND


@pytest.mark.parametrize(
    ("block_ms", "kept"),
    [(9_999, 0), (10_000, 1), (69_999, 1), (70_000, 2), (70_000 + HOUR, 3), (10 * DAY, 3)],
)
def test_a_cut_schedule_ends_within_the_time_that_it_may_block(block_ms: int, kept: int) -> None:
    assert cut(SCHEDULE, block_ms).delays == SCHEDULE.delays[:kept]


def test_a_schedule_that_is_not_cut_is_the_same_one() -> None:
    assert cut(SCHEDULE, DAY) is SCHEDULE
    assert cut(PRESETS["none"], 1) is PRESETS["none"]
    assert cut(PRESETS["three-weeks"], 1) is PRESETS["none"]
