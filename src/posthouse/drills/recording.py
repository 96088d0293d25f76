"""What happened during a drill, over time: three lines and the marks on them. Pure."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

SAMPLES_MAX: Final = 2_000  #: above it every second one is forgotten
STEP_SECONDS: Final = 0.05  #: between two samples, at first


class Sample(NamedTuple):
    """Deliveries at one moment, as seen from outside the node."""

    at_s: float  #: since the first event was published
    accepted: int  #: owed by events whose publisher has its 202
    delivered: int  #: answered with 2xx by their receivers; repeats do not count
    waiting: int  #: acknowledged, not delivered, and not given up


class Kind(StrEnum):
    """What a mark says."""

    FAULT = "fault"  #: something was broken
    ALARM = "alarm"  #: the node noticed by itself
    RECOVERY = "recovery"  #: it works again
    NOTE = "note"  #: anything else worth knowing


class Mark(msgspec.Struct, frozen=True):
    """Something that happened at one moment, or between two."""

    at_s: float
    kind: Kind
    text: str
    until_s: float | None = None


class Recording:
    """Samples at equal steps, never more than ``SAMPLES_MAX``, and all marks."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.marks: list[Mark] = []
        self.step_s = STEP_SECONDS  #: when the next sample is wanted, after the last one

    def add(self, sample: Sample) -> None:
        """Keep a sample. When there are too many, half of them go and the step doubles."""
        self.samples.append(sample)
        if len(self.samples) > SAMPLES_MAX:
            del self.samples[1::2]
            self.step_s *= 2

    def mark(self, at_s: float, kind: Kind, text: str, *, until_s: float | None = None) -> None:
        """Keep a mark."""
        self.marks.append(Mark(at_s, kind, text, until_s))

    @property
    def seconds(self) -> float:
        """Until when anything is known, since the first event was published."""
        ends = [mark.at_s if mark.until_s is None else mark.until_s for mark in self.marks]
        return max([*ends, *(sample.at_s for sample in self.samples[-1:])], default=0.0)
