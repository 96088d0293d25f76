"""Kill an application and a gateway over and over: what is published in the end is what was committed.

Usage: ``python tests/rigs/outbox_rig.py --kills 100 --place elsewhere``
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import asyncpg
import msgspec
from outbox_shop import TABLES
from rig_node import SERVE, RigNode, rig_node

from posthouse.core.model import Environment
from posthouse.sdk.outbox import outbox_schema
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery
from posthouse.system import SystemClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import administer

HERE = Path(__file__).parent
PLACES = ("store", "elsewhere")
LIFE_SECONDS = (0.2, 2.2)  #: between two kills
APPLICATIONS_KILLED = 0.4  #: of all kills; the others are gateways
DRAIN_SECONDS_MAX = 60.0
_PAGE = 500


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    place: str
    applications_killed: int
    gateways_killed: int
    tried: int  #: sales that began
    committed: int  #: sales whose transaction committed
    events: int  #: that they published
    waited: int  #: kills at which events waited in the outbox
    lost: int  #: events of committed sales that are not in the store
    doubled: int
    invented: int  #: events of sales that did not commit, or of savepoints that were rolled back
    inverted: int  #: events before one that their transaction or one before it had published
    doubted: int
    left: int  #: rows that still stand in the outbox

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        laws = ("lost", "doubled", "invented", "inverted", "doubted", "left")
        found = [f"{name} is {getattr(self, name)}, not 0" for name in laws if getattr(self, name)]
        if not self.tried > self.committed > 0:
            found.append("nothing was committed, or nothing was rolled back")
        if not self.waited:
            found.append("nothing ever waited: the kills met no load")
        return found


class Shop:
    """The application's process, one life after the other."""

    def __init__(self, dsn: str, chance: Random) -> None:
        self._dsn = dsn
        self._chance = chance
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to sell."""
        command = [sys.executable, str(HERE / "outbox_shop.py"), self._dsn, str(self._chance.getrandbits(32))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it at this instant."""
        assert self._process is not None
        assert self._process.poll() is None, "the application ended by itself"
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def a_server() -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it says."""
    cluster = Cluster.start(durable=True)
    try:
        yield cluster
    finally:
        cluster.stop()


async def run(folder: Path, *, kills: int, place: str, seed: int) -> Figures:
    """Run the rig with its files in ``folder``; the outbox stands in the database of the store, or elsewhere."""
    chance = Random(seed)
    with a_server() as cluster:
        await administer(cluster, "CREATE DATABASE shop")
        dsn = cluster.dsn("shop")
        own = ("--database" if place == "store" else "--outbox", dsn)
        program = (*SERVE, *own)
        looker = await asyncpg.connect(dsn)
        with rig_node(folder, program) as node:
            if place == "elsewhere":
                await looker.execute(outbox_schema())
            await looker.execute(TABLES)
            await asyncio.to_thread(node.start)  # a store has the tables of its own outbox
            shop = Shop(dsn, chance)
            try:
                killed, waited = await _kill(node, shop, looker, chance, kills)
            finally:
                shop.close()
            await _drained(looker)
            await asyncio.to_thread(node.stop)
        found = await _compare(looker, dsn if place == "store" else node.data)
        figures = Figures(
            place=place,
            applications_killed=killed["application"],
            gateways_killed=killed["gateway"],
            tried=await looker.fetchval("SELECT count(*) FROM tried"),
            waited=waited,
            doubted=await looker.fetchval("SELECT count(*) FROM posthouse.posthouse_outbox_v1_doubts"),
            left=await looker.fetchval("SELECT count(*) FROM posthouse.posthouse_outbox_v1"),
            **found._asdict(),
        )
        await looker.close()
    return figures


async def _kill(node: RigNode, shop: Shop, looker: Any, chance: Random, kills: int) -> tuple[Counter[str], int]:
    """Kill one or the other; how often each, and at how many kills something waited."""
    killed: Counter[str] = Counter()
    waited = 0
    shop.start()
    for _ in range(kills):
        await asyncio.to_thread(node.live_for, chance.uniform(*LIFE_SECONDS))
        if chance.random() < APPLICATIONS_KILLED:
            shop.kill()
            shop.start()
            killed["application"] += 1
        else:
            node.kill()
            waited += await looker.fetchval("SELECT EXISTS (SELECT FROM posthouse.posthouse_outbox_v1)")
            node.spawn()  # and it may be killed before it listens
            killed["gateway"] += 1
    shop.kill()
    await asyncio.to_thread(node.wait_until_listening)
    return killed, waited


async def _drained(looker: Any) -> None:
    """Wait until no more of the application's transactions are open and nothing waits, or for long enough."""
    until = time.monotonic() + DRAIN_SECONDS_MAX
    while time.monotonic() < until:
        waits = await looker.fetchval(
            "SELECT EXISTS (SELECT FROM posthouse.posthouse_outbox_v1) OR EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = '' AND pid <> pg_backend_pid())"
        )
        if not waits:
            return
        await looker.execute("SELECT pg_sleep(0.05)")


class Found(NamedTuple):
    """How what was published differs from what was committed."""

    committed: int
    events: int
    lost: int
    doubled: int
    invented: int
    inverted: int


async def _compare(looker: Any, place: str | Path) -> Found:
    """Compare the application's table with the events of the store, which no node has open."""
    sales = await looker.fetch("SELECT id, chain, place, events FROM sales")
    wanted = {(sale["id"], position) for sale in sales for position in range(sale["events"])}
    published: Counter[tuple[str, int]] = Counter()
    last: dict[int, tuple[int, int]] = {}
    inverted = 0
    for data in await _events(place):
        published[data["sale"], data["position"]] += 1
        here = (data["place"], data["position"])
        inverted += here < last.get(data["chain"], (0, 0))
        last[data["chain"]] = here
    return Found(
        committed=len(sales),
        events=published.total(),
        lost=len(wanted - published.keys()),
        doubled=sum(count > 1 for count in published.values()),
        invented=len(published.keys() - wanted),
        inverted=inverted,
    )


async def _events(place: str | Path) -> list[dict[str, Any]]:
    """The data of all events, oldest first."""
    store = await open_store(place, clock=SystemClock())
    found: list[dict[str, Any]] = []
    after: int | None = None
    while page := await store.ledger.events(EventQuery(environment=Environment.LIVE, after=after, limit=_PAGE)):
        after = page[-1].event.key
        found += [json.loads(record.event.data) for record in page]
    await store.close()
    return found[::-1]


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--place", choices=PLACES, default="elsewhere")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="posthouse-outbox-") as folder:
        figures = asyncio.run(run(Path(folder), kills=options.kills, place=options.place, seed=options.seed))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
