"""Law: whatever a power cut does to what was not synced, what the store acknowledged is there afterwards, entirely.

The controls must lose: a store that does not sync, and a disk that lies about it. Else nothing here cuts power.
"""

import pytest
from power_cut_rig import Figures, run

CUTS = 250


def strikes(figures: Figures, what: str) -> int:
    """How many crashes came while the store did this, or at this call."""
    return sum(count for struck, count in figures.struck.items() if what in struck)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_no_power_cut_loses_what_was_acknowledged(seed: int) -> None:
    figures = await run(cuts=CUTS, seed=seed)
    assert (figures.lost, figures.broken, figures.faults) == (0, 0, [])
    assert figures.cuts >= CUTS
    assert figures.crashes > figures.failures > 0, "processes died too, and calls on the disk failed"
    assert figures.acknowledged > CUTS
    assert figures.writes_lost > CUTS, "the cuts took something away"
    assert figures.writes_torn > 0
    assert figures.unknown_there > 0, "some came after the sync and before the answer"
    assert figures.unknown_gone > 0
    for what in ("opening", "working", "write wal", "sync wal", "write database"):
        assert strikes(figures, what) > 0, f"no crash came at {what}"


async def test_without_a_sync_for_each_commit_acknowledged_events_are_lost() -> None:
    """The control: with ``synchronous=NORMAL`` the database stays sound, and the end of the log is gone."""
    figures = await run(cuts=100, seed=5, synchronous="normal")
    assert figures.lost > 0
    assert figures.broken == 0
    assert not [fault for fault in figures.faults if "not sound" in fault]


async def test_on_a_disk_that_lies_about_syncs_acknowledged_events_are_lost() -> None:
    """The control: no software can keep the promise there."""
    figures = await run(cuts=100, seed=6, lying=True)
    assert figures.lost > 0
