"""Law: an event that got 202 is delivered, whatever happens to the process."""

import os
from pathlib import Path

import kill_rig
import pytest

pytestmark = pytest.mark.rig

KILLS = int(os.environ.get("RIG_KILLS", "5"))


async def test_a_killed_node_loses_nothing_and_repeats_only_what_was_in_flight(tmp_path: Path) -> None:
    figures = await kill_rig.run(tmp_path, kills=KILLS, rate=500, seed=7)
    assert not figures.faults()
    assert figures.unanswered, "the kills have to hit requests, or they prove nothing"
