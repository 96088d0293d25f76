"""What an event costs a PostgreSQL: bytes of its rows and of the write-ahead log, statements' CPU, by batch size.

One delivery an event, delivered at the first attempt, unless it says otherwise. Counts and CPU times, no wall times:
what else the machine does changes little. ``failed`` is one more attempt that fails and is to be repeated; ``to_four``:
an event is owed to four endpoints; ``thin``: no endpoint gets two events.

Run: ``python bench/footprint.py [--events 60000] [--json PATH]``
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import machine
import msgspec
import uvloop
from store_cycle import DATA, Load, SystemClock

from posthouse.core.delivery import State
from posthouse.store.open import open_store
from posthouse.store.protocol import AcceptRequest, Settled, Settlement, Store
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect
from posthouse.testing.seizing import seize

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BATCHES = (1, 8, 64, 256)
ENDPOINTS = 2_000
BATCH = 64  #: where one is enough
LONG = b'{"id": "' + b"x" * 2_038 + b'"}'  # 2 KiB
_SERVER = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "wal_level": "replica"}
_TICKS = os.sysconf("SC_CLK_TCK")

_WAL = "SELECT wal_records AS records, wal_fpi AS page_images FROM pg_stat_wal"
_WRITTEN = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
#: Every table with its days, and its rows: the bytes of the rows, and of the indexes.
_SIZES = """
    SELECT COALESCE(parent.relname, t.relname) AS name, sum(pg_table_size(t.oid))::bigint AS heap,
           sum(pg_indexes_size(t.oid))::bigint AS indexes
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = 'posthouse'
    LEFT JOIN pg_inherits i ON i.inhrelid = t.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
    WHERE t.relkind = 'r' GROUP BY 1
"""


class Case(msgspec.Struct, frozen=True):
    """A way to write."""

    batch: int = BATCH
    data: bytes = DATA
    endpoints: int = ENDPOINTS
    fan_out: int = 1
    identities: bool = False
    fails: bool = False


class Cost(msgspec.Struct, frozen=True):
    """What one event costs, of one way to write."""

    batch: int  #: events in a statement
    wal_bytes: float  #: of all that its statements write, commits included
    wal_records: float
    page_images: float  #: pages that are written whole, the first time after a checkpoint
    server_cpu_us: float  #: user and system time of all processes of the server
    node_cpu_us: float  #: of the process that asks: the store's part of a node
    commits: float


class Rows(msgspec.Struct, frozen=True):
    """Bytes on disk for an event of what stays, and of one that is open."""

    heap: dict[str, float]
    indexes: dict[str, float]

    @property
    def total(self) -> float:
        """Rows and indexes of all tables."""
        return sum(self.heap.values()) + sum(self.indexes.values())


class Footprint(msgspec.Struct, frozen=True):
    """All that was measured."""

    date: str
    machine: dict[str, object]
    server: str
    events: int
    costs: dict[str, list[Cost]]
    rows: dict[str, Rows]


class Server:
    """A PostgreSQL with counters."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._postmaster = int((cluster.socket / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])

    async def query(self, statement: str) -> list[Mapping[str, object]]:
        """What a statement answers, from a connection of its own."""
        connection = await connect(self.cluster)
        try:
            return [dict(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, those that ended included."""
        while True:
            pid = self._postmaster
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
            try:
                ticks = sum(sum(_stat(int(child))[:2]) for child in children)
            except FileNotFoundError:  # one has ended meanwhile: the postmaster counts it now
                continue
            return (ticks + sum(_stat(pid))) / _TICKS

    async def written(self) -> float:
        """Bytes of the write-ahead log, exact at this moment."""
        [row] = await self.query(_WRITTEN)
        return float(str(row["bytes"]))

    async def counters(self) -> dict[str, float]:
        """The counters as sessions told them: all of them when they ended, else up to a second late."""
        [wal] = await self.query(_WAL)
        [commits] = await self.query(_COMMITS)
        return {name: float(str(value)) for name, value in {**wal, **commits}.items()}

    async def sizes(self) -> Rows:
        """Bytes of every table."""
        rows = await self.query(_SIZES)
        return Rows(
            heap={str(row["name"]): float(str(row["heap"])) for row in rows},
            indexes={str(row["name"]): float(str(row["indexes"])) for row in rows},
        )


def _stat(pid: int) -> tuple[int, int, int, int]:
    """Ticks: user, system, and both of the children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]), int(fields[12]), int(fields[13]), int(fields[14])


@contextmanager
def _server() -> Iterator[Server]:
    cluster = Cluster.start(durable=True, **_SERVER)
    try:
        yield Server(cluster)
    finally:
        cluster.stop()


@asynccontextmanager
async def _stocked(server: Server, case: Case) -> AsyncIterator[tuple[Store, Load]]:
    """A store, and what makes events for it."""
    store = await open_store(server.cluster.dsn("postgres"), clock=SystemClock(), commit_interval_ms=0)
    try:
        await seize(store.ownership, "bench", now=0)
        epochs = {slot: epoch for slot, (_owner, epoch, _until) in (await store.ownership.owners()).items()}
        load = Load(epochs, case.endpoints, identities=case.identities, data=case.data, fan_out=case.fan_out)
        yield store, load
    finally:
        await store.close()


async def _cycle(store: Store, batches: Sequence[Sequence[AcceptRequest]], load: Load) -> float:
    """Accept each batch, and settle the one before meanwhile; CPU seconds of this process."""
    outcomes = [load.outcomes(batch) for batch in batches]
    cpu = time.process_time()
    await store.intake.accept(batches[0])
    for batch, before in zip(batches[1:], outcomes[:-1], strict=True):
        _, settled = await asyncio.gather(store.intake.accept(batch), store.work.settle(before))
        assert settled == Settled()
    await store.work.settle(outcomes[-1])
    return time.process_time() - cpu


async def _failing(store: Store, batches: Sequence[Sequence[AcceptRequest]], load: Load) -> float:
    """One attempt of each fails; CPU seconds of this process."""
    cpu = time.process_time()
    for batch in batches:
        assert await store.work.settle([_failed(one) for one in load.outcomes(batch)]) == Settled()
    return time.process_time() - cpu


def _failed(one: Settlement) -> Settlement:
    attempt = msgspec.structs.replace(one.attempt, outcome="http_status", status=503) if one.attempt else None
    return msgspec.structs.replace(one, attempt=attempt, state=State.RETRYING, due_at=one.obligation.due_at + 15_000)


CASES = (
    *(("delivered", Case(batch=batch)) for batch in BATCHES),
    ("failed", Case(fails=True)),
    ("delivered_2k", Case(data=LONG)),
    ("delivered_with_id", Case(identities=True)),
    ("to_four", Case(fan_out=4)),
    ("thin", Case(endpoints=200_000)),
)


async def _measure(events: int) -> tuple[dict[str, list[Cost]], dict[str, Rows], str]:
    costs: dict[str, list[Cost]] = {}
    rows: dict[str, Rows] = {}
    version = ""
    for name, case in CASES:
        with _server() as server:
            version = str((await server.query("SHOW server_version"))[0]["server_version"])
            cost, kept = await _one(server, case, events)
        costs.setdefault(name, []).append(cost)
        if case.batch == BATCH and not case.fails:  # what is to be repeated stays open
            rows[name] = kept
        print(f"{name:18} batch {case.batch:4}: {cost}", flush=True)
    return costs, rows, version


async def _one(server: Server, case: Case, events: int) -> tuple[Cost, Rows]:
    batch = case.batch
    count = max(events * min(batch, 64) // 64, 4_000) // batch * batch
    async with _stocked(server, case) as (store, load):
        first, second = ([load.batch(batch) for _ in range(max(2, 2_000 // batch))] for _ in range(2))
        await _cycle(store, first, load)
        batches = [load.batch(batch) for _ in range(count // batch)]
        if case.fails:
            for one in batches:
                await store.intake.accept(one)
        await store.close()
    sizes = await server.sizes()
    await server.query("CHECKPOINT")
    async with _stocked(server, case) as (store, _):
        before = await server.counters()
        await _cycle(store, second, load)  # its sessions have planned their statements
        written, cpu = await server.written(), server.cpu_seconds()
        own = await (_failing if case.fails else _cycle)(store, batches, load)
        written, spent = await server.written() - written, server.cpu_seconds() - cpu
    after = await server.counters()
    grown = {key: (after[key] - before[key]) / (count + len(second) * batch) for key in before}
    kept = await server.sizes()
    cost = Cost(
        batch=batch,
        wal_bytes=round(written / count, 1),
        wal_records=round(grown["records"], 2),
        page_images=round(grown["page_images"], 4),
        server_cpu_us=round(spent / count * 1e6, 1),
        node_cpu_us=round(own / count * 1e6, 1),
        commits=round(grown["xact_commit"], 4),
    )
    stored = count + (len(second) * batch)
    return cost, Rows(_each(sizes.heap, kept.heap, stored), _each(sizes.indexes, kept.indexes, stored))


def _each(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """How much every table grew for an event, of those that grew by a byte or more."""
    found = {name: round((size - before.get(name, 0)) / count, 1) for name, size in after.items()}
    return {name: size for name, size in sorted(found.items()) if size >= 1}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000, help="events for batches of 64 and more")
    parser.add_argument("--json", type=Path, help="where the document goes (default: bench/results/)")
    options = parser.parse_args()
    date = datetime.now(UTC)
    with tempfile.TemporaryDirectory(dir=machine.on_disk(ROOT)) as folder:
        facts = machine.facts(Path(folder))
    costs, rows, version = uvloop.run(_measure(options.events))
    document = Footprint(f"{date:%Y-%m-%dT%H:%M:%SZ}", facts, f"PostgreSQL {version}", options.events, costs, rows)
    target = options.json or RESULTS / f"{date:%Y-%m-%dT%H%MZ}-footprint.json"
    target.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    for name, kept in rows.items():
        print(f"{name}: {kept.total:.0f} bytes an event: {kept.heap} {kept.indexes}")
    print(f"Written to {target.name}")


if __name__ == "__main__":
    main()
