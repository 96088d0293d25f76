"""Several whole nodes on one store inside a test, and a receiver that sees what all of them send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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

    def __init__(self, directory: Path, clock: ManualClock, open_store: Callable[[], Awaitable[Store]]) -> None:
        """``open_store()`` opens the store for one more node."""
        self._directory = directory
        self._open_store = open_store
        self.clock = clock
        self.houses: list[House] = []
        self.sent: list[tuple[House, Request]] = []
        self.script: Script = lambda _: answer()

    async def settle_in(self, **settings: Any) -> House:
        """Start one more node."""
        store = await self._open_store()
        house = await House.start(self._directory, clock=self.clock, store=store, **settings)

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
        house.node.engine._handover.retire = _keep_all  # type: ignore[assignment,method-assign]  # noqa: SLF001 - this node is the test's own
        await house.node.stop(drain_seconds=0)

    async def close(self) -> None:
        """Stop all nodes."""
        for house in list(self.houses):
            await self.move_out(house, drain_seconds=0)

    async def beat(self, times: int = 1) -> None:
        """Let time pass until each node has renewed its leases so often, with all that follows from it."""
        for _ in range(times):
            self.clock.advance(LEASE_RENEW_MS)
            for house in self.houses:
                await house.node.engine.leases._take()  # noqa: SLF001 - as its timer would
            await self.rest()

    async def share_out(self, *, beats: int = 40) -> None:
        """Let time pass until every slot has an owner and everybody has as many as the others, within one."""
        for _ in range(beats):
            slots = self.slots()
            if sum(slots) == SLOTS and max(slots) - min(slots) <= 1:
                return
            await self.beat()
        raise AssertionError(f"after {beats} beats the slots are not shared out: {self.slots()}")

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


@asynccontextmanager
async def open_town(directory: Path) -> AsyncIterator[Town]:
    """A new embedded store, and nobody on it yet; at the end all nodes are stopped."""
    clock = ManualClock()
    store = await open_store(directory, clock=clock, commit_interval_ms=0)
    seats: list[Seat] = []
    stays = Seat(store, seats)  # so that the store is open while nobody is there

    async def sit_down() -> Store:
        return Seat(store, seats)

    town = Town(directory, clock, sit_down)
    try:
        yield town
    finally:
        await town.close()
        await stays.close()


async def _keep_all(_seconds: float) -> None:
    """Give nothing up."""
