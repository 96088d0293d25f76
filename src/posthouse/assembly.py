"""From a machine to a node that can listen: the same for a process, a rig, a drill and a simulation."""

import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.ports import Clock, Entropy
from posthouse.node import Node, Ports
from posthouse.serving.server import ApiServer
from posthouse.store.open import open_outbox, open_store
from posthouse.store.protocol import Store
from posthouse.store.sqlite.offload import Offload
from posthouse.system import SystemClock, SystemEntropy
from posthouse.telemetry import Metrics
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.dial import Connect, dial_machine
from posthouse.transport.protocol import Transport
from posthouse.transport.resolver import Resolve, SystemResolver


def _unchanged(transport: Transport) -> Transport:
    return transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a node takes from the machine that it runs on. By default the real one.

    Whoever wants to see a node under a faulty clock, disk or network puts one here; the node knows
    nothing of it.
    """

    clock: Clock = field(default_factory=SystemClock)
    entropy: Entropy = field(default_factory=SystemEntropy)
    connect: Connect = dial_machine  #: opens outbound TCP connections
    resolve: Resolve | None = None  #: looks names up; None: the operating system
    vfs: str | None = None  #: name of a registered SQLite VFS; None: the operating system's files
    offload: Offload | None = None  #: how the store's blocking calls leave the loop; None: threads
    open_store: Callable[..., Awaitable[Store]] = open_store  #: is called as that of :mod:`posthouse.store.open`
    host: str = field(default_factory=platform.node)  #: its name, for people
    process_id: int = field(default_factory=os.getpid)  #: of the node on it, for people
    reach: Reach = pass_by  #: hears every boundary as it is reached
    around_transport: Callable[[Transport], Transport] = _unchanged  #: gets the transport, returns the one to use


class Assembled:
    """A node, its open store and its server; nothing is started yet.

    Attributes:
        store: open; the node closes it when it stops.
        node: not started.
        server: does not listen yet.
    """

    def __init__(self, store: Store, node: Node, server: ApiServer, *, release: Callable[[], None]) -> None:
        self.store = store
        self.node = node
        self.server = server
        self._release = release

    async def close(self) -> None:
        """Stop the node at once, without waiting for what is on its way. Idempotent."""
        self._release()
        await self.node.stop(drain_seconds=0)


async def assemble(config: Config, machine: Machine) -> Assembled:
    """Open the store and put a node and its server around it.

    Raises:
        ConfigurationError: A setting cannot be used.
        UnsafeLibrary, StoreInUse, StoreIncompatible, StoreUnavailable: As :func:`open_store` says.
    """
    clock = machine.clock
    policy = AddressPolicy(config.allow_networks)
    metrics = Metrics()
    store = await machine.open_store(
        config.data if config.database is None else config.database.get_secret_value(),
        clock=clock,
        commit_interval_ms=config.commit_interval_ms,
        shared=config.processes > 1,
        offload=machine.offload,
        vfs=machine.vfs,
        metrics=metrics,
        reach=machine.reach,
    )
    resolver = SystemResolver(clock)
    try:
        transport = AiohttpTransport(
            policy,
            clock,
            ca_file=str(config.ca_file) if config.ca_file else None,
            resolve=machine.resolve,
            connect=machine.connect,
        )
        ports = Ports(
            clock=clock,
            entropy=machine.entropy,
            store=store,
            transport=machine.around_transport(transport),
            policy=policy,
            resolve=machine.resolve or resolver,
            outbox=None if config.outbox is None else open_outbox(config.outbox.get_secret_value(), store),
            host=machine.host,
            process_id=machine.process_id,
            reach=machine.reach,
        )
        node = Node(config, ports, key_floor=await store.admin.key_floor(), metrics=metrics)
    except BaseException:
        resolver.close()
        await store.close()
        raise
    return Assembled(store, node, ApiServer(node.app, clock, direct=node.direct), release=resolver.close)
