"""Law: the primary of the database may be lost with its disk, and nothing that was acknowledged is."""

import os

import pytest
from failover_rig import run

pytestmark = [pytest.mark.rig, pytest.mark.timeout(600)]

FAILOVERS_HERE = int(os.environ.get("RIG_FAILOVERS", "5"))
BACK_S_MAX = 30.0


async def test_lost_primaries_take_nothing_along() -> None:
    found = await run(FAILOVERS_HERE)
    assert found.unanswered > 0, "nobody noticed"
    assert (found.missing, found.doubled, found.unsettled, found.imbalance) == (0, 0, 0, 0)
    assert max(found.back_s) < BACK_S_MAX


async def test_without_waiting_for_standbys_something_is_lost() -> None:
    """So the rig would notice."""
    found = await run(1, waiting=False)
    assert found.missing > 0
