"""Law: a request that got its 2xx is on disk, and its event is passed on once, whenever the process is killed."""

import os
from pathlib import Path

import pytest
import received_rig

pytestmark = pytest.mark.rig

KILLS = int(os.environ.get("RIG_RECEIVED_KILLS", "4"))


async def test_what_a_sender_was_told_is_taken_survives_every_kill_and_is_passed_on_once(tmp_path: Path) -> None:
    figures = await received_rig.run(tmp_path, kills=KILLS, rate=300.0, seed=7)
    assert figures.faults() == []
