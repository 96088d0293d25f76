"""Cut the power under the real store at any call on its disk, again and again, and see that nothing is lost.

Usage: ``PYTHONHASHSEED=0 python tests/rigs/power_cut_rig.py --cuts 1000 --seed 1 [--synchronous normal] [--lying]``.
With ``--disk 17`` only that disk of the seed is played, exactly as it was under the same hash seed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

import apsw
import msgspec
from store_load import Load, short_log
from store_operations import Operation
from store_promise import Promise, imbalance, look

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.store.sqlite.store import DATABASE, SqliteStore
from posthouse.testing.disk import Call, Disk, DiskError, Fault, FileKind, memory_folder
from posthouse.testing.manual_clock import ManualClock

CRASHES_PER_DISK = 20  #: then a new, empty one follows
CALLS_EXPONENTS = (2.0, 11.0)  #: a crash comes after 2^x calls on the disk, x between these
FAILING_SHARE = 0.2  #: of the lives meet a call on the disk that fails
WAL_PAGES = 60  #: a checkpoint is due at this length of the log, so that there are many
WAL_BYTES_KEPT = 100_000
LATE_TURNS = 5  #: of the loop

T = TypeVar("T")


class Figures(msgspec.Struct):
    """What came of it."""

    cuts: int = 0  #: of the power
    crashes: int = 0  #: of the process only, between cuts
    failures: int = 0  #: among these: ends of a process because a call on the disk failed
    disks: int = 0
    acknowledged: int = 0  #: operations with an answer
    lost: int = 0  #: acknowledged events that are not there
    broken: int = 0  #: stores that nobody can open any more
    faults: list[str] = []  #: what else is not as it was promised
    unknown_there: int = 0  #: operations whose answer a crash cut off, and that are there
    unknown_gone: int = 0  #: the same, and they are not there
    writes_lost: int = 0
    writes_torn: int = 0
    struck: dict[str, int] = {}  #: what the store was doing, and at which call a crash came
    seconds: float = 0.0
    cuts_per_second: float = 0.0


class Chain:
    """One disk, from its first byte on, through one crash after the other."""

    def __init__(
        self, disk: Disk, chance: Random, figures: Figures, *, name: str, synchronous: str, lying: bool
    ) -> None:
        self._disk = disk
        self._chance = chance
        self._figures = figures
        self._name = name
        self._synchronous = synchronous
        self._lying = lying
        self._promised = synchronous == "full" and not lying  # whether the store can keep its promise
        self._load = Load(chance)
        self._promise = Promise()
        self._calls_left = 0
        self._power = True  # whether the next crash is one
        self._durable = True  # whether the last one was, so that whatever is there is durable
        self._doing = "opening"
        self._fell = False
        self._failure: Fault | None = None

    async def run(self) -> None:
        """Live until the disk had enough crashes, or something is wrong."""
        statistics = self._disk.statistics
        faults = len(self._figures.faults)
        while statistics.cuts + statistics.crashes < CRASHES_PER_DISK and len(self._figures.faults) == faults:
            if self._calls_left <= 0:
                self._calls_left = int(2 ** self._chance.uniform(*CALLS_EXPONENTS))
                self._power = self._chance.random() < 0.85
            self._plan_failure()
            try:
                await self._live()
            except (PosthouseError, apsw.Error) as error:
                if self._failure is not None and self._failure.met:
                    self._end_process()
                    continue
                if self._promised:
                    error.add_note(self._name)
                    raise
                self._figures.broken += 1
                self._figures.lost += len(self._promise.rows["events"])
                return
            self._disk.forget_old()

    def _plan_failure(self) -> None:
        """Let some lives end because a call on the disk fails; the power stays on then, and the system remembers."""
        faults = self._disk.faults
        faults.heal()
        faults.lying_sync = self._lying
        self._failure = None
        if self._promised and self._chance.random() < FAILING_SHARE:
            call = self._chance.choice((Call.SYNC, Call.SYNC, Call.WRITE, Call.TRUNCATE))
            nth = int(2 ** self._chance.uniform(0, 5 if call is Call.SYNC else 9))
            self._failure = faults.fail(call, nth, error=self._chance.choice(list(DiskError)))

    def _end_process(self) -> None:
        """The process ends by itself after a failure, and nothing else happens."""
        self._figures.failures += 1
        if not self._fell:
            self._disk.crash(power=False)
            self._durable = False

    # -- one life -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Open, look, work, and end by a crash or cleanly."""
        disk = self._disk
        self._doing, self._fell = "opening", False
        disk.faults.on_call = self._count
        store = await open_store(
            disk.directory, clock=ManualClock(), commit_interval_ms=0, offload=_in_place, vfs=disk.vfs
        )
        assert isinstance(store, SqliteStore)
        readers: list[apsw.Connection] = []
        try:
            if not self._fell:
                store._writer._connection.pragma("synchronous", self._synchronous)
                disk.faults.on_call = None
                await self._look(store)
                disk.faults.on_call = self._count
                self._doing = "working"
                await self._work(store, readers)
        finally:
            for reader in readers:
                reader.close()
            await store.close()
            disk.faults.on_call = None
        if store.failed.done():
            self._end_process()

    def _count(self, call: Call, file: FileKind) -> None:
        if call is Call.READ:
            return  # a disk is the same before and after
        self._calls_left -= 1
        if self._calls_left == 0:
            self._disk.crash(power=self._power)
            self._durable = self._power
            self._fell = True
            struck = f"{self._doing}: {call} {file}"
            self._figures.struck[struck] = self._figures.struck.get(struck, 0) + 1

    async def _work(self, store: Store, readers: list[apsw.Connection]) -> None:
        """Play batches until the crash comes, or until a clean end."""
        for operation in self._load.begin():
            if not self._fell and not store.failed.done():
                await self._play(store, [operation])
        while not self._fell and not store.failed.done():
            if self._chance.random() < 0.06:
                self._doing = "closing"
                return
            if self._chance.random() < 0.1:
                self._look_on(readers)
            elif self._chance.random() < 0.03:
                await self._play(store, [self._load.accept_many(self._promise.rows, 200)])
            else:
                await self._play(store, self._load.batch(self._promise.rows))

    async def _play(self, store: Store, batch: list[Operation]) -> None:
        """Play operations in one turn of the loop; what was not answered before a crash is unknown."""
        answered = await asyncio.gather(*(self._ask(store, operation) for operation in batch))
        acknowledged = sum(answered)
        self._figures.acknowledged += acknowledged
        if self._fell or not all(answered):
            assert answered == sorted(answered, reverse=True), "the writer keeps the order"
            self._promise.broken_off(batch, acknowledged)
        else:
            self._promise.kept(batch)

    async def _ask(self, store: Store, operation: Operation) -> bool:
        """Whether there was an answer before a crash or a failure."""
        try:
            right = await operation.play(store)
        except StoreUnavailable:
            assert store.failed.done()
            return False
        if self._fell:
            return False
        if not right:
            self._figures.faults.append(f"{self._name}: a wrong answer to {operation}"[:500])
        return True

    def _look_on(self, readers: list[apsw.Connection]) -> None:
        """Begin a long read, which is in the way of checkpoints; or end the ones that run."""
        if readers:
            readers.pop().close()
            return
        reader = apsw.Connection(str(self._disk.directory / DATABASE), vfs=self._disk.vfs)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM probe").fetchall()
        readers.append(reader)

    # -- looking ------------------------------------------------------------------------------------

    async def _look(self, store: Store) -> None:
        """See that everything is there that must be, and nothing that cannot be."""
        found, faults = look(self._disk)
        if difference := await imbalance(store):
            faults.append(f"the books differ by {difference}")
        promise, figures = self._promise, self._figures
        faults += promise.faults(found, durable=self._durable)
        figures.lost += promise.lost
        figures.unknown_there += promise.there
        figures.unknown_gone += promise.gone
        figures.faults += [f"{self._name}: {fault}" for fault in faults]


async def _in_place(call: Callable[[], T], /) -> T:
    """Run what blocks on the loop, but late: an answer that does not wait for it would be noticed before."""
    for _ in range(LATE_TURNS):
        await asyncio.sleep(0)
    return call()


async def run(*, cuts: int, seed: int, synchronous: str = "full", lying: bool = False, only_disk: int = 0) -> Figures:
    """Cut the power so many times; or do to one disk what was done to it in such a run."""
    figures = Figures()
    started = time.monotonic()
    while figures.cuts < cuts:
        figures.disks += 1
        if only_disk:
            figures.disks, cuts = only_disk, 0
        name = f"--seed {seed} --disk {figures.disks}"
        chance = Random(name)
        with memory_folder() as folder, Disk(folder, chance) as disk, short_log(WAL_PAGES, WAL_BYTES_KEPT):
            await Chain(disk, chance, figures, name=name, synchronous=synchronous, lying=lying).run()
            statistics = disk.statistics
        figures.cuts += statistics.cuts
        figures.crashes += statistics.crashes
        figures.writes_lost += statistics.lost
        figures.writes_torn += statistics.torn
    figures.seconds = round(time.monotonic() - started, 1)
    figures.cuts_per_second = round(figures.cuts / (time.monotonic() - started), 1)
    figures.struck = dict(sorted(figures.struck.items()))
    return figures


def main() -> int:
    """Run as told by the command line; 1 if something was lost or not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk", type=int, default=0, help="only this disk of the seed")
    parser.add_argument("--synchronous", choices=("full", "normal", "off"), default="full")
    parser.add_argument("--lying", action="store_true", help="syncs do nothing")
    options = parser.parse_args()
    figures = asyncio.run(
        run(
            cuts=options.cuts,
            seed=options.seed,
            synchronous=options.synchronous,
            lying=options.lying,
            only_disk=options.disk,
        )
    )
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    return 1 if figures.lost or figures.faults or figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
