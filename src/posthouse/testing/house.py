"""A whole node inside a test: real store, real engine; only the clock and the network are scripted."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx2

from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.delivery import State
from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Incident, Quarantined, Source, WhilePaused
from posthouse.core.model import Endpoint, Environment, Event
from posthouse.gateway.books import Balance, Books
from posthouse.gateway.endpoint_input import EndpointSpec
from posthouse.gateway.source_input import SourceSpec
from posthouse.node import Node, Ports
from posthouse.store.open import open_outbox, open_store
from posthouse.store.protocol import (
    Accepted,
    DeliveryRecord,
    EventQuery,
    IncidentQuery,
    QuarantineQuery,
    Settled,
    Settlement,
    Store,
)
from posthouse.system import SystemEntropy
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import ScriptedTransport
from posthouse.testing.seats import Seat

#: Turns of the loop, each a millisecond or more, in which requests stay open and nothing else happens. The longest that
#: a node waits of itself with a request in hand is a second.
_TURNS_MAX: Final = 5_000


class House:
    """A running node, and what a test does with it."""

    def __init__(
        self, directory: Path, node: Node, ports: Ports, clock: ManualClock, transport: ScriptedTransport
    ) -> None:
        self.directory = directory
        self.node = node
        self.ports = ports
        self.clock = clock
        self.transport = transport

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        clock: ManualClock | None = None,
        store: Store | None = None,
        alone: bool = True,
        **settings: Any,
    ) -> Self:
        """Start a node on the store in ``directory``, or on an open one; ``settings`` are those of its configuration.

        ``alone``: False lets a test play other nodes on the store.
        Names never resolve. The caller stops it: ``await house.node.stop()``.
        """
        clock = clock or ManualClock()
        if store is None:
            store = await open_store(directory, clock=clock, commit_interval_ms=0)
            if not alone:
                store = Seat(store, [])
        transport = ScriptedTransport()

        async def resolve(host: str) -> list[str]:
            raise OSError(host)

        config = Config(**settings)
        ports = Ports(
            clock=clock,
            entropy=SystemEntropy(),
            store=store,
            transport=transport,
            policy=AddressPolicy(),
            resolve=resolve,
            outbox=None if config.outbox is None else open_outbox(config.outbox.get_secret_value(), store),
        )
        node = Node(config, ports, key_floor=await store.admin.key_floor())
        await node.start(keep_first_key=lambda _: None)
        return cls(directory, node, ports, clock, transport)

    async def endpoint(
        self, *events: str, url: str = "http://203.0.114.1/hook", proven: bool = True, **fields: Any
    ) -> Endpoint:
        """Create an endpoint, for all events unless some are named; ``proven``: as if it had answered already."""
        spec = EndpointSpec(url=url, events=events or ("*",), **fields)
        endpoint = (await self.node.gateway.endpoints.create(Environment.LIVE, spec)).endpoint
        desk = self.node.engine.board.desk(endpoint.key)
        if desk is not None:
            desk.prove(proven=proven)
        return endpoint

    async def source(self, provider: str, *secrets: str, **fields: Any) -> Source:
        """Create a source with these secrets, newest first."""
        spec = SourceSpec(name=provider, provider=provider, secrets=secrets, **fields)
        return await self.node.gateway.sources.create(Environment.LIVE, spec)

    async def post(
        self, source: Source, body: bytes, headers: Mapping[str, str] | None = None, *, query: str = ""
    ) -> httpx2.Response:
        """Send a request to a source, as its sender would."""
        transport = httpx2.ASGITransport(self.node.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://node.test") as client:
            return await client.post(f"/in/{source.token}{query}", content=body, headers=dict(headers or {}))

    async def pause(self, source: Source, while_paused: WhilePaused = WhilePaused.HOLD) -> None:
        """Pause a source."""
        await self.node.gateway.sources.pause(Environment.LIVE, make_id(SOURCE, source.key), while_paused=while_paused)

    async def resume(self, source: Source) -> None:
        """Resume a source."""
        await self.node.gateway.sources.resume(Environment.LIVE, make_id(SOURCE, source.key))

    async def look_after(self) -> None:
        """Let the node look after its sources, as its timer would."""
        await self.node._keeper.look()  # noqa: SLF001 - as its timer would

    async def read(self, count: int) -> None:
        """Wait until ``count`` requests in all were passed on."""
        await self.until(lambda: self.node.metrics.requests_read >= count)

    async def events(self) -> list[Event]:
        """All events, oldest first."""
        records = await self.ports.store.ledger.events(EventQuery(environment=Environment.LIVE, limit=10_000))
        return [record.event for record in reversed(records)]

    async def quarantine(self) -> list[Quarantined]:
        """What is in quarantine."""
        query = QuarantineQuery(environment=Environment.LIVE, oldest_first=True, limit=10_000)
        return await self.ports.store.inbound.quarantine(query)

    async def incidents(self) -> list[Incident]:
        """All incidents, oldest first."""
        query = IncidentQuery(environment=Environment.LIVE, limit=10_000)
        return list(reversed(await self.ports.store.inbound.incidents(query)))

    async def publish(self, event_type: str = "t", data: object = 1, **fields: object) -> Accepted:
        """Publish one event."""
        body = json.dumps({"type": event_type, "data": data, **fields}).encode()
        return await self.node.gateway.publisher.publish(Environment.LIVE, body, None)

    async def delivery(self, event: Accepted, endpoint: Endpoint) -> DeliveryRecord:
        """The delivery of ``event`` to ``endpoint`` as the ledger shows it."""
        record = await self.ports.store.ledger.delivery(event.key, endpoint.key)
        assert record is not None
        return record

    async def settled(self, count: int) -> None:
        """Wait until ``count`` outcomes in all are durable."""
        await self.until(lambda: sum(self.node.metrics.deliveries_settled.values()) >= count)

    async def nothing_open(self) -> None:
        """Wait until all that is owed is settled, by whatever way.

        What a newer state discards in the transaction that accepts it is no outcome: :meth:`settled` does not count it.
        """
        while (books := await self.books()).waiting or books.retrying:  # noqa: ASYNC110 - as for until()
            await asyncio.sleep(0.001)

    def hold_outcomes(self) -> asyncio.Event:
        """Let no outcome be written until the event is set."""
        store = self.ports.store.work
        settle, written = store.settle, asyncio.Event()

        async def held(settlements: Sequence[Settlement]) -> Settled:
            await written.wait()
            return await settle(settlements)

        store.settle = held  # type: ignore[method-assign]  # this store is the test's own
        return written

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until ``condition`` holds; the test's own time limit is the bound."""
        while not condition():  # noqa: ASYNC110 - the node signals nothing for it, and must not
            await asyncio.sleep(0.001)

    async def wake(self, ms: int) -> None:
        """Let time pass, and let the node look at its clock as its timers would."""
        self.clock.advance(ms)
        self.node.engine.board.turns.look()
        await self.node.engine.survey()

    async def pass_time(self, ms: int, *, step_ms: int = 1_000, hanging: int = 0) -> None:
        """Let time pass step by step, with all that the node does by its timers, until each step has had its effect.

        ``hanging``: requests that stay open meanwhile.
        """
        engine = self.node.engine
        for passed in range(0, ms, step_ms):
            self.clock.advance(min(step_ms, ms - passed))
            await engine.leases._take()  # noqa: SLF001 - as its timer would
            engine.board.turns.look()
            await engine._sweeper.sweep()  # noqa: SLF001 - as its timer would
            await self.quiet(hanging=hanging)

    async def quiet(self, *, hanging: int = 0) -> None:
        """Let the loop turn until nothing more happens unless time passes.

        Raises AssertionError if nothing more happens and more than ``hanging`` requests stay open all the same.
        """
        engine = self.node.engine
        dispatcher, refills = engine._dispatcher, engine._refills  # noqa: SLF001 - nobody else has to know
        seen, turns = (0, 0), 0

        def is_quiet() -> bool:
            nonlocal seen, turns
            if dispatcher._tick_due or refills._reads or engine.settler.unsettled:  # noqa: SLF001
                turns = 0
                return False
            now = len(dispatcher._tasks), len(self.transport.requests)  # noqa: SLF001
            seen, turns = now, turns + 1 if now == seen else 0
            assert turns < _TURNS_MAX, f"{now[0]} requests stay open, not {hanging}"
            return now[0] <= hanging

        await self.until(is_quiet)

    async def books(self) -> Balance:
        """The books, recounted."""
        return (await Books(self.ports.store.ledger, self.ports.store.inbound).audit(Environment.LIVE)).total

    async def states(self) -> dict[State, int]:
        """Deliveries by state, recounted."""
        total = await self.books()
        return {
            State.DELIVERED: total.delivered,
            State.WAITING: total.waiting,
            State.RETRYING: total.retrying,
            State.EXHAUSTED: total.exhausted,
            State.DISCARDED: sum(total.discarded.values()),
        }
