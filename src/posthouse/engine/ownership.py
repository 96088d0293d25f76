"""Which slots this node may decide about, and under which epochs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.core.ports import Clock
from posthouse.store.protocol import Ownership
from posthouse.telemetry import Log, log


class Leases:
    """Takes the slots, renews them, and knows by the monotonic clock until when they hold.

    ``gaining(slots)`` is awaited before the node works for slots that it got; if it fails, they are asked for again.
    ``renewed(gained, lost)`` is called after each renewal. The node stops by itself before the
    store would give its slots away, so two nodes never send for one endpoint, whatever the wall
    clocks do.
    """

    def __init__(
        self,
        store: Ownership,
        clock: Clock,
        node: str,
        *,
        gaining: Callable[[set[int]], Awaitable[None]],
        renewed: Callable[[set[int], set[int]], None],
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self._dead: dict[str, int] = {}
        self._gaining = gaining
        self._renewed = renewed
        self._reach = reach
        self._valid_until = 0.0
        #: Slot → epoch of what this node holds.
        self.epochs: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()

    @property
    def is_valid(self) -> bool:
        """Whether the leases surely hold at this moment."""
        return self._clock.monotonic() < self._valid_until

    async def start(self, *, dead: Mapping[str, int] | None = None) -> None:
        """Take what can be taken, also from nodes known ``dead`` at a beat; then keep it and take what falls free."""
        self._dead = dict(dead or {})
        await self._take()
        self._task = asyncio.create_task(self._keep())

    async def stop(self, *, release: bool) -> None:
        """Decide nothing more; ``release`` gives the slots back at once, else the leases run out."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self._valid_until = 0.0
        self.epochs = {}
        if release:
            self._reach(Failpoint.LEASE_RELEASING)
            try:
                await self._store.leave(self._node)
                self._reach(Failpoint.LEASE_RELEASED)
            except PosthouseError as error:  # They fall free when the lease runs out.
                log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)

    def doubt(self) -> None:
        """Hold nothing until the store has said anew what this node holds; it is asked at once."""
        self._valid_until = 0.0
        self._doubted.set()

    async def _take(self) -> None:
        asked = self._clock.monotonic()
        self._doubted.clear()
        self._reach(Failpoint.LEASE_ASKED)
        grant = await self._store.acquire(self._node, now=self._clock.now_ms(), lease_ms=LEASE_MS, dead=self._dead)
        held = dict(grant.epochs)
        self._reach(Failpoint.LEASE_HELD)
        lost = {slot for slot, epoch in self.epochs.items() if held.get(slot) != epoch}
        gained = {slot for slot, epoch in held.items() if self.epochs.get(slot) != epoch}
        self.epochs = {slot: epoch for slot, epoch in held.items() if slot not in gained}
        if gained:
            await self._gaining(gained)
        if not self._doubted.is_set():  # else it may be another store that knows nothing of it
            self._valid_until = asked + (LEASE_MS - LEASE_RENEW_MS) / 1000
        self.epochs = held
        if lost:
            log(Log.SLOTS_LOST, count=len(lost))
        if gained:
            log(Log.SLOTS_ACQUIRED, count=len(gained))
        self._renewed(gained, lost)

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_RENEW_MS / 1000):
                    await self._doubted.wait()
            try:
                await self._take()
            except PosthouseError as error:
                log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)
            except Exception as error:  # noqa: BLE001 - a node that stops renewing stops delivering
                log(Log.LOOP_FAILED, exc_info=error, loop="leases")
