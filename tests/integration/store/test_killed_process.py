"""A real process, killed at any instant: what it acknowledged is there, and its lock is not."""

import asyncio
import sys
from pathlib import Path

import pytest

from posthouse.core.errors import StoreInUse
from posthouse.core.model import Environment, Lane
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery
from posthouse.testing.manual_clock import ManualClock

PUBLISHER = """
import asyncio, sys
from pathlib import Path

from posthouse.store.open import open_store
from posthouse.testing.conformance import Scene
from posthouse.testing.conformance.values import NOW, Values
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.seizing import seize

async def publish(scene):
    while True:
        new = scene.values.new_event(7, 8, data=b"x" * 700)
        (accepted,) = await scene.accept(new, version=0)
        print(accepted.key, flush=True)
        work = (await scene.queue(7, limit=4)).work
        await scene.store.work.settle([scene.outcome(w.obligation) for w in work])

async def main():
    store = await open_store(sys.argv[1], clock=ManualClock(), commit_interval_ms=1)
    life = int(sys.argv[2])
    epochs = dict((await seize(store.ownership, f"node-{life}", now=NOW)).epochs)
    values = Values()
    values.key(NOW + 1_000 * life)  # keys of this life are greater than those of the one before
    scene = Scene(store, f"node-{life}", epochs, values)
    await asyncio.gather(*(publish(scene) for _ in range(8)))

asyncio.run(main())
"""


async def acknowledged_until_killed(directory: Path, life: int, count: int) -> set[int]:
    """Keys that a process printed after its commits, until it was killed after ``count`` of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PUBLISHER, str(directory), str(life), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    keys = {int(await process.stdout.readline()) for _ in range(count)}
    with pytest.raises(StoreInUse, match=str(process.pid)):
        await open_store(directory, clock=ManualClock())
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return keys | {int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")}


async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Killed in the middle of commits, several lives on one directory; the books balance each time."""
    acknowledged: set[int] = set()
    for life, count in enumerate((40, 173, 301), 1):
        acknowledged |= await acknowledged_until_killed(tmp_path, life, count)
        store = await open_store(tmp_path, clock=ManualClock())
        records = await store.ledger.events(EventQuery(environment=Environment.LIVE, limit=1_000_000))
        stored = {record.event.key for record in records}
        assert acknowledged <= stored
        books = await store.ledger.audit(Environment.LIVE)
        assert sum(b.owed for b in books) == 2 * len(stored)
        assert sum(b.delivered + b.waiting for b in books) == 2 * len(stored)
        assert {
            w.event.data for w in (await store.work.fetch(8, Lane.LIVE, now=1 << 60, limit=9, bytes_max=1 << 20)).work
        } == {b"x" * 700}
        await store.close()
