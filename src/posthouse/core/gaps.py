"""Numbers that a sender counts its events with: what is missing between them is a hint that something was lost.

Whether a sender counts without gaps is rarely documented, so a stream must have shown it before a gap is called one.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

STEPS_MIN: Final = 10  #: numbers that followed each other without a gap before a missing one is noticed


class Stream(msgspec.Struct, frozen=True):
    """What is known of one stream of numbers."""

    high: int  #: the greatest number so far
    steps: int = 0  #: how often a number was the next one; it stops at STEPS_MIN


class Gap(NamedTuple):
    """Numbers that are missing, both ends included."""

    first: int
    last: int


class Progress(NamedTuple):
    """What some numbers did to a stream."""

    stream: Stream
    gaps: tuple[Gap, ...]  #: that opened
    late: tuple[int, ...]  #: numbers below the greatest one: they may fill a gap


def advance(stream: Stream | None, numbers: Iterable[int]) -> Progress:
    """The stream after ``numbers`` came, in any order. None: it is new, and its first number says nothing."""
    gaps: list[Gap] = []
    late: list[int] = []
    for number in sorted(numbers):
        if stream is None:
            stream = Stream(number)
        elif number <= stream.high:
            late.append(number)
        elif number == stream.high + 1:
            stream = Stream(number, min(stream.steps + 1, STEPS_MIN))
        else:
            if stream.steps >= STEPS_MIN:
                gaps.append(Gap(stream.high + 1, number - 1))
            stream = Stream(number, stream.steps)
    assert stream is not None, "there is at least one number"
    return Progress(stream, tuple(gaps), tuple(late))
