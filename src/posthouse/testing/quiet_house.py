"""A gateway without an engine and an inbox, in process: it does all that the API does, and sends and reads nothing.

For tests of programs that publish: what they send is checked, stored and shown by the real thing,
and every delivery stays open for the test to look at.

    async with open_quiet_house(directory) as house, house.client(house.admin_key) as client:
        await client.post("/v1/events", json={"type": "order.created", "data": {}})
"""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
from starlette.types import ASGIApp

from posthouse.api.application import create_app
from posthouse.api.health import Readiness
from posthouse.core.address import AddressPolicy
from posthouse.core.inbound import Source
from posthouse.core.jobs import JobFilter
from posthouse.core.limits import INTAKE_WAITING_MAX
from posthouse.core.model import Endpoint, Environment, Lane, Scope, Tenant
from posthouse.core.ports import Clock
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.gateway import Gateway
from posthouse.gateway.hints import Condition, Holding
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.refused import RefusedRoom
from posthouse.gateway.routes import EventRouter
from posthouse.ingest.edge import InboundEdge
from posthouse.store.open import open_store
from posthouse.store.protocol import InboxItem, Store, Work
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.names import Names

_NODE: Final = 1


class SeededEntropy:
    """Implements :class:`posthouse.core.ports.Entropy`: the same chance every time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - secrets of a test guard nothing

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._random.random()

    def token(self, size: int) -> bytes:
        """``size`` bytes."""
        return self._random.randbytes(size)


class RecordedHints:
    """Implements :class:`posthouse.gateway.hints.Hints`: keeps what it is told, does nothing."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.dues: list[tuple[int, Lane]] = []
        self.endpoints: list[Endpoint] = []
        self.withdrawals: list[tuple[int, int]] = []
        self.tenants: list[Tenant] = []
        self.jobs: list[int] = []
        #: How fast jobs are, by key.
        self.paces: dict[int, float] = {}
        #: What holds the backlog of which endpoints, by holder.
        self.backlogs: dict[int, JobFilter] = {}
        #: What counts as holding deliveries, by (event key, endpoint key).
        self.holdings: dict[tuple[int, int], Holding] = {}
        #: How endpoints are, if not well, by key.
        self.conditions: dict[int, Condition] = {}

    def accepted(self, work: Sequence[Work]) -> None:
        """These obligations are durable."""
        self.work += work

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """There may be due work for this endpoint."""
        self.dues.append((endpoint_key, lane))

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """This is the endpoint as it is now."""
        self.endpoints.append(endpoint)

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """This delivery is no longer open."""
        self.withdrawals.append((event_key, endpoint_key))

    def tenant_changed(self, tenant: Tenant) -> None:
        """This is the tenant as it is now."""
        self.tenants.append(tenant)

    def hold_backlog(self, holder: int, scope: JobFilter) -> None:
        """Send nothing from these backlog lanes."""
        self.backlogs[holder] = scope

    def release_backlog(self, holder: int) -> None:
        """What was held goes on."""
        self.backlogs.pop(holder, None)

    def job_changed(self, job_key: int) -> None:
        """This job was made or changed."""
        self.jobs.append(job_key)

    def job_pace(self, job_key: int) -> float | None:
        """What the test says."""
        return self.paces.get(job_key)

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What the test says."""
        del lane
        return self.holdings.get((event_key, endpoint_key))

    def condition(self, endpoint_key: int) -> Condition:
        """What the test says; else that it is well."""
        return self.conditions.get(endpoint_key, Condition())


class RecordedInbox:
    """Implements :class:`posthouse.gateway.hints.InboxHints`: keeps what it is told, does nothing."""

    def __init__(self) -> None:
        self.items: list[InboxItem] = []
        self.sources: list[Source] = []
        self.returns: list[int] = []

    def arrived(self, items: Sequence[InboxItem]) -> None:
        """These requests are durable."""
        self.items += items

    def source_changed(self, source: Source) -> None:
        """This is the source as it is now."""
        self.sources.append(source)

    def returned(self, source_key: int) -> None:
        """There may be due items of this source."""
        self.returns.append(source_key)


class QuietHouse:
    """The gateway and its API over an open store.

    Attributes:
        gateway: what the API serves.
        app: the API as an ASGI application.
        direct: what a server answers without ASGI.
        admin_key: text of a live API key with the scope admin.
        hints: what an engine would have been told.
        inbox: what an inbox would have been told.
        names: the name server that endpoint URLs are checked with.
        unready: set to a reason to make the node unready.
    """

    def __init__(self, store: Store, clock: Clock, *, key_floor: int) -> None:
        self.store = store
        self.clock = clock
        self.hints = RecordedHints()
        self.inbox = RecordedInbox()
        self.names = Names()
        self.unready: str | None = None
        self.admin_key = ""
        catalogue, metrics = Catalogue(store.catalogue), Metrics()
        self.gateway = Gateway(
            store,
            catalogue,
            self.hints,
            self.inbox,
            metrics=metrics,
            clock=clock,
            entropy=SeededEntropy(),
            new_key=KeySource(clock, node=_NODE, floor=key_floor),
            policy=AddressPolicy(),
            resolve=self.names,
            room=lambda: INTAKE_WAITING_MAX,
            router=EventRouter(catalogue),
            refused=RefusedRoom(store.inbound),
        )
        edge = InboundEdge(catalogue, self.gateway.receiver, clock, metrics)
        self.direct = edge.direct
        self.app: ASGIApp = create_app(
            self.gateway,
            inbound=edge,
            readiness=Readiness(self._probe, lambda: self.unready, clock.monotonic),
            metrics=lambda: b"",
        )

    async def create_key(self, environment: Environment, scope: Scope) -> str:
        """The text of a new API key."""
        texts: list[str] = []
        await self.gateway.keys.create_key(environment, scope, f"{environment} {scope}", before_stored=texts.append)
        return texts[0]

    def client(self, key: str | None = None) -> httpx2.AsyncClient:
        """A client of the API in this process; what the application raises is raised to the caller."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx2.ASGITransport(self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://house.test", headers=headers)

    async def _probe(self) -> None:
        await self.store.admin.probe(now=self.clock.now_ms())


@asynccontextmanager
async def open_quiet_house(directory: Path, *, clock: Clock | None = None) -> AsyncIterator[QuietHouse]:
    """A house over the store in ``directory``, with an admin key; closed at the end of the block."""
    clock = clock or ManualClock()
    store = await open_store(directory, clock=clock, commit_interval_ms=0)
    try:
        house = QuietHouse(store, clock, key_floor=await store.admin.key_floor())
        await house.gateway.catalogue.refresh()
        house.admin_key = await house.create_key(Environment.LIVE, Scope.ADMIN)
        yield house
        await house.gateway.feed.close()
        await house.gateway.receiver.close()
        await house.gateway.intake.close()
    finally:
        await store.close()
