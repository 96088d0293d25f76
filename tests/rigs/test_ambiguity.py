"""Law: a commit whose answer is lost is told as unknown, and whoever repeats finds out what became of it."""

import os

import ambiguity_rig
import pytest

pytestmark = pytest.mark.rig

CUTS = int(os.environ.get("RIG_CUTS", "12"))


def test_answers_that_are_lost_lose_and_double_nothing() -> None:
    report = ambiguity_rig.run(cuts=CUTS, seed=7)
    assert report.passed, [then for then in report.findings.then if not then.holds]
