"""Law: a move that is killed again and again ends with every row, and at no time could nodes run on both places."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreMoved
from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.postgres.carrier import PostgresCarrier
from posthouse.store.shared.moving import compare
from posthouse.store.shared.telling import tell_nobody
from posthouse.store.sqlite.carrier import SqliteCarrier
from posthouse.system import SystemClock
from posthouse.testing.conformance import Stores
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import administer

pytestmark = pytest.mark.rig

KILLS = int(os.environ.get("RIG_MOVE_KILLS", "6"))
EVENTS = 6_000
COMMAND_SECONDS_MAX = 300.0


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Cluster]:
    """One that keeps what it says; the fixture of the session says whether there can be one."""
    found = Cluster.start(durable=True)
    yield found
    found.stop()


async def fill(folder: Path) -> None:
    """Deliveries in every state, of many events."""
    stores = Stores(lambda: open_store(folder, clock=ManualClock(), commit_interval_ms=0))
    scene = await stores.open()
    for start in range(0, EVENTS, 500):
        await scene.accept(*(scene.values.new_event(3) for _ in range(500)))
        work = (await scene.queue(3, limit=400)).work
        states = (State.DELIVERED, State.RETRYING, State.EXHAUSTED)
        await scene.store.work.settle(
            [scene.outcome(w.obligation, states[(start + n) % 3]) for n, w in enumerate(work)]
        )
    await stores.close()


async def starts(place: Path | str) -> bool:
    """Whether a node could run there."""
    try:
        store = await open_store(place, clock=SystemClock())
    except StoreMoved:
        return False
    books = await store.ledger.audit(Environment.LIVE)
    await store.close()
    return bool(books)


async def test_a_killed_move_goes_on_and_ends_with_every_row(server: Cluster, tmp_path: Path) -> None:
    await administer(server, "CREATE DATABASE there")
    await fill(tmp_path / "data")
    dsn, chance = server.dsn("there"), Random(7)
    command = [sys.executable, "-m", "posthouse", "migrate", "--json", "--from", str(tmp_path / "data"), "--to", dsn]
    began = time.monotonic()
    await asyncio.to_thread(subprocess.run, [*command], check=True, stdout=subprocess.DEVNULL)
    once = time.monotonic() - began
    killed = 0
    for _ in range(KILLS):
        mover: Any = subprocess.Popen([*command, "--final"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - it is killed
        try:
            await asyncio.to_thread(mover.wait, chance.uniform(0.2, 0.9) * once)
            break  # it was quicker
        except subprocess.TimeoutExpired:
            mover.kill()
            mover.wait()
            killed += 1
        assert not (await starts(tmp_path / "data") and await starts(dsn))
    if await starts(tmp_path / "data") or not await starts(dsn):
        await asyncio.to_thread(
            subprocess.run, [*command, "--final"], check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS_MAX
        )
    assert [await starts(tmp_path / "data"), await starts(dsn)] == [False, True]
    source, target = SqliteCarrier.source(tmp_path / "data"), await PostgresCarrier.source(dsn)
    tally = await compare(source, target, tell_nobody)
    assert (tally.owed, tally.imbalance) == (EVENTS, 0)
    assert killed, "every move was quicker than its kill"
    await source.close()
    await target.close()
