"""Several nodes on one database: the drill's own one, and others beside it, to be stopped, frozen and killed."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.core.model import slot_of
from posthouse.demo.node_process import SERVE, Node
from posthouse.drills.ground import Ground
from posthouse.drills.plan import DrillFailed
from posthouse.testing.postgres.cluster import Cluster, NoPostgres
from posthouse.testing.postgres.databases import connect
from posthouse.testing.postgres.durable import durable_server

SPREAD_SECONDS_MAX: Final = 60.0  #: until all nodes own their share
LOOK_SECONDS: Final = 0.25
_DRAIN_SECONDS: Final = "2"
_OWNERS: Final = "SELECT slot, process_id FROM posthouse.slots JOIN posthouse.nodes ON name = owner"


class Database:
    """An empty database on a server of its own, which keeps what it acknowledges."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Self]:
        """One, for as long as it is needed. Raises DrillFailed if there is no PostgreSQL on this machine."""
        with contextlib.ExitStack() as stack:
            try:
                cluster, name = stack.enter_context(durable_server())
            except NoPostgres as error:
                raise DrillFailed(str(error)) from error
            yield cls(cluster, name)

    @property
    def dsn(self) -> str:
        """Its address."""
        return self._cluster.dsn(self._name)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that answer a query."""

        async def asked() -> list[tuple[Any, ...]]:
            connection = await connect(self._cluster, self._name)
            try:
                return [tuple(row) for row in await connection.fetch(query)]
            finally:
                await connection.close()

        return asyncio.run(asked())


class Fleet:
    """The drill's own node and ``others``, all on one database. Entered, they run; left, the others are gone.

    Args:
        ground: with the drill's own node, which is on the database.
        database: that all of them share.
        others: name → the module that is this node, as :class:`~posthouse.demo.node_process.Node` takes it.
    """

    def __init__(self, ground: Ground, database: Database, others: Mapping[str, Sequence[str]]) -> None:
        self._ground = ground
        self._database = database
        self._programs = others
        self._folder = Path(tempfile.mkdtemp(prefix="posthouse-fleet-"))
        self._frozen: set[str] = set()
        self.others: dict[str, Node] = {}

    def __enter__(self) -> Self:
        options = ["--database", self._database.dsn, "--drain-seconds", _DRAIN_SECONDS]
        try:
            for name, program in self._programs.items():
                node = self.others[name] = Node(self._folder / name, program=program, options=options)
                node.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name, node in self.others.items():
            self.thaw(name)
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what is done to them -------------------------------------------------------------------

    def freeze(self, name: str) -> None:
        """Let a node stand still in the middle of whatever it does (SIGSTOP)."""
        self._signal(name, signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        """Let it go on as if nothing had happened. Idempotent."""
        if name in self._frozen:
            self._signal(name, signal.SIGCONT)
            self._frozen.discard(name)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self.others[name].pid
        assert process is not None, "it runs"
        os.kill(process, number)

    # -- what they own --------------------------------------------------------------------------

    def owners(self) -> dict[int, int]:
        """Slot → id of the process that owns it."""
        return dict(self._database.ask(_OWNERS))

    def owner_of(self, endpoint: str) -> str | None:
        """The name among the ``others`` of the node that owns this endpoint; None: it is not one of them."""
        key = parse_id(ENDPOINT, endpoint)
        assert key is not None
        process = self.owners().get(slot_of(key))
        return next((name for name, node in self.others.items() if node.pid == process), None)

    def until_spread(self) -> float:
        """Wait until all nodes that run own about as many slots, and nothing moves any more; the seconds it took.

        Raises:
            DrillFailed: That is not so after ``SPREAD_SECONDS_MAX``.
        """
        began = time.monotonic()
        self._ground.until(
            self._is_spread, seconds_max=SPREAD_SECONDS_MAX, what="each node's share", every_s=LOOK_SECONDS
        )
        return time.monotonic() - began

    def _is_spread(self) -> bool:
        running = {node.pid for node in (self._ground.node, *self.others.values()) if node.pid is not None}
        owned = list(self.owners().values())
        shares = [owned.count(process) for process in running]
        return set(owned) == running and len(owned) == sum(shares) and max(shares) - min(shares) <= len(running)

    @staticmethod
    def as_they_are(names: Sequence[str]) -> dict[str, Sequence[str]]:
        """Others of these names without any fault."""
        return dict.fromkeys(names, SERVE)
