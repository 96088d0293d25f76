"""Real processes that share an embedded store: nothing is lost, and nothing is settled twice."""

import asyncio
import sys
from pathlib import Path

import pytest

from posthouse.core.errors import StoreInUse
from posthouse.core.model import SLOTS, Environment, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery
from posthouse.testing.conformance.scene import Scene
from posthouse.testing.conformance.values import Values
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.seizing import joining

ENDPOINTS = tuple(range(1, 13))
SHARES = 3

NODE = """
import asyncio, sys

from posthouse.core.model import SLOTS, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import Settled, StaleCatalogue
from posthouse.testing.conformance.scene import Scene
from posthouse.testing.conformance.values import NOW, Values
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.seizing import joining

ENDPOINTS = tuple(range(1, 13))

async def publish(scene, count):
    version = 0
    for n in range(count):
        if n % 10 == 0:
            version = await scene.store.catalogue.put_endpoint(scene.values.endpoint())
        new = scene.values.new_event(*ENDPOINTS)
        while isinstance(result := await scene.accept(new, version=version), StaleCatalogue):
            version = result.version
        print(result[0].key, flush=True)

async def deliver(scene, ended):
    settled = 0
    while True:
        last = ended.is_set()
        page = await scene.store.work.survey(list(scene.epochs), limit=100)
        for backlog in page:
            work = (await scene.queue(backlog.endpoint_key, backlog.lane)).work
            assert await scene.store.work.settle([scene.outcome(one.obligation) for one in work]) == Settled()
            settled += len(work)
        if last and not page:
            return settled
        await asyncio.sleep(0.002)

async def main():
    directory, share, shares, count = sys.argv[1], *map(int, sys.argv[2:])
    store = await open_store(directory, clock=ManualClock(), commit_interval_ms=1, shared=True)
    ownership = store.ownership
    name = f"node-{share}"
    values = Values(number=await ownership.join(joining(name)))
    wanted = [slot for slot in range(SLOTS) if slot % shares == share]
    grant = await ownership.acquire(name, wanted=wanted)
    assert set(grant.epochs) == set(wanted), "each takes its own"
    scene = Scene(store, name, dict(grant.epochs), values)
    ended = asyncio.Event()
    delivering = asyncio.ensure_future(deliver(scene, ended))
    await asyncio.gather(*(publish(scene, count) for _ in range(4)))
    print("done", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    ended.set()
    print(await delivering, flush=True)
    await ownership.leave(name)
    await store.close()

asyncio.run(main())
"""


async def begin(directory: Path, share: int, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NODE, str(directory), str(share), str(SHARES), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def lines(process: asyncio.subprocess.Process, *, until: str = "", most: int = 1 << 30) -> list[str]:
    """What it prints, whole lines only, until one is like this or they are so many."""
    assert process.stdout is not None
    found: list[str] = []
    while len(found) < most and (line := (await process.stdout.readline()).decode()).endswith("\n"):
        if line.strip() == until:
            break
        found.append(line.strip())
    return found


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_nothing_settled_twice(tmp_path: Path) -> None:
    """One of them is killed while all accept and settle; another one takes its slots."""
    directory = tmp_path / "store"
    first, second, killed = [await begin(directory, share, 25) for share in range(SHARES)]
    accepted = await lines(killed, most=9)
    with pytest.raises(StoreInUse):
        await open_store(directory, clock=ManualClock())
    killed.kill()
    accepted += await lines(killed)
    await killed.wait()
    for process in (first, second):
        accepted += await lines(process, until="done")

    store = await open_store(directory, clock=ManualClock(), shared=True)
    ownership = store.ownership
    beats = {node.name: node.beat for node in await ownership.nodes()}
    assert set(beats) == {"node-0", "node-1", "node-2"}
    await ownership.join(joining("heir"))
    assert await ownership.bury({"node-2": beats["node-2"]}) == ["node-2"]
    grant = await ownership.acquire("heir")
    assert set(grant.epochs) == grant.unquiet == {slot for slot in range(SLOTS) if slot % SHARES == 2}
    scene = Scene(store, "heir", dict(grant.epochs), Values())
    while page := await scene.survey(list(grant.epochs)):
        for backlog in page:
            for work in (await scene.queue(backlog.endpoint_key, backlog.lane)).work:
                await scene.settle(work.obligation)
    for process in (first, second):
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert int((await lines(process))[0]) > 0
        assert await process.wait() == 0

    records = await store.ledger.events(EventQuery(environment=Environment.LIVE, limit=1_000_000))
    assert {int(key) for key in accepted} <= {record.event.key for record in records}
    books = await store.ledger.audit(Environment.LIVE)
    assert sum(b.owed for b in books) == sum(b.delivered for b in books) == len(ENDPOINTS) * len(records)
    for record in records:
        for endpoint_key in ENDPOINTS:
            attempts = await store.ledger.attempts(record.event.key, endpoint_key)
            assert [attempt.number for attempt in attempts] == [1], slot_of(endpoint_key)
    await store.close()
    await (await open_store(directory, clock=ManualClock())).close()
