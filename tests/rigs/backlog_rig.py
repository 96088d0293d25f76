"""Start a node that finds a huge backlog of a dead endpoint: how soon is a healthy endpoint served, in what memory?

Usage: ``python tests/rigs/backlog_rig.py --deliveries 1000000``, and with ``--postgres`` on a database.
"""

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rig_node import POLL_SECONDS, RigNode, rig_node

from posthouse.core.ids import ENDPOINT, EVENT, make_id, next_key, parse_id
from posthouse.core.model import Environment, Event, Lane
from posthouse.store.open import open_store
from posthouse.store.protocol import AcceptRequest, NewEvent
from posthouse.system import SystemClock
from posthouse.testing.postgres.durable import durable_server
from posthouse.testing.receiver import Answer, Received, Receiver

FIRST_SECONDS_MAX = 5.0
MEMORY_MB_MAX = 300.0
HEALTHY_WAITING = 100  #: deliveries of the healthy endpoint behind all those of the dead one
HEALTHY_FRESH = 50  #: events published to it while the node works through the backlog
OBSERVED_SECONDS = 5.0
DELIVERY_SECONDS_MAX = 30.0
_BATCH = 1_000
_DATA = b'{"sequence":%d,"object":"invoice","note":"' + b"Thank you for your order. " * 13 + b'"}'  # about 400 bytes


class Figures(msgspec.Struct, frozen=True):
    """What came of it. Seconds count from the start of the process."""

    deliveries: int
    fill_seconds: float
    store_mb: float  #: size of what holds it all, logs included
    listening_seconds: float
    first_waiting_seconds: float  #: a delivery of the healthy endpoint that waited from before
    first_fresh_seconds: float  #: a delivery of an event that was published after the start
    fresh_p50_ms: float  #: publish → delivered, next to the backlog
    fresh_max_ms: float
    dead_attempts_seen: int  #: deliveries of the dead endpoint that were attempted meanwhile
    memory_mb: float
    memory_peak_mb: float
    healthy_delivered: int
    healthy_expected: int
    imbalance: int

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        found = [
            f"{name} is {getattr(self, name)}, more than {FIRST_SECONDS_MAX}"
            for name in ("first_waiting_seconds", "first_fresh_seconds")
            if getattr(self, name) > FIRST_SECONDS_MAX
        ]
        if self.memory_peak_mb > MEMORY_MB_MAX:
            found.append(f"memory_peak_mb is {self.memory_peak_mb}, more than {MEMORY_MB_MAX}")
        if self.healthy_delivered != self.healthy_expected:
            found.append(f"{self.healthy_delivered} of {self.healthy_expected} healthy deliveries arrived")
        if self.imbalance:
            found.append(f"imbalance is {self.imbalance}")
        return found


class Arrivals:
    """When each delivery of the healthy endpoint arrived, by event id."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._more = asyncio.Event()

    def delivered(self, request: Received) -> Answer:
        """Note one delivery."""
        self.at.setdefault(request.header("webhook-id") or "", time.monotonic())
        self._more.set()
        return Answer()

    async def of(self, event: str) -> float:
        """The time at which ``event`` arrived, once it has."""
        async with asyncio.timeout(DELIVERY_SECONDS_MAX):
            while event not in self.at:
                self._more.clear()
                await self._more.wait()
        return self.at[event]


async def run(folder: Path, *, deliveries: int, database: str | None = None) -> Figures:
    """Run the rig with its files in ``folder``, or with its store in an empty ``database``."""
    arrivals = Arrivals()
    options = () if database is None else ("--database", database)
    with rig_node(folder, options=options) as node, socket.socket() as reserved:
        # Bound and not listening: every connection is refused, and nobody else gets the port.
        reserved.bind(("127.0.0.1", 0))
        dead_url = f"http://127.0.0.1:{reserved.getsockname()[1]}/dead"
        async with Receiver(arrivals.delivered) as receiver:
            await asyncio.to_thread(node.start)
            dead = await asyncio.to_thread(node.add_endpoint, dead_url, ["dead"])
            healthy = await asyncio.to_thread(node.add_endpoint, receiver.url, ["healthy"])
            await asyncio.to_thread(node.stop)
            started = time.monotonic()
            place = database or node.data
            waiting = await fill(place, dead=_key(dead["id"]), healthy=_key(healthy["id"]), deliveries=deliveries)
            fill_seconds = time.monotonic() - started
            store_mb = await _size_mb(place)
            figures = await _measure(node, arrivals, waiting, deliveries=deliveries)
            return msgspec.structs.replace(figures, fill_seconds=round(fill_seconds, 1), store_mb=store_mb)


async def _measure(node: RigNode, arrivals: Arrivals, waiting: Sequence[str], *, deliveries: int) -> Figures:
    started = time.monotonic()
    node.spawn()
    first_waiting = asyncio.create_task(arrivals.of(waiting[0]))
    await asyncio.to_thread(node.wait_until_listening)
    listening = time.monotonic()
    fresh: list[float] = []
    first_fresh = 0.0
    with node.client() as client:
        for _ in range(HEALTHY_FRESH):
            published = time.monotonic()
            answer = await asyncio.to_thread(client.post, "/v1/events", {"type": "healthy", "data": {}})
            arrived = await arrivals.of(answer["id"])
            first_fresh = first_fresh or arrived
            fresh.append((arrived - published) * 1_000)
            await asyncio.to_thread(node.live_for, POLL_SECONDS)
        for event in waiting:
            await arrivals.of(event)
        await asyncio.to_thread(node.live_for, max(0.0, started + OBSERVED_SECONDS - time.monotonic()))
        memory, peak = node.memory_mb("VmRSS"), node.memory_mb("VmHWM")
        books = await asyncio.to_thread(node.books)
    return Figures(
        deliveries=deliveries,
        fill_seconds=0.0,
        store_mb=0.0,
        listening_seconds=round(listening - started, 2),
        first_waiting_seconds=round(await first_waiting - started, 2),
        first_fresh_seconds=round(first_fresh - started, 2),
        fresh_p50_ms=round(sorted(fresh)[len(fresh) // 2], 1),
        fresh_max_ms=round(max(fresh), 1),
        dead_attempts_seen=books.retrying,
        memory_mb=round(memory, 1),
        memory_peak_mb=round(max(peak, node.memory_mb("VmHWM")), 1),
        healthy_delivered=books.delivered,
        healthy_expected=HEALTHY_WAITING + HEALTHY_FRESH,
        imbalance=books.imbalance,
    )


async def fill(place: Path | str, *, dead: int, healthy: int, deliveries: int) -> list[str]:
    """Put the backlog into the store of a node that does not run; the ids of the healthy endpoint's events."""
    clock = SystemClock()
    store = await open_store(place, clock=clock)
    try:
        version = (await store.catalogue.load()).version
        key = await store.admin.key_floor()
        owed = [(dead, "dead")] * deliveries + [(healthy, "healthy")] * HEALTHY_WAITING
        waiting: list[str] = []
        for start in range(0, len(owed), _BATCH):
            now = clock.now_ms()
            events = []
            for number, (endpoint, event_type) in enumerate(owed[start : start + _BATCH], start):
                key = next_key(key, now, 1)
                event = Event(
                    key=key,
                    id=make_id(EVENT, key),
                    environment=Environment.LIVE,
                    tenant="default",
                    type=event_type,
                    accepted_at=now,
                    data=_DATA % number,
                )
                events.append(NewEvent(event, (endpoint,), Lane.LIVE))
                if endpoint == healthy:
                    waiting.append(event.id)
            (result,) = await store.intake.accept([AcceptRequest(tuple(events), version)])
            assert isinstance(result, tuple), result
        return waiting
    finally:
        await store.close()


async def _size_mb(place: Path | str) -> float:
    store = await open_store(place, clock=SystemClock())
    try:
        stats = await store.admin.stats()
    finally:
        await store.close()
    return round((stats.bytes_used + stats.bytes_wal) / 1e6)


@contextmanager
def _database(*, wanted: bool) -> Iterator[str | None]:
    """The address of an empty database on a server that keeps what it acknowledged, if it is wanted."""
    if not wanted:
        yield None
        return
    with durable_server() as (cluster, database):
        yield cluster.dsn(database)


def _key(endpoint: str) -> int:
    key = parse_id(ENDPOINT, endpoint)
    assert key is not None
    return key


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true", help="keep the store in a PostgreSQL database")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-backlog-") as folder,
        _database(wanted=options.postgres) as database,
    ):
        figures = asyncio.run(run(Path(folder), deliveries=options.deliveries, database=database))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
