"""Law: no event is ever handled as what another one is, however requests share connections and keys come late."""

import os
from pathlib import Path

import mistyped_rig
import pytest

pytestmark = [pytest.mark.rig, pytest.mark.timeout(600)]

EVENTS = int(os.environ.get("RIG_TYPED", "2000"))


async def test_every_event_is_handled_as_what_its_own_envelope_says(tmp_path: Path) -> None:
    figures = await mistyped_rig.run(tmp_path, events=EVENTS, connections=64, seed=7)
    assert not figures.faults()
    assert max(figures.kinds.values()) - min(figures.kinds.values()) <= 1
