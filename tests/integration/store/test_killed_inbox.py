"""A real process, killed while requests come in: what it answered is kept, and each request is in one place."""

import asyncio
import sys
from pathlib import Path

from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery, RequestQuery
from posthouse.testing.conformance import Scene
from posthouse.testing.conformance.values import NOW, SOURCE, Values
from posthouse.testing.manual_clock import ManualClock

#: Every third event has come before, in this life or in an earlier one.
RECEIVER = """
import asyncio, sys
from pathlib import Path

from posthouse.core.inbound import Objection
from posthouse.store.open import open_store
from posthouse.testing.conformance import Scene
from posthouse.testing.conformance.values import NOW, Values
from posthouse.testing.manual_clock import ManualClock

life = int(sys.argv[2])

async def receive(scene, lane):
    for n in range(1_000_000):
        refused = Objection.BAD_SIGNATURE if n % 5 == 4 else None
        request = await scene.take(body=b"x" * 700, objection=refused)
        print(request.key, flush=True)
        if refused is None:
            name = f"{lane}" if n % 3 == 0 else f"{life}.{lane}.{n}"
            await scene.pass_on(scene.reading(request, scene.values.read_event(name, 7, 8)))

async def main():
    store = await open_store(sys.argv[1], clock=ManualClock(), commit_interval_ms=1)
    values = Values()
    values.key(NOW + 1_000 * life)  # keys of this life are greater than those of the one before
    scene = Scene(store, f"node-{life}", {}, values)
    for item in (await scene.inbox()).items:
        await scene.pass_on(scene.reading(item, values.read_event(f"late{item.request.key}", 7, 8)))
    await asyncio.gather(*(receive(scene, lane) for lane in range(8)))

asyncio.run(main())
"""


async def answered_until_killed(directory: Path, life: int, count: int) -> set[int]:
    """Keys of requests that a process could answer, until it was killed after ``count`` of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RECEIVER, str(directory), str(life), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    keys = {int(await process.stdout.readline()) for _ in range(count)}
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return keys | {int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")}


async def test_nothing_answered_is_lost_and_nothing_is_passed_on_twice(tmp_path: Path) -> None:
    """Several lives on one directory."""
    answered: set[int] = set()
    for life, count in enumerate((40, 173, 301), 1):
        answered |= await answered_until_killed(tmp_path, life, count)
        store = await open_store(tmp_path, clock=ManualClock())
        scene = Scene(store, "", {}, Values())
        records = await store.inbound.requests(RequestQuery(environment=Environment.LIVE, limit=1_000_000))
        assert answered <= {record.request.key for record in records}
        books = await scene.source_books()
        assert books.received == len(records)
        assert len((await scene.inbox(limit=1_000)).items) == books.waiting
        events = await store.ledger.events(EventQuery(environment=Environment.LIVE, limit=1_000_000))
        assert (len(events), books.read) == (books.events, books.events + books.duplicates)
        assert sum(b.owed for b in await store.ledger.audit(Environment.LIVE)) == 2 * books.events
        refused = await store.inbound.quarantined_bytes()
        assert refused == {SOURCE: 700 * books.quarantined}
        assert await store.inbound.restore_dedupe(now=NOW, limit=1)
        await store.close()
