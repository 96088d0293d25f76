"""What only the embedded store does about what is old."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthouse.core import ids
from posthouse.store.open import open_store
from posthouse.store.protocol import Accepted
from posthouse.store.shared.retaining import DAY_MS, DAYS, STAGES, Lap, boundary, lap_of, text_of
from posthouse.testing.conformance import Stores
from posthouse.testing.conformance.retention import KEEP_MS, OLD, old, retain
from posthouse.testing.conformance.values import NOW
from posthouse.testing.manual_clock import ManualClock


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(lambda: open_store(tmp_path / "store", clock=ManualClock(), commit_interval_ms=0))
    yield stores
    await stores.close()


async def test_an_identity_whose_event_is_gone_stands_for_nothing(stores: Stores) -> None:
    """It is still there, for a walk through all of them takes its time."""
    scene = await stores.open()
    first = scene.values.named("a", accepted_at=OLD)
    await scene.accept(first)
    while await scene.events():
        assert await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=1)
    again = scene.values.named("a", fingerprint=b"other")
    assert await scene.accept(again) == (Accepted(again.event.key, "a", 0, duplicate=False),)
    assert await scene.accept(again) == (Accepted(again.event.key, "a", 0, duplicate=True),)
    await retain(scene)
    assert await scene.accept(again) == (Accepted(again.event.key, "a", 0, duplicate=True),)


async def test_a_round_goes_on_where_it_was(stores: Stores) -> None:
    """Also in another life of the node."""
    scene = await stores.open()
    owed = [await old(scene) for _ in range(5)]
    while len(await scene.events()) == len(owed):
        await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=2)
    assert len(await scene.events()) == 3
    scene = await stores.open()
    await scene.store.admin.retain(now=NOW, keep_ms=KEEP_MS, limit=2)
    assert len(await scene.events()) == 1
    await retain(scene)
    assert await scene.total() == {"owed": 5, "delivered": 5}


def test_a_boundary_is_the_start_of_a_day() -> None:
    midnight = NOW // DAY_MS * DAY_MS
    assert boundary(now=midnight, keep_ms=DAY_MS, jobs=()) == midnight - DAY_MS
    assert boundary(now=midnight - 1, keep_ms=DAY_MS, jobs=()) == midnight - 2 * DAY_MS
    assert boundary(now=DAY_MS, keep_ms=3 * DAY_MS, jobs=()) == 0


def test_a_job_holds_what_lies_ahead_of_it() -> None:
    """From its cursor on, or from the earliest time that it selects; never more than that."""
    ahead = NOW - 10 * DAY_MS
    start = ahead // DAY_MS * DAY_MS
    for job in ((ids.first_key_at(ahead), None), (0, ahead + DAY_MS // 2), (-1, ahead + DAY_MS // 2)):
        assert boundary(now=NOW, keep_ms=DAY_MS, jobs=[job]) in {start, start + DAY_MS}
    assert boundary(now=NOW, keep_ms=DAY_MS, jobs=[(0, None)]) <= ids.EPOCH_MS
    assert boundary(now=NOW, keep_ms=20 * DAY_MS, jobs=[(0, ahead)]) == (NOW - 20 * DAY_MS) // DAY_MS * DAY_MS


def test_a_round_is_for_one_time() -> None:
    lap = Lap(5).behind().at(7, "a")
    assert lap_of(text_of(lap), 5) == lap
    assert lap_of(text_of(lap), 6) == lap_of(None, 6) == Lap(6)
    assert not Lap(5, STAGES.index(DAYS)).is_done
    assert Lap(5, STAGES.index(DAYS)).behind().is_done
