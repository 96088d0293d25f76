import pytest
from msgspec.structs import replace

from posthouse.core.delivery import FINAL, OPEN, State
from posthouse.core.errors import Conflict, InvalidInput
from posthouse.core.jobs import (
    JOB_TRANSITIONS,
    SELECTS,
    SELECTS_LANES,
    UNFINISHED,
    Job,
    JobFilter,
    JobKind,
    JobPhase,
    JobProgress,
    JobSignal,
    JobState,
    Pace,
    parse_older_than,
    progress_of,
    step_job,
)
from posthouse.core.model import Environment
from posthouse.testing.conformance.values import Values

NOW = 1_800_000_000_000
JOB = Job(key=1, environment=Environment.LIVE, kind=JobKind.RETRY, filter=JobFilter(newest=1), created_at=NOW)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("signal", JobSignal)
def test_every_pair_is_a_target_or_a_refusal(state: JobState, signal: JobSignal) -> None:
    target = JOB_TRANSITIONS.get((state, signal))
    if target is not None:
        assert step_job(state, signal) is target
    else:
        with pytest.raises(Conflict, match=f"{state} cannot {signal}"):
            step_job(state, signal)


def test_what_has_ended_stays_ended() -> None:
    assert {source for source, _ in JOB_TRANSITIONS if JOB_TRANSITIONS[source, _] is not source} == UNFINISHED


def test_what_is_asked_of_events_rules_out_no_endpoint() -> None:
    """A filter covers endpoints by what it asks of them; any of them may be owed such events."""
    endpoint = Values().endpoint()
    for wanted in ({}, {"types": ("a",)}, {"ordering_key": "k"}, {"source_key": 5}, {"tenant": endpoint.tenant}):
        assert JobFilter(newest=1, **wanted).covers(endpoint)
    for other in ({"tenant": "other"}, {"endpoint_key": endpoint.key + 1}):
        assert not JobFilter(newest=1, source_key=5, **other).covers(endpoint)


def test_every_kind_selects_something() -> None:
    for kind in JobKind:
        assert SELECTS[kind]
        first, last = SELECTS_LANES[kind]
        assert first <= last
    assert SELECTS[JobKind.RETRY] == frozenset(State) - {State.DELIVERED}
    assert SELECTS[JobKind.REPLAY] == FINAL
    assert SELECTS[JobKind.CANCEL] == OPEN


@pytest.mark.parametrize(
    ("text", "before"),
    [("90s", 90_000), ("5m", 300_000), ("12h", 43_200_000), ("3d", 259_200_000), ("0s", 0), ("999999d", NOW)],
)
def test_an_age_counts_back_from_now(text: str, before: int) -> None:
    assert parse_older_than(text, NOW) == NOW - before


def test_a_time_is_a_time() -> None:
    assert parse_older_than("2026-11-22T08:00:00+01:00", NOW) == 1_795_330_800_000


@pytest.mark.parametrize("text", ["", "3", "d", "3 d", "-3d", "1.5h", "1w", "1000000d", "2026-11-22", "yesterday"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_older_than(text, NOW, "filter.older_than")
    assert caught.value.errors[0]["path"] == "filter.older_than"


WORKING = replace(JOB, total=200, counted=200, done=40, skipped=10)


@pytest.mark.parametrize(
    ("job", "pace", "progress"),
    [
        (replace(JOB, counted=7), 70.0, JobProgress(JobPhase.COUNTING, 7, None, 70.0, None)),
        (WORKING, 10.0, JobProgress(JobPhase.WORKING, 50, 0.25, 10.0, 15.0)),
        (WORKING, None, JobProgress(JobPhase.WORKING, 50, 0.25, None, None)),
        (WORKING, 0.0, JobProgress(JobPhase.WORKING, 50, 0.25, 0.0, None)),
        (replace(WORKING, state=JobState.PAUSED), 10.0, JobProgress(JobPhase.WORKING, 50, 0.25, None, None)),
        (replace(WORKING, state=JobState.CANCELLED), 10.0, JobProgress(JobPhase.ENDED, 50, 0.25, None, None)),
        (
            replace(WORKING, done=195, state=JobState.COMPLETED),
            None,
            JobProgress(JobPhase.ENDED, 205, 1.0, None, None),
        ),
        (replace(WORKING, done=195), 10.0, JobProgress(JobPhase.WORKING, 205, 1.0, 10.0, 0.0)),
        (replace(JOB, total=0), None, JobProgress(JobPhase.WORKING, 0, 1.0, None, None)),
    ],
)
def test_progress(job: Job, pace: float | None, progress: JobProgress) -> None:
    assert progress_of(job, pace) == progress


def test_a_pace_needs_a_second() -> None:
    pace = Pace()
    assert pace.per_second(0.0) is None
    pace.note(5.0, 100)
    pace.note(5.5, 150)
    assert pace.per_second(5.5) is None
    pace.note(7.0, 300)
    assert pace.per_second(7.0) == 100.0


def test_a_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    for n in range(300):
        pace.note(n / 10, n)
    for n in range(300):
        pace.note(30 + n / 10, 300 + 5 * n)
    assert pace.per_second(59.9) == pytest.approx(50, rel=0.02)
    assert len(pace._samples) < 110


def test_what_stands_still_slows_down_and_begins_anew() -> None:
    """Waiting is part of the pace, a long pause is not."""
    pace = Pace()
    pace.note(0.0, 0)
    pace.note(1.0, 100)
    assert pace.per_second(4.0) == 25.0
    pace.note(100.0, 100)
    assert pace.per_second(100.0) is None
    pace.note(102.0, 120)
    assert pace.per_second(102.0) == 10.0


def test_another_count_begins_anew() -> None:
    pace = Pace()
    pace.note(0.0, 50)
    pace.note(2.0, 90)
    pace.note(3.0, 10)
    assert pace.per_second(3.0) is None
