"""Law: a backup beside a node under load has everything that was acknowledged before it, and is whole."""

import os
from pathlib import Path

import backup_rig
import pytest

pytestmark = pytest.mark.rig

ROUNDS = int(os.environ.get("RIG_BACKUP_ROUNDS", "4"))


async def test_what_is_restored_has_all_that_was_acknowledged_before_the_backup(tmp_path: Path) -> None:
    figures = await backup_rig.run(tmp_path, rounds=ROUNDS, seed=7)
    assert figures.faults() == []
