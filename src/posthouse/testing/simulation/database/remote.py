"""The store as a node has it whose database is the simulated one: its own connection lanes, and a cable behind them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Reach
from posthouse.store.postgres.dial import Wire
from posthouse.store.postgres.lane import Lane, LaneRules, Lanes, Turn
from posthouse.store.postgres.presence import Presence
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import (
    AdminFacet,
    CatalogueFacet,
    FeedFacet,
    HintsChannel,
    InboundFacet,
    Intake,
    JobsFacet,
    LedgerFacet,
    OutboxSource,
    Ownership,
    Settled,
    Settlement,
    WorkFacet,
)
from posthouse.store.shared.gathering import Gatherer
from posthouse.telemetry import Metrics
from posthouse.testing.simulation.database.cable import IS_GONE, PREPARE, Cable
from posthouse.testing.simulation.database.hints import Exchange
from posthouse.testing.simulation.database.ways import WAYS, Kind, Operation, Said

OPENING_S: Final = 60.0  #: a database that is not there is waited for so long
_PAUSE_S: Final = 0.5
_INTAKE_S: Final = 5.0  #: the deadlines of the lanes, as of those in ``store.postgres``
_LANE_S: Final = 10.0


class RemoteStore:
    """A :class:`posthouse.store.protocol.Store` on the simulated server.

    Lanes, readers, verdicts and recovery are those of the real engine; what they ask is not SQL, but the same
    question to the engine behind the cable.
    """

    def __init__(self, lanes: Lanes, readers: Readers, presence: Presence, hints: HintsChannel) -> None:
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lanes = lanes
        self._readers = readers
        self._presence = presence
        self._closing: asyncio.Task[None] | None = None
        self.intake = cast("Intake", _Facet("intake", lanes, readers))
        self.inbound = cast("InboundFacet", _Facet("inbound", lanes, readers))
        self.work = cast("WorkFacet", _Facet("work", lanes, readers))
        self.catalogue = cast("CatalogueFacet", _Facet("catalogue", lanes, readers))
        self.ledger = cast("LedgerFacet", _Facet("ledger", lanes, readers))
        self.ownership = cast("Ownership", _Facet("ownership", lanes, readers))
        self.jobs = cast("JobsFacet", _Facet("jobs", lanes, readers))
        self.feed = cast("FeedFacet", _Facet("feed", lanes, readers))
        self.admin = cast("AdminFacet", _Facet("admin", lanes, readers))
        self.outbox: OutboxSource | None = None
        self.hints: HintsChannel | None = hints
        self.alone = False

    @property
    def alive(self) -> bool:
        """Whether every kind of write may succeed now."""
        return all(lane.alive for lane in self._lanes)

    def when_back(self, told: Callable[[], None]) -> None:
        """Call ``told`` each time that connections were lost and are there again."""
        self._presence.when_back(told)

    async def close(self) -> None:
        """Finish what was submitted, then hang up. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await asyncio.gather(self._readers.close(), *(lane.close() for lane in self._lanes))


async def open_remote(
    cable: Cable, exchange: Exchange, node: int, *, commit_interval_ms: int, metrics: Metrics | None, reach: Reach
) -> RemoteStore:
    """Open the store on the simulated server, as a node of this number. Raises StoreUnavailable."""
    loop = asyncio.get_running_loop()
    until = loop.time() + OPENING_S
    while True:
        try:
            (await cable.dial(node, "open")).terminate()
            break
        except StoreUnavailable:
            if loop.time() + _PAUSE_S > until:
                raise
        await asyncio.sleep(_PAUSE_S)

    def dial(purpose: str) -> Callable[[], Awaitable[Wire]]:
        return lambda: cable.dial(node, purpose)

    readers = Readers(quick=dial("quick"), long=dial("long"), audit=dial("audit"))
    presence = Presence(loop.time, reach=reach)

    async def is_gone(wire: Wire) -> bool:
        try:
            (row,) = await readers.quick(IS_GONE, wire.pid)
        except StoreUnavailable:
            return False
        return bool(row["gone"])

    def lane(number: int, name: str, deadline_s: float, interval_ms: int = 0) -> Lane:
        rules = LaneRules(name=name, number=number, deadline_s=deadline_s, interval_s=interval_ms / 1_000)
        return Lane(
            rules, dial(name), is_gone=is_gone, metrics=metrics or Metrics(), presence=presence, reach=reach
        )  # fmt: skip

    lanes = Lanes(
        intake=lane(0, "intake", _INTAKE_S, commit_interval_ms),
        settle=lane(1, "settle", _LANE_S, commit_interval_ms),
        inbound=lane(2, "inbound", _INTAKE_S, commit_interval_ms),
        misc=lane(3, "misc", _LANE_S),
        pulse=lane(4, "pulse", _LANE_S),
    )
    store = RemoteStore(lanes, readers, presence, exchange.join(node))
    try:
        for each in lanes:
            await each.open()
    except BaseException:
        await store.close()
        raise
    return store


class _Facet:
    """One facet: every method of its protocol, each by its way."""

    def __init__(self, name: str, lanes: Lanes, readers: Readers) -> None:
        self._name = name
        self._lanes = lanes
        self._readers = readers
        self._gatherers = {
            method: Gatherer(getattr(lanes, way.lane).submit, partial(self._send_gathered, method))
            for (facet, method), way in WAYS.items()
            if facet == name and way.gathers
        }

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        way = WAYS[self._name, method]

        async def ask(*args: Any, **named: Any) -> Any:
            if way.gathers:
                return await self._gather(method, args[0])
            return await self._ask(way.kind, way.lane, Operation(self._name, method, args, named))

        return ask

    async def _ask(self, kind: Kind, lane_name: str, operation: Operation) -> Any:
        said: Any
        if kind is Kind.QUICK:
            (said,) = await self._readers.quick(operation.name, operation)
        elif kind in {Kind.LONG, Kind.AUDIT}:
            (said,) = await self._readers.snapshot(
                lambda t: t.rows(operation.name, operation), audit=kind is Kind.AUDIT
            )
        else:
            lane: Lane = getattr(self._lanes, lane_name)
            if kind is Kind.SINGLE:
                (said,) = await lane.single(operation.name, operation)
            else:
                (said,) = await lane.transact(partial(_prepare, operation))
        return said.take()

    async def _gather(self, method: str, items: Sequence[Any]) -> Any:
        """Send these items together with those of others; what came of these."""
        if not items:
            return Settled() if method == "settle" else []
        result, start = await self._gatherers[method].submit(items)
        end = start + len(items)
        if isinstance(result, Settled):
            return Settled(
                tuple(i - start for i in result.fenced if start <= i < end),
                tuple(i - start for i in result.superseded if start <= i < end),
            )
        return None if result is None else result[start:end]

    async def _send_gathered(self, method: str, turn: Turn, items: Sequence[Settlement]) -> Any:
        operation = Operation(self._name, method, (list(items),), {})
        (said,) = cast("list[Any]", await turn.single(operation.name, operation))
        return said.take()


async def _prepare(operation: Operation, transaction: Transaction) -> list[Said]:
    """Say what the transaction is to do; its COMMIT puts what came of it into the list."""
    box: list[Said] = []
    await transaction.rows(PREPARE, operation, box)
    return box
