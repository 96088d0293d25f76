import pytest

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import RATE_COUNT_MAX, THROTTLE_SECONDS_MAX
from posthouse.core.rate import CATCH_UP_SECONDS, Bucket, Meter, Rate, Throttle, parse_rate


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("1/s", 1.0),
        ("100/s", 100.0),
        ("90/m", 1.5),
        ("1800/h", 0.5),
        ("43200/d", 0.5),
        (f"{RATE_COUNT_MAX}/s", 1_000_000.0),
    ],
)
def test_a_rate_is_a_count_and_a_unit(text: str, per_second: float) -> None:
    assert parse_rate(text) == Rate(text, per_second)


def test_leading_zeros_are_not_kept() -> None:
    assert parse_rate("0100/m") == parse_rate("100/m")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/s",
        "0/s",
        "1000001/s",
        "-1/s",
        "1.5/s",
        "1/w",
        "1 /s",
        "1/s ",
        "1/S",
        "\u0661/s",
        "1/s/s",
        "100000000/d",
    ],
)
def test_anything_else_is_refused_with_the_name_of_the_field(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_rate(text, "rules.rate")
    assert [(error["path"], error["code"]) for error in refusal.value.errors] == [("rules.rate", "rate")]


# -- bucket -------------------------------------------------------------------------------------


def test_a_new_bucket_has_no_burst() -> None:
    bucket = Bucket(10, now=100.0)
    assert bucket.ready_at() == 100.0
    bucket.take(100.0)
    assert bucket.ready_at() == pytest.approx(100.1)


def test_a_late_timer_catches_up_but_not_for_ever() -> None:
    bucket = Bucket(10, now=0.0)
    bucket.take(0.0)
    bucket.take(0.14)  # 0.04 s late, within the tolerance
    assert bucket.ready_at() == pytest.approx(0.2)
    bucket.take(1.0)  # 0.8 s late: all but the tolerance is gone
    assert bucket.ready_at() == pytest.approx(1.1 - CATCH_UP_SECONDS)


def test_what_was_taken_too_early_is_paid_for_afterwards() -> None:
    bucket = Bucket(10, now=0.0)
    bucket.take(0.0, 5)
    assert bucket.ready_at() == pytest.approx(0.5)


def test_a_change_keeps_the_part_of_the_wait_that_is_over() -> None:
    bucket = Bucket(1, now=0.0)
    bucket.take(0.0)
    bucket.change(10, now=0.75)  # a quarter of the wait is left
    assert bucket.per_second == 10
    assert bucket.ready_at() == pytest.approx(0.775)
    bucket.change(1, now=0.75)
    assert bucket.ready_at() == pytest.approx(1.0)


def test_changes_give_nothing_for_free() -> None:
    bucket = Bucket(1, now=0.0)
    bucket.change(1_000, now=100.0)  # what it may catch up is counted by the rate before: a twentieth of one
    taken = 0
    while bucket.ready_at() <= 100.0:
        bucket.take(100.0)
        taken += 1
    assert taken == 1


# -- meter --------------------------------------------------------------------------------------


def test_a_meter_knows_nothing_at_first() -> None:
    meter = Meter(now=5.0)
    assert (meter.per_second(5.0), meter.usual(5.0)) == (0.0, 0.0)


def test_a_meter_forgets_within_a_minute_and_its_usual_rate_by_halves_an_hour() -> None:
    meter = Meter(now=0.0)
    for number in range(6_000):
        meter.note(number / 100)
    assert meter.per_second(60.0) == pytest.approx(100, rel=0.1)
    assert meter.per_second(120.0) < 1
    usual = meter.usual(60.0)
    assert usual == pytest.approx(100, rel=0.1)
    assert meter.usual(60.0 + 3_600) == pytest.approx(usual / 2)
    meter.note(60.0 + 3_600)
    assert meter.usual(60.0 + 7_200) == pytest.approx(usual / 4)


def test_a_meter_goes_on_from_a_usual_rate_that_is_known() -> None:
    meter = Meter(80.0, now=1_000.0)
    assert meter.per_second(1_000.0) == 0.0
    assert meter.usual(1_000.0) == 80.0
    assert meter.usual(4_600.0) == pytest.approx(40.0)


def test_while_an_endpoint_is_not_well_its_usual_rate_is_kept() -> None:
    meter = Meter(80.0, now=0.0)
    meter.hold(3_600.0)
    for number in range(10_000):
        meter.note(4_000.0 + number / 1_000)  # it is caught up with
    assert meter.per_second(4_010.0) == 0.0
    assert meter.usual(4_010.0) == meter.usual(12 * 86_400.0) == 40.0
    meter.hold(5_000.0)
    assert meter.usual(5_000.0) == 40.0
    meter.go_on(12 * 86_400.0)
    assert meter.usual(12 * 86_400.0 + 3_600) == pytest.approx(20.0)
    meter.go_on(12 * 86_400.0 + 3_600)
    meter.note(12 * 86_400.0 + 3_600, 800)
    assert meter.usual(12 * 86_400.0 + 3_600) == pytest.approx(100.0)


def test_several_at_once_weigh_as_much_as_one_by_one() -> None:
    together, apart = Meter(now=0.0), Meter(now=0.0)
    together.note(1.0, 50)
    for _ in range(50):
        apart.note(1.0)
    assert together.per_second(2.0) == apart.per_second(2.0) > 0


# -- throttle -----------------------------------------------------------------------------------


def test_nothing_is_held_back_at_first() -> None:
    throttle = Throttle()
    throttle.went_well(1.0)
    assert (throttle.limit, throttle.until) == (None, 0.0)


def test_a_pushback_halves_the_usual_rate_and_pauses() -> None:
    throttle = Throttle()
    throttle.pushed_back(10.0, usual=40.0, retry_after_s=None)
    assert (throttle.limit, throttle.until) == (20.0, 11.0)
    throttle.pushed_back(12.0, usual=40.0, retry_after_s=30.0)
    assert (throttle.limit, throttle.until) == (10.0, 42.0)


def test_a_pause_is_never_shortened_and_has_a_bound() -> None:
    throttle = Throttle()
    throttle.pushed_back(10.0, usual=40.0, retry_after_s=100_000.0)
    assert throttle.until == 10.0 + THROTTLE_SECONDS_MAX
    throttle.pushed_back(11.0, usual=40.0, retry_after_s=0.0)
    assert throttle.until == 10.0 + THROTTLE_SECONDS_MAX


def test_an_unknown_or_slow_rate_counts_as_one_a_second() -> None:
    throttle = Throttle()
    throttle.pushed_back(0.0, usual=0.0, retry_after_s=None)
    assert throttle.limit == 0.5


def test_a_limit_never_falls_below_one_in_ten_seconds() -> None:
    throttle = Throttle()
    for number in range(100):
        throttle.pushed_back(2.0 * number, usual=1.0, retry_after_s=None)
    assert throttle.limit == 0.1


def test_answers_of_one_second_are_one_cut() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.pushed_back(5.0 + number / 11, usual=100.0, retry_after_s=None)
        throttle.slowed(5.0 + number / 11, usual=100.0)
    assert throttle.limit == 50.0
    throttle.slowed(6.0, usual=100.0)
    assert throttle.limit == 35.0


def test_a_gateway_that_fails_slows_down_without_a_pause() -> None:
    throttle = Throttle()
    throttle.slowed(5.0, usual=100.0)
    assert (throttle.limit, throttle.until) == (70.0, 0.0)


def test_a_limit_grows_by_a_tenth_a_second_and_is_lifted() -> None:
    throttle = Throttle()
    throttle.pushed_back(0.0, usual=100.0, retry_after_s=None)
    throttle.went_well(2.0)
    assert throttle.limit == pytest.approx(55.0)
    throttle.went_well(3.0)
    assert throttle.limit == pytest.approx(60.5)
    throttle.went_well(22.0)
    assert throttle.limit == pytest.approx(50 * 1.1**21)
    throttle.went_well(23.0)  # 50 * 1.1 ** 22 is more than four times 100
    assert throttle.limit is None


def test_each_further_cut_is_measured_from_the_rate_before_the_first() -> None:
    throttle = Throttle()
    for now in (0.0, 2.0, 4.0):
        throttle.pushed_back(now, usual=100.0, retry_after_s=None)
    throttle.went_well(5.0 + 30)
    assert throttle.limit == pytest.approx(12.5 * 1.1**30)
    throttle.went_well(5.0 + 40)
    assert throttle.limit is None


def test_a_pause_is_no_time_of_growth() -> None:
    throttle = Throttle()
    throttle.pushed_back(0.0, usual=100.0, retry_after_s=60.0)
    throttle.went_well(30.0)  # a request that was on its way
    assert throttle.limit == 50.0
    throttle.went_well(61.0)
    assert throttle.limit == pytest.approx(55.0)


def test_after_a_month_a_limit_is_lifted_like_any_other() -> None:
    throttle = Throttle()
    throttle.slowed(0.0, usual=100.0)
    throttle.went_well(30 * 86_400.0)
    assert throttle.limit is None
