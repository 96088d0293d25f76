"""Steps of the wall clock: seen once each, told from drift and from a process that stood still."""

from posthouse.engine.clock_steps import STEP_MS_MIN, ClockSteps
from posthouse.testing.manual_clock import ManualClock

HOUR_MS = 3_600_000


def test_a_step_is_seen_once_with_its_size() -> None:
    clock = ManualClock()
    steps = ClockSteps(clock)
    for by_ms in (HOUR_MS, -HOUR_MS, -24 * HOUR_MS, STEP_MS_MIN):
        clock.advance(5_000)
        clock.step(by_ms)
        assert steps.look() == by_ms
        assert steps.look() == 0


def test_time_that_passes_is_no_step() -> None:
    clock = ManualClock()
    steps = ClockSteps(clock)
    clock.advance(24 * HOUR_MS)
    assert steps.look() == 0


def test_drift_adds_up_to_no_step() -> None:
    clock = ManualClock()
    steps = ClockSteps(clock)
    for _ in range(1_000):
        clock.advance(5_000)
        clock.step(-3)
        assert steps.look() == 0


def test_a_process_that_stood_still_between_two_readings_saw_no_step() -> None:
    class Stopped(ManualClock):
        """Its process is stopped for a while, right after it read one of the clocks."""

        stop_ms = 0

        def now_ms(self) -> int:
            now = super().now_ms()
            stopped, self.stop_ms = self.stop_ms, 0
            self.advance(stopped)
            return now

    clock = Stopped()
    steps = ClockSteps(clock)
    clock.stop_ms = 60_000
    assert steps.look() == 0
    assert steps.look() == 0
