"""An outbox that is drained when a test says so, into a store without an engine."""

from collections.abc import Sequence
from typing import Any, Self

from posthouse.core.model import Environment, Event
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.outbox import Drain
from posthouse.gateway.publish import Publisher
from posthouse.gateway.routes import EventRouter
from posthouse.store.protocol import EventQuery, OutboxSource, Store, Work
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock


class Sluice:
    """What stands between an outbox and a store, as in a node."""

    def __init__(
        self, store: Store, source: OutboxSource, catalogue: Catalogue, *, clock: ManualClock, floor: int
    ) -> None:
        self.store = store
        self.catalogue = catalogue
        self.metrics = Metrics()
        self.heard: list[Work] = []  #: what the engine was told
        intake = IntakeBatcher(store.intake, _Ear(self.heard), self.metrics, room=lambda: 1_000)
        keys = KeySource(clock, node=1, floor=floor)
        self.publisher = Publisher(catalogue, EventRouter(catalogue), intake, clock, keys)
        self.drain = Drain(source, self.publisher, intake, clock, self.metrics)

    @classmethod
    async def open(cls, store: Store, source: OutboxSource, *, clock: ManualClock) -> Self:
        """For an open store and one outbox. The caller closes both."""
        catalogue = Catalogue(store.catalogue)
        await catalogue.refresh()
        return cls(store, source, catalogue, clock=clock, floor=await store.admin.key_floor())

    async def empty(self) -> int:
        """Drain until nothing more comes; how many rows were taken."""
        taken = 0
        while more := await self.drain.step():
            taken += more
        return taken

    async def events(self, environment: Environment = Environment.LIVE) -> list[Event]:
        """All events of the store, in the order of their acceptance."""
        records = await self.store.ledger.events(EventQuery(environment=environment, limit=10_000))
        return [record.event for record in reversed(records)]


class _Ear:
    """Hears what the engine would hear, and is asked nothing."""

    def __init__(self, heard: list[Work]) -> None:
        self._heard = heard

    def accepted(self, work: Sequence[Work]) -> None:
        """Note it."""
        self._heard += work

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a drain must not use {name}")
