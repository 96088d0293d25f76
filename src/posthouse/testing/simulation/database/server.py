"""The simulated database server: a machine of its own, whose engine is the embedded one behind a cable."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

from posthouse.core.errors import PosthouseError
from posthouse.store.postgres.readers import STAND_STILL
from posthouse.store.sqlite.connection import BusyPolling, connect_reader, connect_writer
from posthouse.store.sqlite.store import DATABASE, SqliteStore, open_sqlite
from posthouse.testing.disk import Disk
from posthouse.testing.simulation.database.cable import IS_GONE, PREPARE, Backend, Cable, CableWire, Message, Reply
from posthouse.testing.simulation.database.failover import Failover
from posthouse.testing.simulation.database.hints import Exchange
from posthouse.testing.simulation.database.replication import Replication
from posthouse.testing.simulation.database.tenures import Tenures
from posthouse.testing.simulation.database.ways import WAYS, Kind, Operation, Said
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.records import Records
from posthouse.testing.simulation.rows import Rows
from posthouse.testing.simulation.tasks import LIFE

CANCELLED: Final = "canceling wait for synchronous replication due to user request"

_WRITES: Final = frozenset({Kind.SINGLE, Kind.TRANSACTION})
#: In the header of a database: how it is written and read. 1: with a journal, as one in memory must be.
_VERSIONS: Final = slice(18, 20)
_JOURNAL: Final = b"\x01\x01"


class DatabaseServer:
    """Serves nodes; is restarted, and replaced by its standby.

    Each time that it starts it is another life of the loop, with a negative number; its disk has no faults.

    Args:
        place: an empty directory, for copies.

    Attributes:
        cable: the way to it.
        replication: when its commits are confirmed.
    """

    def __init__(
        self, loop: SimLoop, disk: Disk, offload: SimOffload, *, clock: SimClock, chance: Random, records: Records,
        place: Path,
    ) -> None:  # fmt: skip
        self.life = 0
        self.cable = Cable(loop, chance, lambda what: records.counts.update([f"cable {what}"]))
        self.cable.accept = self._accept
        self.exchange = Exchange(
            loop,
            chance,
            lambda node: self.is_up and node not in self.cable.faults.dark,
            lambda what: records.counts.update([f"cable {what}"]),
        )
        self._tenures = Tenures(loop, records)
        self.replication = Replication(loop, offload, chance, self._image)
        self._loop = loop
        self._disk = disk
        self._clock = clock
        self._records = records
        self._place = place
        self._store: SqliteStore | None = None
        self._reader: apsw.Connection | None = None
        self._backends: dict[int, Backend] = {}  # by the number of their connection

    @property
    def is_up(self) -> bool:
        """Whether it serves."""
        return self._store is not None

    async def start(self) -> None:
        """Begin to serve what is on the disk."""
        self.life -= 1
        self._store = await self._loop.in_life(self.life, self._open())
        path = self._disk.directory / DATABASE
        self._reader = connect_reader(path, patient=False, vfs=self._disk.vfs)
        self._tenures.look(self._reader)

    async def stop(self) -> None:
        """End in good order; the cable is silent then."""
        store, self._store = self._store, None
        if self._reader is not None:
            self._reader.close()
        if store is not None:
            await self._loop.in_life(self.life, store.close())

    async def restart(self, seconds: float) -> None:
        """End at this instant, and serve again after so many seconds: everything that was committed is there."""
        self.replication.restart()
        self._end(silently=False)
        await asyncio.sleep(seconds)
        await self.start()

    async def fail_over(self, seconds: float, *, silently: bool) -> None:
        """The machine is lost at this instant; the standby serves after so many seconds, with what it has."""
        image = self.replication.fail_over()
        self._end(silently=silently)
        failover = Failover(self._loop.now)
        if image is not None:
            before = Rows(self._disk.directory, self._place)
            self._go_back_to(image)
            failover.note(before, Rows(self._disk.directory, self._place))
        self._records.failovers.append(failover)
        self._records.note(self._loop.now, f"a failover forgets {failover}")
        await asyncio.sleep(seconds)
        self.replication.find_standby()
        await self.start()

    # -- its life -------------------------------------------------------------------------------

    async def _open(self) -> SqliteStore:
        return open_sqlite(
            self._disk.directory,
            clock=self._clock,
            commit_interval_ms=0,
            offload=self.replication,
            vfs=self._disk.vfs,
        )

    def _end(self, *, silently: bool) -> None:
        """Like a process that is killed, connections and all."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._store = None
        self._backends.clear()
        self._disk.crash(power=False)
        self._loop.kill(self.life)
        self._loop.bury(self.life)
        self._disk.forget_old()
        self.cable.lose_server(silently=silently)

    def _image(self) -> bytes:
        assert self._reader is not None
        return self._reader.serialize("main")

    def _go_back_to(self, image: bytes) -> None:
        """Put an older state of the database in the place of what is on the disk."""
        content = bytearray(image)
        content[_VERSIONS] = _JOURNAL
        before = apsw.Connection(":memory:")
        before.deserialize("main", bytes(content))
        path = self._disk.directory / DATABASE
        connection = connect_writer(path, busy=BusyPolling(patient=False), vfs=self._disk.vfs)
        with connection.backup("main", before, "main") as copying:
            copying.step()
        connection.close()
        before.close()

    # -- connections ----------------------------------------------------------------------------

    def _accept(self, wire: CableWire) -> Backend | None:
        if self._store is None:
            return None
        self._records.joins.append((self._loop.now, wire.context.get(LIFE, 0), wire.name))
        context = Context()
        context.run(LIFE.set, self.life)
        backend = self._backends[wire.pid] = Backend(wire, context, self._hear)
        return backend

    def _hear(self, backend: Backend, message: Message) -> None:
        asyncio.get_running_loop().create_task(self._serve(backend, message))

    async def _serve(self, backend: Backend, message: Message) -> None:
        backend.busy = True
        reply = await self._reply(backend, message)
        backend.busy = False
        self.cable.reply(backend.wire, reply)

    async def _reply(self, backend: Backend, message: Message) -> Reply:
        text, args = message
        life = backend.wire.context.get(LIFE, 0)
        if text == IS_GONE:
            asked = self._backends.get(args[0])
            return Reply([{"gone": asked is None or not (asked.open or asked.busy)}], "SELECT 1")
        if text == PREPARE:
            backend.prepared = args[0]
            return Reply([], "SELECT 0")
        if text == "COMMIT":
            operation, backend.prepared = backend.prepared, None
            return await self._run(operation, "COMMIT", life)
        if text == STAND_STILL:  # nothing is dropped here
            return Reply([], "LOCK TABLE")
        if text.startswith(("BEGIN", "ROLLBACK")):
            backend.prepared = None
            return Reply([], text.partition(" ")[0])
        return await self._run(args[0], "SELECT 1", life)

    async def _run(self, operation: Operation, tag: str, life: int) -> Reply:
        method: Callable[..., Any] = getattr(getattr(self._store, operation.facet), operation.method)
        before = self._tenures.epochs
        try:
            with self._tenures.watch(operation, life):
                said = Said(await method(*operation.args, **operation.named))
                if operation.facet == "ownership" and self._reader is not None:
                    self._tenures.look(self._reader)
        except PosthouseError as error:
            return Reply([Said(error=error)], tag)
        if operation.method == "settle":
            self._tenures.check(operation.args[0], said.value, before)
        writes = WAYS[operation.facet, operation.method].kind in _WRITES
        return Reply([said], tag, (CANCELLED,) if writes and self.replication.warned else ())
