"""Gaps in the numbers of a stream: noticed where a sender counts, and nowhere else."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.gaps import STEPS_MIN, Gap, Stream, advance

COUNTING = Stream(100, STEPS_MIN)


def test_the_first_number_says_nothing() -> None:
    assert advance(None, [168]) == (Stream(168), (), ())


def test_a_stream_that_does_not_count_has_no_gaps() -> None:
    """Numbers that jump from the start are no count of events."""
    stream, gaps, _ = advance(None, range(0, 1_000, 7))
    assert (stream, gaps) == (Stream(994), ())


def test_what_is_missing_has_a_name() -> None:
    assert advance(COUNTING, [103]) == (Stream(103, STEPS_MIN), (Gap(101, 102),), ())


def test_numbers_that_come_late_are_told() -> None:
    assert advance(COUNTING, [99, 101, 40]) == (Stream(101, STEPS_MIN), (), (40, 99))


@given(
    numbers=st.lists(st.integers(0, 300), min_size=1, unique=True),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_gaps_and_numbers_together_are_all_that_there_is(numbers: list[int], cuts: list[int]) -> None:
    """However they come: of a stream that counts, each number up to the greatest one came, or is missing by name."""
    stream = Stream(-1, STEPS_MIN)
    missing: set[int] = set()
    bounds = [0, *sorted(cut for cut in cuts if cut < len(numbers)), len(numbers)]
    for start, end in pairwise(bounds):
        if start == end:
            continue
        stream, gaps, late = advance(stream, numbers[start:end])
        for gap in gaps:
            missing |= set(range(gap.first, gap.last + 1))
        missing -= set(late)
    assert missing == set(range(stream.high + 1)) - set(numbers)
    assert stream.high == max(numbers)
