"""What a recording keeps: bounded, in order, and the ends of it."""

from posthouse.drills.recording import SAMPLES_MAX, STEP_SECONDS, Kind, Recording, Sample


def test_it_is_bounded_and_its_samples_stay_evenly_spread() -> None:
    made = Recording()
    at_s = 0.0
    for number in range(5 * SAMPLES_MAX):
        made.add(Sample(at_s, number, number, 0))
        at_s += made.step_s
    assert SAMPLES_MAX / 2 <= len(made.samples) <= SAMPLES_MAX
    assert made.step_s > STEP_SECONDS
    steps = [after.at_s - before.at_s for before, after in zip(made.samples, made.samples[1:], strict=False)]
    assert max(steps) < 2.1 * min(steps)
    assert made.samples[0].at_s == 0.0


def test_it_lasts_until_its_last_sample_or_mark() -> None:
    made = Recording()
    assert made.seconds == 0.0
    made.add(Sample(3.0, 1, 1, 0))
    assert made.seconds == 3.0
    made.mark(2.0, Kind.FAULT, "kill", until_s=4.0)
    assert made.seconds == 4.0
    made.mark(5.0, Kind.ALARM, "alarm")
    assert made.seconds == 5.0
