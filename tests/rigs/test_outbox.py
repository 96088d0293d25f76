"""Law: what an application committed is published once, and nothing else, whoever is killed and whenever."""

import os
from pathlib import Path

import outbox_rig
import pytest

pytestmark = pytest.mark.rig

KILLS = int(os.environ.get("RIG_OUTBOX_KILLS", "10"))


@pytest.mark.parametrize("place", outbox_rig.PLACES)
async def test_what_is_published_is_what_was_committed(tmp_path: Path, place: str) -> None:
    figures = await outbox_rig.run(tmp_path, kills=KILLS, place=place, seed=7)
    assert figures.faults() == []
