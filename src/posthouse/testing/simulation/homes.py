"""Where a node keeps its store: on its own disk, or on the simulated database server."""

from pathlib import Path
from typing import Any, Protocol

from posthouse.assembly import Machine
from posthouse.core.failpoints import Reach
from posthouse.core.ports import Clock, Entropy
from posthouse.store.protocol import Store
from posthouse.testing.disk import Disk
from posthouse.testing.simulation.database.remote import open_remote
from posthouse.testing.simulation.database.server import DatabaseServer
from posthouse.testing.simulation.key_host import WithoutTls
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.offload import SimOffload


class Home(Protocol):
    """Where a node keeps its store, and what becomes of that when the node dies."""

    @property
    def directory(self) -> Path:
        """The node's data directory."""
        ...

    def machine(self, clock: Clock, entropy: Entropy, network: SimNetwork, connect: Any, reach: Reach) -> Machine:
        """What the node takes from its machine."""
        ...

    def crash(self, *, power: bool) -> None:
        """Its process died at this instant, perhaps with its machine."""
        ...

    def bury(self) -> None:
        """Nothing of the dead process uses anything any more."""
        ...


class OwnDisk:
    """The embedded store, on a disk with faults."""

    def __init__(self, disk: Disk, offload: SimOffload) -> None:
        self._disk = disk
        self._offload = offload

    @property
    def directory(self) -> Path:
        """Where the store is."""
        return self._disk.directory

    def machine(self, clock: Clock, entropy: Entropy, network: SimNetwork, connect: Any, reach: Reach) -> Machine:
        """What the node takes from its machine."""
        return Machine(
            clock=clock,
            entropy=entropy,
            connect=connect,
            resolve=network.resolve,
            vfs=self._disk.vfs,
            offload=self._offload,
            host="simulated",
            process_id=1,
            reach=reach,
            around_transport=WithoutTls,
        )

    def crash(self, *, power: bool) -> None:
        """The disk has what was written, or without power what was synced."""
        self._disk.crash(power=power)

    def bury(self) -> None:
        """Its open files may be closed."""
        self._disk.forget_old()


class Apart:
    """A store on the database server; what is on the node's own disk is nothing.

    Args:
        node: its number.
        directory: empty; nothing is kept there.
    """

    def __init__(self, server: DatabaseServer, node: int, directory: Path) -> None:
        self._server = server
        self._node = node
        self.directory = directory

    def machine(self, clock: Clock, entropy: Entropy, network: SimNetwork, connect: Any, reach: Reach) -> Machine:
        """What the node takes from its machine."""
        return Machine(
            clock=clock,
            entropy=entropy,
            connect=connect,
            resolve=network.resolve,
            open_store=self._open,
            host="simulated",
            process_id=1,
            reach=reach,
            around_transport=WithoutTls,
        )

    def crash(self, *, power: bool) -> None:
        """The server goes on with what it was asked."""

    def bury(self) -> None:
        """It has nothing."""

    async def _open(self, _place: object, **given: Any) -> Store:
        return await open_remote(
            self._server.cable,
            self._server.exchange,
            self._node,
            commit_interval_ms=given["commit_interval_ms"],
            metrics=given["metrics"],
            reach=given["reach"],
        )
