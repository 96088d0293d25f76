"""Law: what a delivery costs to schedule does not depend on how many endpoints the deliveries are for."""

import os
from pathlib import Path

import pytest
import spread_rig

pytestmark = pytest.mark.rig

ENDPOINTS = int(os.environ.get("RIG_ENDPOINTS", "2000"))
NOISE = 1.5  #: short rounds are not exact


async def test_many_endpoints_with_one_event_each_cost_little_more_than_one_with_all_of_them(tmp_path: Path) -> None:
    figures = await spread_rig.run(tmp_path, endpoints=ENDPOINTS, rounds=3)
    assert not figures.faults(spread_rig.RATIO_MAX * NOISE)
