from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.health import (
    FAILURES_IN_A_ROW,
    FAILURES_OF_LAST,
    LAST,
    PROBE_SECONDS_MAX,
    PROBE_SECONDS_MIN,
    Breaker,
    BreakerState,
    disables_at,
    is_overdue,
    warnings_due,
)
from posthouse.core.retry import FAULT

JITTERS = st.floats(0, 1, exclude_max=True)
EVENTS = st.integers(1, 4)
#: None is a success; else the failure and the status of an attempt.
OUTCOMES = st.one_of(
    st.none(),
    st.sampled_from([("timeout", None), ("http_status", 500), ("http_status", 429), (FAULT, None)]),
)
STEPS = st.lists(st.tuples(st.integers(0, 40_000), EVENTS, OUTCOMES, JITTERS), max_size=120)


@dataclass
class Model:
    """The rules of the breaker told once more: outcomes as a list, and nothing clever."""

    state: BreakerState = BreakerState.CLOSED
    outcomes: list[bool] = field(default_factory=list)  #: of counted attempts since it was last closed by hand, failed?
    counted: int | None = None
    failing_since: int | None = None

    def outcome(self, event: int, outcome: tuple[str, int | None] | None, now_ms: int) -> bool:
        """Whether the state changed."""
        if outcome is None:
            self.failing_since = None
            self.outcomes.append(False)
            if self.state is BreakerState.OPEN:
                self.state, self.outcomes = BreakerState.RECOVERING, []
                return True
            return False
        failure, status = outcome
        if failure == FAULT:
            return False
        if self.failing_since is None:
            self.failing_since = now_ms
        if self.state is BreakerState.OPEN or status == 429 or (status is not None and event == self.counted):
            return False
        self.counted = event
        self.outcomes.append(True)
        row = self.outcomes[-FAILURES_IN_A_ROW:]
        if (len(row) == FAILURES_IN_A_ROW and all(row)) or sum(self.outcomes[-LAST:]) >= FAILURES_OF_LAST:
            self.state = BreakerState.OPEN
            return True
        return False


@given(STEPS)
def test_a_breaker_does_what_its_rules_say(
    steps: list[tuple[int, int, tuple[str, int | None] | None, float]],
) -> None:
    breaker, model, now_ms = Breaker(), Model(), 1_700_000_000_000
    for wait_ms, event, outcome, jitter in steps:
        now_ms += wait_ms
        now = now_ms / 1_000
        expected = model.outcome(event, outcome, now_ms)
        if outcome is None:
            assert breaker.succeeded(now, now_ms) is expected
        else:
            failure, status = outcome
            changed = breaker.failed(event, failure=failure, status=status, now=now, now_ms=now_ms, jitter=jitter)
            assert changed is expected
            if changed:
                assert now + PROBE_SECONDS_MIN <= breaker.probe_at < now + 1.1 * PROBE_SECONDS_MIN + 1e-6
                assert breaker.opened_at == now_ms
        assert breaker.state is model.state
        assert breaker.failing_since == model.failing_since
        assert (breaker.opened_at is not None) == (breaker.state is BreakerState.OPEN)
        assert (breaker.to_health(1, 0, 0.0) is None) == (breaker.state is BreakerState.CLOSED)


@given(STEPS)
def test_what_one_node_leaves_another_goes_on_with(
    steps: list[tuple[int, int, tuple[str, int | None] | None, float]],
) -> None:
    breaker, now_ms = Breaker(), 1_700_000_000_000
    for wait_ms, event, outcome, jitter in steps:
        now_ms += wait_ms
        if outcome is None:
            breaker.succeeded(now_ms / 1_000, now_ms)
        else:
            breaker.failed(
                event, failure=outcome[0], status=outcome[1], now=now_ms / 1_000, now_ms=now_ms, jitter=jitter
            )
    health = breaker.to_health(1, 1, 30.0)
    if health is None:
        return
    again = Breaker()
    again.restore(health, 7.0)
    assert (again.state, again.opened_at, again.probes) == (breaker.state, breaker.opened_at, breaker.probes)
    assert again.to_health(1, 1, 30.0) == health
    if again.state is BreakerState.OPEN:
        assert (again.probe_at, again.failing_since) == (7.0, breaker.failing_since)


@given(EVENTS, st.lists(st.booleans(), max_size=200))
def test_the_answers_to_one_event_never_open_it(event: int, outcomes: list[bool]) -> None:
    breaker = Breaker()
    for fails in outcomes:
        if fails:
            assert not breaker.failed(event, failure="http_status", status=400, now=0.0, now_ms=0, jitter=0.0)
        else:
            breaker.succeeded(0.0, 0)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(JITTERS, min_size=2, max_size=40))
def test_waits_between_probes_double_and_stay_within_bounds(jitters: list[float]) -> None:
    breaker, now = Breaker(), 50.0
    for _ in range(FAILURES_IN_A_ROW):
        breaker.failed(1, failure="timeout", status=None, now=now, now_ms=50_000, jitter=jitters[0])
    before = 0.0
    for jitter in jitters:
        wait = breaker.probe_at - now
        assert PROBE_SECONDS_MIN - 1e-6 <= wait <= 1.1 * PROBE_SECONDS_MAX
        assert before / 1.1 - 1e-6 <= wait <= max(before, PROBE_SECONDS_MIN) * 2 * 1.1 + 1e-6
        now, before = breaker.probe_at, wait
        breaker.begin_probe(now)
        breaker.probe_failed(now, jitter)


@given(st.integers(0, 10**13), st.integers(1, 365), st.integers(0, 10**11), st.integers(0, 10**11))
def test_warnings_come_in_order_and_before_the_end(since: int, days: int, passed: int, more: int) -> None:
    now_ms = since + passed
    warned = warnings_due(since, days, now_ms)
    assert 0 <= warned <= warnings_due(since, days, now_ms + more) <= 3
    at = disables_at(since, days)
    assert at is not None
    assert is_overdue(since, days, now_ms) == (now_ms >= at)
    if now_ms >= at:
        assert warned == 3
    assert warnings_due(since, days, since) == 0
