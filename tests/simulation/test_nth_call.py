"""Law: whichever call on the disk fails, nothing is called a success that is none, and what is one stays."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TypeVar

import apsw
import pytest
from store_load import Load, short_log
from store_operations import Operation
from store_promise import Promise, imbalance, look

from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import SLOTS, Lane
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.store.sqlite.store import SqliteStore
from posthouse.testing.disk import Call, Disk, DiskError, Fault, FileKind, memory_folder
from posthouse.testing.manual_clock import ManualClock

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")

BATCHES = 5  #: of a life
WAL_PAGES = 30
WAL_BYTES_KEPT = 50_000


async def in_place(call: Callable[[], T], /) -> T:
    return call()


async def opened(disk: Disk) -> Store:
    return await open_store(disk.directory, clock=ManualClock(), commit_interval_ms=0, offload=in_place, vfs=disk.vfs)


class Scenario:
    """A store's whole life and the beginning of the next one, on a disk on which one call fails."""

    def __init__(self, disk: Disk, fault: Fault) -> None:
        self.promise = Promise()
        self.outcome = "unnoticed"
        self.when = "never"
        self._disk = disk
        self._fault = fault
        self.load = Load(Random(3), small=True)

    async def run(self) -> None:
        """Open, work, close, open again, work. Ends where the store fails."""
        for _ in range(2):
            try:
                store = await opened(self._disk)
            except StoreUnavailable:
                self.outcome = "not opened"
                return
            finally:
                self._note("opening")
            try:
                await self._work(store)
            finally:
                with suppress(apsw.Error):  # a fault in the last checkpoint; the log has everything
                    await store.close()
                self._note("closing")
            if store.failed.done():
                self.outcome = "failed"
                return

    async def look(self, *, durable: bool = True) -> list[str]:
        """What is wrong after a restart on a disk that is in order again; then some work, which must succeed."""
        store = await opened(self._disk)
        found, faults = look(self._disk)
        faults += self.promise.faults(found, durable=durable)
        if difference := await imbalance(store):
            faults.append(f"the books differ by {difference}")
        await self.begin(store)
        await self.play(store, self.load.batch(self.promise.rows))
        if store.failed.done():
            faults.append(store.failed.result())
        if durable:
            await store.close()
        return faults

    def _note(self, doing: str) -> None:
        if self._fault.met and self.when == "never":
            self.when = doing

    async def _work(self, store: Store) -> None:
        """Play batches and read in between, as long as the store does not fail."""
        await self.begin(store)
        for _ in range(BATCHES):
            if store.failed.done():
                with pytest.raises(StoreUnavailable):
                    await store.admin.probe(now=1)
                return
            with suppress(StoreUnavailable):
                await store.catalogue.load()
                await store.work.survey(range(SLOTS), limit=1_000)
                await store.work.fetch(3, Lane.LIVE, now=1 << 60, limit=3, bytes_max=1 << 20)
            await self.play(store, self.load.batch(self.promise.rows))

    async def begin(self, store: Store) -> None:
        """A node begins; what is refused is asked for once more, for without it nothing can be done."""
        for operation in self.load.begin():
            if not await self.play(store, [operation]) and not store.failed.done():
                await self.play(store, [operation])
            if store.failed.done():
                return

    async def play(self, store: Store, batch: list[Operation]) -> bool:
        """Play operations in one turn of the loop, and note what was promised; whether that was all."""
        answers = await asyncio.gather(*(operation.play(store) for operation in batch), return_exceptions=True)
        self._note("working")
        assert {answer if answer is True else type(answer) for answer in answers} <= {True, StoreUnavailable}
        kept = [operation for operation, answer in zip(batch, answers, strict=True) if answer is True]
        if len(kept) == len(batch):
            self.promise.kept(batch)
        elif store.failed.done():
            assert kept == batch[: len(kept)], "the writer keeps the order"
            self.promise.broken_off(batch, len(kept))
        else:
            self.outcome = "refused"  # and nothing of it is there
            self.promise.kept(kept)
        return len(kept) == len(batch)


async def play(
    number: int, call: Call, error: DiskError, *, for_ever: bool, restart: bool
) -> tuple[str, str, FileKind | None]:
    """Let the n-th call fail; what the store was doing then, what came of it, and which file it was.

    Then the power fails. ``restart``: before that a new process finds what the old one left, and works.
    """
    with memory_folder() as folder, Disk(folder, Random(number)) as disk, short_log(WAL_PAGES, WAL_BYTES_KEPT):
        fault = disk.faults.fail(call, number, error=error, times=None if for_ever else 1)
        scenario = Scenario(disk, fault)
        await scenario.run()
        disk.faults.heal()
        name = f"call {number}, which failed while {scenario.when}"
        if restart:
            disk.crash(power=False)
            assert await scenario.look(durable=False) == [], name
        disk.crash(power=True)
        assert await scenario.look() == [], name
        return scenario.when, scenario.outcome, fault.struck


async def calls_of(call: Call) -> int:
    """How many such calls the scenario makes on a disk that is in order."""
    with memory_folder() as folder, Disk(folder, Random(0)) as disk, short_log(WAL_PAGES, WAL_BYTES_KEPT):
        scenario = Scenario(disk, Fault(call))
        await scenario.run()
        assert scenario.outcome == "unnoticed"
        return disk.statistics.count(call)


def allowed(call: Call, error: DiskError, when: str, file: FileKind | None) -> set[str]:
    """What may come of a fault."""
    if when == "opening":
        return {"not opened"}
    if when == "closing":  # in the last checkpoint, when everything has its answer
        return {"unnoticed", "failed"}
    if call is Call.READ:  # by the writer, or only by somebody who reads, perhaps to see who else is registered
        return {"failed", "unnoticed", "refused"}
    if file is FileKind.DATABASE and call is Call.WRITE and error is not DiskError.IO:
        return {"unnoticed"}  # the log has everything, and the checkpoint can wait for room
    return {"failed"}


@pytest.mark.parametrize(
    ("call", "error", "for_ever", "restart"),
    [
        (Call.OPEN, DiskError.IO, False, True),
        (Call.READ, DiskError.IO, False, False),
        (Call.TRUNCATE, DiskError.IO, False, True),
        (Call.DELETE, DiskError.IO, False, False),
        (Call.SYNC, DiskError.IO, False, False),
        (Call.SYNC, DiskError.IO, False, True),
        (Call.SYNC, DiskError.IO, True, False),
        (Call.WRITE, DiskError.IO, False, False),
        (Call.WRITE, DiskError.FULL, False, True),
        (Call.WRITE, DiskError.SHORT, False, False),
        (Call.WRITE, DiskError.IO, True, True),
    ],
)
async def test_whichever_call_fails_the_promise_is_kept(
    call: Call, error: DiskError, for_ever: bool, restart: bool
) -> None:
    """``for_ever``: the disk is dead from then on, until somebody repairs it."""
    met: set[tuple[str, FileKind | None]] = set()
    for number in range(1, await calls_of(call) + 1, 5 if for_ever else 1):
        when, outcome, file = await play(number, call, error, for_ever=for_ever, restart=restart)
        may_be = allowed(call, error, when, file)
        if for_ever and when == "closing":
            may_be |= {"not opened"}  # by the next life, on a disk that is still dead
        assert outcome in may_be, f"call {number} failed while {when} ({file})"
        met.add((when, file))
    assert ("never", None) not in met
    if call in {Call.READ, Call.WRITE, Call.SYNC} and not for_ever:
        assert {("opening", FileKind.DATABASE), ("working", FileKind.WAL)} <= met
    if call in {Call.WRITE, Call.SYNC} and not for_ever:
        assert {("opening", FileKind.JOURNAL), ("working", FileKind.DATABASE), ("closing", FileKind.DATABASE)} <= met


async def test_a_disk_that_is_full_before_the_commit_refuses_and_the_store_goes_on() -> None:
    """A transaction that outgrows the cache meets the end of the disk in a statement: its outcome is known."""
    with memory_folder() as folder, Disk(folder, Random(1)) as disk:
        scenario = Scenario(disk, Fault(Call.WRITE))
        load, promise = scenario.load, scenario.promise
        store = await opened(disk)
        assert isinstance(store, SqliteStore)
        store._writer._connection.pragma("cache_size", 10)
        await scenario.begin(store)
        disk.faults.bytes_max = sum(path.stat().st_size for path in disk.directory.glob("*.db*")) + 100_000
        await scenario.play(store, [load.accept_many(promise.rows, 1_000)])
        assert scenario.outcome == "refused"
        assert disk.statistics.refused > 0
        assert not store.failed.done()

        disk.faults.heal()
        scenario.outcome = "unnoticed"
        await scenario.play(store, [load.accept_many(promise.rows, 1_000)])
        assert scenario.outcome == "unnoticed"
        assert len(promise.rows["events"]) == 1_000
        disk.crash(power=True)
        await store.close()
        assert await scenario.look() == []


async def test_a_disk_that_is_full_at_the_commit_ends_the_store() -> None:
    """Also when there is room again; only a restart knows what is true."""
    with memory_folder() as folder, Disk(folder, Random(1)) as disk:
        scenario = Scenario(disk, Fault(Call.WRITE))
        load, promise = scenario.load, scenario.promise
        store = await opened(disk)
        await scenario.begin(store)
        await scenario.play(store, [load.accept_many(promise.rows, 2)])
        disk.faults.bytes_max = 1
        await scenario.play(store, [load.accept_many(promise.rows, 2)])
        disk.faults.heal()
        assert store.failed.done()
        await scenario.play(store, [load.accept_many(promise.rows, 2)])
        assert len(promise.rows["events"]) == 2
        await store.close()
        disk.crash(power=True)
        assert await scenario.look() == []
