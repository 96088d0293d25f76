"""One node, put together: settings and ports become objects here, and nowhere else."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp

from posthouse import __version__
from posthouse.api.application import create_app
from posthouse.api.health import Readiness
from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.limits import LEASE_MS
from posthouse.core.model import SLOTS
from posthouse.core.nodes import Role
from posthouse.core.ports import Clock, Entropy
from posthouse.engine.engine import Engine
from posthouse.engine.membership import Membership
from posthouse.engine.recovery import Recovery
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.follower import Follower
from posthouse.gateway.gateway import Gateway
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.refused import RefusedRoom
from posthouse.gateway.retention import Retention
from posthouse.gateway.routes import EventRouter
from posthouse.gateway.target_check import Resolve
from posthouse.inbox.inbox import Inbox
from posthouse.inbox.keeper import Keeper
from posthouse.ingest.edge import InboundEdge
from posthouse.store.protocol import Joining, OutboxSource, Store, StoreStats
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport

_NAME_BYTES: Final = 8
_STATS_SECONDS: Final = 10.0
_FIRST_KEY_NAME: Final = "first key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a node takes from outside. A simulation replaces all of it, and nothing else."""

    clock: Clock
    entropy: Entropy
    store: Store  #: open; the node closes it
    transport: Transport  #: the node closes it
    policy: AddressPolicy
    resolve: Resolve
    outbox: OutboxSource | None = None  #: in another database; the node closes it
    host: str = ""  #: name of the machine, for people
    process_id: int = 0  #: for people
    reach: Reach = pass_by


class Node:
    """One node: a store, the use-cases over it, inbox and engine, and all that it answers as an ASGI application."""

    def __init__(self, config: Config, ports: Ports, *, key_floor: int, metrics: Metrics | None = None) -> None:
        store, clock = ports.store, ports.clock
        self._ports = ports
        self._drain_seconds = config.drain_seconds
        self._stopping = False
        self.metrics = metrics or Metrics()
        new_key = KeySource(clock, node=0, floor=key_floor)
        self._role = Role(config.role)
        self.membership = self._make_membership(new_key)
        catalogue = Catalogue(store.catalogue)
        self._follower = Follower(catalogue)
        self._unfinished: list[Callable[[Collection[int]], Awaitable[int]]] = []
        self._hurry = asyncio.Event()
        self.engine = self._make_engine(config, catalogue)
        router = EventRouter(catalogue, fresh_seconds=config.fresh_seconds)
        refused = RefusedRoom(store.inbound)
        self.inbox = self._make_inbox(catalogue, router, refused, new_key)
        self.gateway = self._make_gateway(catalogue, router, refused, new_key)
        catalogue.tell(self.engine, self.inbox)  # what other nodes changed is no news to them
        self.engine.relay.returned = self.inbox.returned
        edge = InboundEdge(
            catalogue,
            self.gateway.receiver,
            clock,
            self.metrics,
            public_url=config.public_url,
            accepts=self._role is not Role.ENGINE,
        )
        self.direct = edge.direct
        self.app: ASGIApp = create_app(
            self.gateway,
            inbound=edge,
            public_url=config.public_url,
            readiness=Readiness(self._probe, self._unready, clock.monotonic),
            metrics=self.metrics.render,
        )
        self._retention = Retention(store.admin, store.feed, days=config.retention_days, clock=clock)
        self._recovery = Recovery(store, catalogue, self.engine)
        self._watch: asyncio.Task[None] | None = None
        self._findings: tuple[str, ...] = ()
        self._store_bytes = self._wal_bytes = 0
        self._show()

    @property
    def name(self) -> str:
        """The name of this life, on the register of nodes."""
        return self.membership.name

    def _make_membership(self, new_key: KeySource) -> Membership:
        ports = self._ports

        def new_name() -> str:
            return f"node-{ports.entropy.token(_NAME_BYTES).hex()}"

        me = Joining(
            name=new_name(),
            role=self._role,
            version=__version__,
            host=ports.host,
            process_id=ports.process_id,
            url=None,
            joined_at=ports.clock.now_ms(),
        )
        return Membership(
            ports.store.ownership,
            ports.clock,
            me,
            alone=ports.store.alone,
            new_name=new_name,
            renumbered=new_key.renumber,
        )

    def _make_inbox(self, catalogue: Catalogue, router: EventRouter, refused: RefusedRoom, new_key: KeySource) -> Inbox:
        ports = self._ports
        self._keeper = Keeper(
            ports.store.inbound,
            catalogue,
            refused,
            clock=ports.clock,
            new_key=new_key,
            metrics=self.metrics,
            is_ours=self.engine.works_for,
            has_others=lambda: len(self.engine.leases.epochs) < SLOTS,
        )
        return Inbox(
            ports.store.inbound,
            catalogue,
            router,
            self.engine.relay,
            self._keeper,
            transport=ports.transport,
            clock=ports.clock,
            new_key=new_key,
            metrics=self.metrics,
            reach=ports.reach,
        )

    def _make_gateway(
        self, catalogue: Catalogue, router: EventRouter, refused: RefusedRoom, new_key: KeySource
    ) -> Gateway:
        ports = self._ports
        return Gateway(
            ports.store,
            catalogue,
            self.engine.relay,
            self.inbox,
            metrics=self.metrics,
            clock=ports.clock,
            entropy=ports.entropy,
            new_key=new_key,
            policy=ports.policy,
            resolve=ports.resolve,
            room=lambda: self.engine.board.room,
            router=router,
            refused=refused,
            outboxes=[outbox for outbox in (ports.store.outbox, ports.outbox) if outbox is not None],
            watcher=self.membership,
            accepts=self._role is not Role.ENGINE,
            reach=ports.reach,
        )

    def _make_engine(self, config: Config, catalogue: Catalogue) -> Engine:
        ports = self._ports
        return Engine(
            ports.store,
            catalogue,
            ports.transport,
            clock=ports.clock,
            entropy=ports.entropy,
            metrics=self.metrics,
            membership=self.membership,
            moved=self._moved,
            disable=lambda endpoint, reason: self.gateway.endpoints.disable(endpoint.key, reason),
            agreed=lambda endpoint: self.gateway.handshakes.agreed(endpoint),  # noqa: PLW0108 - it is made below
            in_flight_max=config.in_flight_max,
            in_flight_per_endpoint=config.in_flight_per_endpoint,
            in_flight_per_tenant=config.in_flight_per_tenant,
            reach=ports.reach,
        )

    def _show(self) -> None:
        """Let the metrics read what is in memory."""
        self.metrics.gauge("store_bytes", lambda: self._store_bytes)
        self.metrics.gauge("store_wal_bytes", lambda: self._wal_bytes)
        self.metrics.gauge("store_findings", lambda: len(self._findings))
        self.metrics.gauge("intake_waiting", lambda: self.gateway.intake.waiting)
        self.metrics.gauge("feed_readers", lambda: self.gateway.feed.readers)
        self.metrics.gauge("inbox_arriving", lambda: self.gateway.receiver.waiting)

    async def prepare(self, *, keep_first_key: Callable[[str], None], former: Collection[str] = ()) -> None:
        """Read the catalogue and get on the register; on a new store make the first API key.

        ``keep_first_key`` gets the key's text, which the store never holds, before the key is stored. ``former``: names
        of lives of this node that have surely ended, so that nobody has to wait until their silence says so.
        """
        await self.gateway.catalogue.refresh()
        await self.membership.join(former=former)
        await self.gateway.keys.create_first(_FIRST_KEY_NAME, before_stored=keep_first_key)

    async def prepare_for_others(self, *, keep_first_key: Callable[[str], None], former: Collection[str] = ()) -> None:
        """Prepare, take those off the register that have surely ended, and leave the rest to nodes that come now."""
        await self.prepare(keep_first_key=keep_first_key, former=former)
        await self.membership.beat()
        await self.membership.bury_dead()
        await self.membership.leave()

    async def start(self, *, keep_first_key: Callable[[str], None], former: Collection[str] = ()) -> None:
        """Begin to deliver. It is prepared before that, as :meth:`prepare` says."""
        gateway = self.gateway
        await self.prepare(keep_first_key=keep_first_key, former=former)
        await self._keeper.start()
        await self.engine.start(leased_until=await self._leased_until())
        self.inbox.start()
        self._recovery.start()
        if self._role is not Role.EDGE:
            gateway.outbox.start()
        self._follower.start()
        self._retention.start()
        self._watch = asyncio.create_task(self._keep_house())

    async def _leased_until(self) -> int:
        """When the latest lease that is known of ends, Unix ms by the clock of the node that held it."""
        ownership = self._ports.store.ownership
        beats = [node.beat_at + LEASE_MS for node in await ownership.nodes()]
        return max(beats + [until for _, _, until in (await ownership.owners()).values()])

    async def listens_at(self, url: str) -> None:
        """Let other nodes, and people, know where the API of this node is."""
        await self.membership.listens_at(url)

    async def stop(self, *, drain_seconds: float | None = None) -> None:
        """Answer what was taken, drain, release the slots, close everything. Idempotent."""
        self._stopping = True
        await self.gateway.feed.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._retention.stop()
        await self._recovery.stop()
        await self.gateway.outbox.stop()
        await self._follower.stop()
        await self.gateway.receiver.close()
        await self.gateway.intake.close()
        await self.inbox.stop()
        await self._keeper.stop()
        await self.engine.stop(drain_seconds=self._drain_seconds if drain_seconds is None else drain_seconds)
        await self._ports.transport.close()
        await self._ports.store.close()

    def _moved(self) -> None:
        """Slots came, or a node went: somebody may have left something half done in those that are this node's."""
        self._unfinished = [self.gateway.endpoints.finish_deletions, self.gateway.endpoints.finish_reorders]
        self._hurry.set()

    async def _keep_house(self) -> None:
        """Finish what an ended life left half done, and keep the gauges of the store up to date."""
        while True:
            self._hurry.clear()
            try:
                while self._unfinished:
                    finish = self._unfinished[0]
                    await finish(sorted(self.engine.leases.epochs))
                    if self._unfinished and self._unfinished[0] is finish:
                        self._unfinished.pop(0)
                self._note(await self._ports.store.admin.stats())
                await self._ports.store.admin.make_room(now=self._ports.clock.now_ms())
            except PosthouseError as error:  # a database comes back
                log(Log.LOOP_FAILED, exc_info=error, loop="house")
            with suppress(TimeoutError):
                async with asyncio.timeout(_STATS_SECONDS):
                    await self._hurry.wait()

    def _note(self, stats: StoreStats) -> None:
        self._store_bytes, self._wal_bytes = stats.bytes_used, stats.bytes_wal
        for finding in stats.findings:
            if finding not in self._findings:
                log(Log.STORE_FINDING, detail=finding)
        self._findings = stats.findings

    def drain(self) -> None:
        """Let ``/readyz`` say that this node goes away."""
        self._stopping = True
        self.gateway.feed.let_go()

    async def _probe(self) -> None:
        await self._ports.store.admin.probe(now=self._ports.clock.now_ms())

    def _unready(self) -> str | None:
        if self._stopping:
            return "it is stopping"
        if not self._ports.store.alive:
            return "its store takes no writes"
        return None if self.engine.is_ready else "it owns no slots yet"
