"""Law: an event that got 202 is on disk and is delivered, whatever happens to the process: drill D15, short."""

import os

import pytest

from posthouse.drills.index import play
from posthouse.drills.kills import KILLS, Kills
from posthouse.drills.plan import Plan

pytestmark = [pytest.mark.rig, pytest.mark.timeout(600)]

KILLS_HERE = int(os.environ.get("RIG_KILLS", "5"))


def test_a_killed_node_loses_nothing_and_repeats_only_what_was_in_flight() -> None:
    report = play(Kills(Plan(scale=KILLS_HERE / KILLS, seed=7)), lambda _look: None)
    assert report.passed, [then for then in report.findings.then if not then.holds]
