"""Rules and verdicts."""

import json

import pytest

from posthouse.drills.recording import Kind, Recording, Sample
from posthouse.drills.report import Findings, Report, Then


def report(*then: Then) -> Report:
    recording = Recording()
    recording.add(Sample(0.05, 3, 2, 1))
    recording.mark(0.01, Kind.FAULT, "kill")
    return Report(
        number="D99",
        title="A drill",
        scale=0.5,
        seed=7,
        seconds=1.234,
        given=["a node"],
        when=["a kill"],
        findings=Findings(then=list(then), figures={"events": 3}),
        left_out=[],
        recording=recording,
    )


@pytest.mark.parametrize(
    ("relation", "holding", "broken"), [("=", [3], [2, 4]), ("≤", [2, 3], [3.1]), ("≥", [3, 4], [2.9])]
)
def test_a_rule_compares(relation: str, holding: list[float], broken: list[float]) -> None:
    rules = [Then("x", measured, relation, 3) for measured in (*holding, *broken)]  # type: ignore[arg-type]
    assert [rule.holds for rule in rules] == [True] * len(holding) + [False] * len(broken)


def test_one_broken_rule_fails_the_drill_and_so_does_none_at_all() -> None:
    good, bad = Then("x", 0, "=", 0), Then("y", 1, "=", 0)
    assert report(good, good).passed
    assert not report(good, bad).passed
    assert not report().passed


def test_the_document_is_whole() -> None:
    document = json.loads(json.dumps(report(Then("lost", 0, "=", 0, "s")).document()))
    assert document["passed"] is True
    assert document["then"] == [
        {"text": "lost", "measured": 0, "relation": "=", "bound": 0, "unit": "s", "holds": True}
    ]
    assert document["series"] == {"at_s": [0.05], "accepted": [3], "delivered": [2], "waiting": [1]}
    assert document["marks"] == [{"at_s": 0.01, "kind": "fault", "text": "kill", "until_s": None}]
    assert (document["drill"], document["scale"], document["seed"]) == ("D99", 0.5, 7)
