"""Law: a node that has nothing to do costs next to nothing."""

import os
from pathlib import Path

import idle_rig
import pytest

pytestmark = pytest.mark.rig

SECONDS = float(os.environ.get("RIG_IDLE_SECONDS", "5"))


def test_a_node_with_a_thousand_idle_endpoints_takes_less_than_one_percent_of_a_core(tmp_path: Path) -> None:
    figures = idle_rig.run(tmp_path, endpoints=1_000, seconds=SECONDS)
    assert not figures.faults()
