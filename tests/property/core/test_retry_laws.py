from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.delivery import State
from posthouse.core.errors import InvalidInput
from posthouse.core.limits import RETRIES_MAX, RETRY_AFTER_SECONDS_MAX, RETRY_LENGTH_MS_MAX
from posthouse.core.retry import PRESETS, RetrySchedule, cut, decide, parse_schedule

TIMES = st.integers(0, 1 << 45)
JITTER = st.floats(0, 1, exclude_max=True)
DELAYS = st.lists(st.tuples(st.integers(1, 10_000), st.sampled_from("smhd")), min_size=1, max_size=12)
CUSTOM = DELAYS.map(lambda pairs: "custom:" + ",".join(f"{number}{unit}" for number, unit in pairs))


def parse(text: str) -> RetrySchedule | None:
    try:
        return parse_schedule(text)
    except InvalidInput:
        return None


SCHEDULES = st.one_of(st.sampled_from(list(PRESETS.values())), CUSTOM.map(parse).filter(bool))
STATUSES = st.none() | st.integers(100, 599)


@given(st.one_of(CUSTOM, st.text(max_size=40), st.text("custom:0123smhd,", max_size=40)))
def test_any_text_is_a_bounded_schedule_or_refused(text: str) -> None:
    schedule = parse(text)
    if schedule is not None:
        assert len(schedule.delays) <= RETRIES_MAX
        assert sum(schedule.delays) <= RETRY_LENGTH_MS_MAX
        assert all(delay >= 1_000 for delay in schedule.delays)
        assert parse_schedule(schedule.name) == schedule


@given(
    schedule=SCHEDULES,
    attempts=st.integers(0, 200),
    opened_at=TIMES,
    now=TIMES,
    failure=st.sampled_from(["dns", "status"]),
    status=STATUSES,
    retry_after=st.none() | st.text(),
    jitter=JITTER,
)
def test_a_failure_is_retried_within_bounds_or_exhausted_for_a_reason(
    *,
    schedule: RetrySchedule,
    attempts: int,
    opened_at: int,
    now: int,
    failure: str,
    status: int | None,
    retry_after: str | None,
    jitter: float,
) -> None:
    """Never early, never more than a tenth late, whatever the endpoint says."""
    decision = decide(
        schedule,
        attempts=attempts,
        opened_at=opened_at,
        now=now,
        failure=failure,
        status=status,
        retry_after=retry_after,
        jitter=jitter,
    )
    assert decision.disable == (status == 410)
    if decision.state is State.EXHAUSTED:
        assert decision.reason
        assert status != 410
        return
    assert decision.state is State.RETRYING
    assert decision.reason is None
    delay = decision.due_at - now
    longest = max(*schedule.delays, RETRY_AFTER_SECONDS_MAX * 1_000, 60_000)
    assert 1_000 <= delay <= longest + longest // 10
    if attempts < len(schedule.delays):
        assert delay >= schedule.delays[attempts]


@given(SCHEDULES, st.sampled_from([429, 503]), st.integers(0, 10 * RETRY_AFTER_SECONDS_MAX), TIMES, JITTER)
def test_retry_after_is_honoured_up_to_its_bound(
    schedule: RetrySchedule, status: int, seconds: int, now: int, jitter: float
) -> None:
    if not schedule.delays:
        return
    decision = decide(
        schedule,
        attempts=0,
        opened_at=now,
        now=now,
        failure="status",
        status=status,
        retry_after=str(seconds),
        jitter=jitter,
    )
    assert decision.due_at >= now + min(seconds, RETRY_AFTER_SECONDS_MAX) * 1_000


@given(SCHEDULES, JITTER)
def test_a_schedule_is_walked_to_its_end(schedule: RetrySchedule, jitter: float) -> None:
    """As many retries as delays, each later than the one before; then exhausted."""
    now = opened_at = 1_760_000_000_000
    for attempts in range(len(schedule.delays)):
        decision = decide(
            schedule,
            attempts=attempts,
            opened_at=opened_at,
            now=now,
            failure="refused",
            status=None,
            retry_after=None,
            jitter=jitter,
        )
        assert decision.state is State.RETRYING
        assert decision.due_at > now
        now = decision.due_at
    assert now - opened_at <= sum(schedule.delays) * 11 // 10
    last = decide(
        schedule,
        attempts=len(schedule.delays),
        opened_at=opened_at,
        now=now,
        failure="refused",
        status=None,
        retry_after=None,
        jitter=jitter,
    )
    assert last.state is State.EXHAUSTED


@given(SCHEDULES, st.integers(1, 100 * 86_400_000))
def test_a_cut_is_the_longest_start_that_fits(schedule: RetrySchedule, block_ms: int) -> None:
    """So a failing event holds back those of its ordering key no longer, and is not given up earlier than need be."""
    kept = cut(schedule, block_ms)
    count = len(kept.delays)
    assert kept.delays == schedule.delays[:count]
    assert sum(kept.delays) <= block_ms
    assert count == len(schedule.delays) or sum(schedule.delays[: count + 1]) > block_ms
    assert parse_schedule(kept.name) == kept
