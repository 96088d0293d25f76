"""The gate of an endpoint: what its rule and its own answers let through."""

from posthouse.core.health import FAILURES_IN_A_ROW, RAMP_FACTOR, RAMP_FLOOR
from posthouse.core.model import Health
from posthouse.core.waiting import Hold
from posthouse.engine.gates import Change, Gate
from posthouse.transport.protocol import Exchange, Failure, Timings

NOW_MS = 1_800_000_000_000
GOOD = Exchange(failure=None, status=200, timings=Timings(1_000))
REFUSED = Exchange(failure=Failure.REFUSED, error="refused", timings=Timings(1_000))


def bad(status: int, retry_after: str | None = None) -> Exchange:
    return Exchange(
        failure=Failure.STATUS, status=status, error=str(status), timings=Timings(1_000), retry_after=retry_after
    )


def fail(gate: Gate, now: float, exchange: Exchange = REFUSED, *, event_key: int = 1, probe: bool = False) -> Change:
    return gate.failed(event_key, exchange, probe=probe, now=now, now_ms=NOW_MS + round(now * 1_000), jitter=0.0)


def succeed(gate: Gate, now: float) -> Change:
    return gate.succeeded(now, NOW_MS + round(now * 1_000))


def opened() -> Gate:
    gate = Gate(0.0)
    changes = [fail(gate, 1.0) for _ in range(FAILURES_IN_A_ROW)]
    assert changes == [Change.NOTHING] * (FAILURES_IN_A_ROW - 1) + [Change.OPENED]
    return gate


def test_an_endpoint_that_is_well_has_nothing_but_a_meter() -> None:
    gate = Gate(0.0)
    assert succeed(gate, 1.0) is Change.NOTHING
    assert gate.is_free
    assert gate.breaker is None
    assert gate.health(1, 1.0) is None


def test_failures_open_the_breaker_and_a_good_probe_begins_the_recovery() -> None:
    gate = opened()
    assert gate.is_down
    assert fail(gate, 2.0, probe=True) is Change.NOTHING
    assert succeed(gate, 3.0) is Change.ANSWERS
    assert gate.is_recovering
    assert gate.limit(3.0) == RAMP_FACTOR * RAMP_FLOOR
    assert gate.holds(3.0) is Hold.RECOVERING
    gate.forgive(4.0)
    assert gate.is_free


def test_a_ramp_never_exceeds_the_endpoints_own_rate() -> None:
    gate = opened()
    gate.use("5/s", 2.0)
    succeed(gate, 3.0)
    assert gate.limit(3.0) == 5.0
    assert gate.holds(3.0) is Hold.RATE


def test_a_few_failures_are_forgotten_when_it_answers_well_for_long() -> None:
    gate = Gate(0.0)
    fail(gate, 1.0)
    for number in range(40):
        succeed(gate, 2.0 + number)
    assert gate.breaker is None


def test_too_many_requests_lowers_the_rate_and_good_answers_bring_it_back() -> None:
    gate = Gate(0.0)
    for number in range(300):
        succeed(gate, number / 10)
    fail(gate, 30.0, bad(429, "3"))
    assert gate.ready_at() >= 33.0
    assert gate.holds(31.0) is Hold.THROTTLED
    limit = gate.limit(33.0)
    assert limit is not None
    assert 4.0 <= limit <= 6.0, "half of the ten a second that it took"
    for number in range(600):
        succeed(gate, 34.0 + number / 10)
    assert gate.is_free


def test_bad_gateways_slow_down_without_a_pause() -> None:
    gate = Gate(0.0)
    fail(gate, 1.0, bad(502))
    assert gate.limit(1.0) is not None
    assert gate.ready_at() <= 2.0


def test_too_many_requests_never_open_the_breaker() -> None:
    gate = Gate(0.0)
    for number in range(50):
        assert fail(gate, float(number), bad(429), event_key=number) is Change.NOTHING
    assert not gate.is_down


def test_what_is_known_outlives_the_node() -> None:
    before = opened()
    health = before.health(7, 2.0)
    assert health is not None
    after = Gate(0.0)
    after.restore(health, 0.0)
    assert after.is_down
    assert after.breaker is not None
    assert after.breaker.failing_since == health.failing_since
    recovering = Gate(0.0)
    recovering.restore(Health(endpoint_key=7, failing_since=NOW_MS, usual_rate=100.0), 0.0)
    assert recovering.is_recovering
    assert recovering.limit(0.0) == RAMP_FACTOR * 100.0
