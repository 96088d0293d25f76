"""One node, put together: settings and ports become objects here, and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp

from posthouse.api.application import create_app
from posthouse.api.health import Readiness
from posthouse.api.use_cases import UseCases
from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.model import Environment, Scope
from posthouse.core.ports import Clock, Entropy
from posthouse.engine.engine import Engine
from posthouse.gateway.books import Books
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deliveries import Deliveries
from posthouse.gateway.endpoints import REASON_GONE, Endpoints
from posthouse.gateway.events import Events
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.keys import Keys
from posthouse.gateway.principal import Authenticator
from posthouse.gateway.publish import Publisher
from posthouse.gateway.target_check import Resolve, TargetCheck
from posthouse.gateway.tenants import Tenants
from posthouse.store.protocol import Store
from posthouse.telemetry import Metrics
from posthouse.transport.protocol import Transport

NODE_NUMBER: Final = 1  #: part of every key; one node at a time opens an embedded store
_NAME_BYTES: Final = 8
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


class Node:
    """One node: a store, the use-cases over it, the engine, and the API as an ASGI application."""

    def __init__(self, config: Config, ports: Ports, *, key_floor: int, metrics: Metrics | None = None) -> None:
        store, clock, entropy = ports.store, ports.clock, ports.entropy
        self._ports = ports
        self._drain_seconds = config.drain_seconds
        self._stopping = False
        self.metrics = metrics or Metrics()
        self.name = f"node-{entropy.token(_NAME_BYTES).hex()}"
        self.new_key = KeySource(clock, node=NODE_NUMBER, floor=key_floor)
        self.catalogue = Catalogue(store.catalogue)
        self.engine = Engine(
            store,
            self.catalogue,
            ports.transport,
            clock=clock,
            entropy=entropy,
            metrics=self.metrics,
            node=self.name,
            disable=lambda endpoint: self.endpoints.disable(endpoint.key, REASON_GONE),
            in_flight_max=config.in_flight_max,
            in_flight_per_endpoint=config.in_flight_per_endpoint,
        )
        self.intake = IntakeBatcher(store.intake, self.engine, self.metrics, room=lambda: self.engine.board.room)
        self.metrics.gauge("intake_waiting", lambda: self.intake.waiting)
        self.publisher = Publisher(self.catalogue, self.intake, clock, self.new_key)
        tenants = Tenants(store.catalogue, self.catalogue, clock)
        self.endpoints = Endpoints(
            store,
            self.catalogue,
            self.engine,
            tenants,
            TargetCheck(ports.policy, ports.resolve),
            clock=clock,
            entropy=entropy,
            new_key=self.new_key,
        )
        events = Events(store.ledger)
        self.deliveries = Deliveries(store, self.catalogue, self.engine, events, clock)
        self.keys = Keys(store.catalogue, self.catalogue, clock, entropy, self.new_key)
        self.app: ASGIApp = create_app(
            UseCases(
                publisher=self.publisher,
                authenticator=Authenticator(self.catalogue),
                endpoints=self.endpoints,
                deliveries=self.deliveries,
                events=events,
                keys=self.keys,
                tenants=tenants,
                books=Books(store.ledger),
                readiness=Readiness(self._probe, self._unready, clock.monotonic),
                metrics=self.metrics.render,
            )
        )

    async def start(self, *, keep_first_key: Callable[[str], None]) -> None:
        """Read the catalogue, begin to deliver; on a new store make the first API key.

        The embedded store is open in one process only, so whoever held its slots before is dead.
        ``keep_first_key`` gets the key's text, which the store never holds, before the key is stored.
        """
        await self.catalogue.refresh()
        if not self.catalogue.api_keys(Environment.LIVE):
            await self.keys.create_key(Environment.LIVE, Scope.ADMIN, _FIRST_KEY_NAME, before_stored=keep_first_key)
        owners = await self._ports.store.ownership.owners()
        await self.engine.start(dead=sorted({owner for owner, _, _ in owners.values() if owner is not None}))
        await self.endpoints.finish_deletions()

    async def stop(self, *, drain_seconds: float | None = None) -> None:
        """Answer what was taken, drain, release the slots, close everything. Idempotent."""
        self._stopping = True
        await self.intake.close()
        await self.engine.stop(drain_seconds=self._drain_seconds if drain_seconds is None else drain_seconds)
        await self._ports.transport.close()
        await self._ports.store.close()

    def drain(self) -> None:
        """Let ``/readyz`` say that this node goes away."""
        self._stopping = True

    async def _probe(self) -> None:
        await self._ports.store.admin.probe(now=self._ports.clock.now_ms())

    def _unready(self) -> str | None:
        if self._stopping:
            return "it is stopping"
        return None if self.engine.is_ready else "it owns no endpoints yet"
