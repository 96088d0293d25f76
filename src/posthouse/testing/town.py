"""Several whole nodes on one store inside a test, and a receiver that sees what all of them send."""

import asyncio
from pathlib import Path
from typing import Any, Self

from posthouse.core.limits import LEASE_RENEW_MS
from posthouse.core.model import SLOTS, Endpoint, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import Script, answer
from posthouse.testing.seats import Seat
from posthouse.transport.protocol import Exchange, Request


class Town:
    """Houses on one store, by one clock.

    Attributes:
        clock: of all nodes.
        houses: of nodes that run.
        sent: every request, with the house that sent it, in order.
        script: how all requests are answered.
    """

    def __init__(self, directory: Path, store: Store, clock: ManualClock) -> None:
        self._directory = directory
        self._store = store
        self._seats: list[Seat] = []
        self.clock = clock
        self.houses: list[House] = []
        self.sent: list[tuple[House, Request]] = []
        self.script: Script = lambda _: answer()

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """A store, and nobody on it."""
        clock = ManualClock()
        town = cls(directory, await open_store(directory, clock=clock, commit_interval_ms=0), clock)
        Seat(town._store, town._seats)  # so that the store stays open when the last node ends
        return town

    async def settle_in(self, **settings: Any) -> House:
        """Start one more node."""
        seat = Seat(self._store, self._seats)
        house = await House.start(self._directory, clock=self.clock, store=seat, **settings)

        def script(request: Request) -> "Exchange | asyncio.Future[Exchange]":
            self.sent.append((house, request))
            return self.script(request)

        house.transport.script = script
        self.houses.append(house)
        return house

    async def move_out(self, house: House, *, drain_seconds: float = 5.0) -> None:
        """Stop a node as it should be."""
        self.houses.remove(house)
        await house.node.stop(drain_seconds=drain_seconds)

    async def die(self, house: House) -> None:
        """Let a node end without a word: it gives nothing back, and nothing that it has on its way is settled."""
        self.houses.remove(house)
        leases = house.node.engine.leases
        if leases._task is not None:  # noqa: SLF001 - nothing ends a task so suddenly
            leases._task.cancel()  # noqa: SLF001
            leases._task = None  # noqa: SLF001
        house.node.engine._handover._membership._role = house.node.engine._handover._membership._role  # noqa: SLF001
        await house.node.stop(drain_seconds=0)

    async def close(self) -> None:
        """Stop all nodes, and close the store."""
        for house in list(self.houses):
            await self.move_out(house, drain_seconds=0)
        await self._store.close()

    async def beat(self, times: int = 1) -> None:
        """Let time pass until each node has renewed its leases so often, with all that follows from it."""
        for _ in range(times):
            self.clock.advance(LEASE_RENEW_MS)
            for house in self.houses:
                await house.node.engine.leases._take()  # noqa: SLF001 - as its timer would
            await self.rest()

    async def rest(self) -> None:
        """Let hand-overs that are under way end."""
        for house in self.houses:
            await house.until(lambda house=house: house.node.engine._handover._task is None)  # type: ignore[misc]  # noqa: SLF001

    async def pass_time(self, ms: int, *, step_ms: int = 1_000) -> None:
        """Let time pass step by step, with all that the nodes do by their timers."""
        for _ in range(0, ms, step_ms):
            self.clock.advance(step_ms)
            for house in self.houses:
                await house.node.engine.leases._take()  # noqa: SLF001
                house.node.engine.board.turns.look()
                await house.node.engine._sweeper.sweep()  # noqa: SLF001
            await self.rest()
            for house in self.houses:
                await house.quiet()

    def owner(self, endpoint: Endpoint) -> House | None:
        """The node that works for an endpoint."""
        slot = slot_of(endpoint.key)
        owners = [house for house in self.houses if slot in house.node.engine.leases.epochs]
        assert len(owners) <= 1, "a slot has one owner"
        return owners[0] if owners else None

    def slots(self) -> list[int]:
        """How many slots each node owns."""
        owned = [set(house.node.engine.leases.epochs) for house in self.houses]
        assert sum(map(len, owned)) == len(set().union(*owned)) <= SLOTS, "a slot has one owner"
        return [len(slots) for slots in owned]
