"""How sources usually speak, and when they are silent."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.inbound import Rhythm
from posthouse.core.rhythm import DAYS, PAUSE_MIN_MS, SEEN_MIN, heard, is_silent, latest, usual_pause_ms

HOUR = 3_600_000
DAY = 24 * HOUR
START = 20_000 * DAY


def every(pause_ms: int, count: int, *, start: int = START) -> Rhythm:
    """What is known of a source after so many requests with this pause between them."""
    rhythm = None
    for number in range(count):
        rhythm = heard(rhythm, 7, start + number * pause_ms)
    assert rhythm is not None
    return rhythm


def test_what_somebody_promised_counts() -> None:
    assert usual_pause_ms(None, 300) == 300_000
    assert usual_pause_ms(every(HOUR, 200), 300) == 300_000


def test_of_whom_nothing_is_expected_nobody_is_silent() -> None:
    assert usual_pause_ms(every(HOUR, 200), 0) is None


def test_a_rhythm_is_learnt_from_enough_requests() -> None:
    assert usual_pause_ms(every(HOUR, SEEN_MIN - 1), None) is None
    assert usual_pause_ms(every(HOUR, SEEN_MIN), None) == HOUR


def test_a_short_rhythm_leaves_room() -> None:
    """A source that speaks every second is not silent after two."""
    assert usual_pause_ms(every(1_000, SEEN_MIN), None) == PAUSE_MIN_MS


def test_quiet_nights_become_usual() -> None:
    """The longest pause of the last week counts; one that is longer ago is forgotten."""
    rhythm = every(60_000, SEEN_MIN)
    night = heard(rhythm, 7, rhythm.seen_at + 10 * HOUR)
    assert usual_pause_ms(night, None) == 10 * HOUR
    later = night
    for hour in range(1, 24 * (DAYS + 1)):
        later = heard(later, 7, night.seen_at + hour * HOUR)
    assert usual_pause_ms(later, None) == HOUR


def test_twice_the_usual_pause_is_silence() -> None:
    assert not is_silent(HOUR, seen_at=START, listening_since=0, now=START + 2 * HOUR)
    assert is_silent(HOUR, seen_at=START, listening_since=0, now=START + 2 * HOUR + 1)


def test_who_did_not_listen_has_heard_nothing() -> None:
    """A node that was down says nothing about its sources."""
    assert not is_silent(HOUR, seen_at=START, listening_since=START + DAY, now=START + DAY + HOUR)


@given(at=st.lists(st.integers(START, START + 40 * DAY), min_size=1, max_size=60))
def test_a_clock_that_goes_back_makes_no_pause(at: list[int]) -> None:
    """Whatever the times: bounded, counted, and seen as late as ever."""
    rhythm = None
    for time in at:
        rhythm = heard(rhythm, 7, time)
    assert rhythm is not None
    assert (rhythm.seen_at, rhythm.seen) == (max(at), len(at))
    assert 1 <= len(rhythm.pauses) <= DAYS
    assert all(0 <= pause <= max(at) - min(at) for pause in rhythm.pauses)


def test_of_two_who_listened_the_one_counts_who_heard_the_last() -> None:
    early, late = every(HOUR, 30), every(2 * HOUR, 20)
    assert latest(early, late) == latest(late, early)
    assert (latest(early, late).seen_at, latest(early, late).pauses) == (late.seen_at, late.pauses)
    assert latest(early, late).seen == 30
