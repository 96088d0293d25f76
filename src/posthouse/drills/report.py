"""What a drill found: each rule with the number that was measured and the bound that it must keep. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from posthouse.drills.recording import Recording


class Then(msgspec.Struct, frozen=True):
    """One rule and what was measured."""

    text: str
    measured: float
    relation: Literal["=", "≤", "≥"]
    bound: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the rule was kept."""
        match self.relation:
            case "=":
                return self.measured == self.bound
            case "≤":
                return self.measured <= self.bound
            case "≥":
                return self.measured >= self.bound


class Findings(msgspec.Struct, kw_only=True):
    """What a drill measured by itself."""

    then: list[Then]
    figures: dict[str, float | str] = {}  #: more numbers, which no rule bounds
    places: list[Mapping[str, Any]] = []  #: where each single thing ended, if the drill follows single things


class Report(msgspec.Struct, kw_only=True):
    """A drill that has run to its end."""

    number: str
    title: str
    scale: float
    seed: int
    seconds: float
    given: list[str]
    when: list[str]
    findings: Findings
    left_out: list[str]  #: parts that this node could not be put through, and why
    recording: Recording

    @property
    def passed(self) -> bool:
        """Whether every rule was kept, and there was one."""
        return bool(self.findings.then) and all(then.holds for then in self.findings.then)

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        recording = self.recording
        return {
            "drill": self.number,
            "title": self.title,
            "passed": self.passed,
            "scale": self.scale,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "given": self.given,
            "when": self.when,
            "then": [{**msgspec.to_builtins(then), "holds": then.holds} for then in self.findings.then],
            "figures": self.findings.figures,
            "places": self.findings.places,
            "left_out": self.left_out,
            "marks": [msgspec.to_builtins(mark) for mark in recording.marks],
            "series": {
                "at_s": [round(sample.at_s, 3) for sample in recording.samples],
                "accepted": [sample.accepted for sample in recording.samples],
                "delivered": [sample.delivered for sample in recording.samples],
                "waiting": [sample.waiting for sample in recording.samples],
            },
        }
