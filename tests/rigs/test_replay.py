"""Law: a bulk job that replays everything ends with exact counts, however often the process is killed meanwhile."""

import os
from pathlib import Path

import pytest
import replay_rig

pytestmark = pytest.mark.rig

DELIVERIES = int(os.environ.get("RIG_REPLAYED", "8000"))


async def test_a_replay_survives_kills_and_opens_every_delivery_exactly_once(tmp_path: Path) -> None:
    figures = await replay_rig.run(tmp_path, deliveries=DELIVERIES, kills=2, seed=7)
    assert not figures.faults()
