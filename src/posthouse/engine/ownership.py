"""Which slots this node may decide about, and under which epochs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import EXCHANGE_TIMEOUT_MS_MAX, LEASE_MS, LEASE_RENEW_MS
from posthouse.core.model import SLOTS
from posthouse.core.ports import Clock
from posthouse.engine.membership import Membership
from posthouse.store.protocol import Grant, Ownership
from posthouse.telemetry import Log, log

#: After so long nothing is on its way any more of what an earlier owner of a slot sent.
CALM_SECONDS: Final = EXCHANGE_TIMEOUT_MS_MAX / 1_000
HEED_SECONDS: Final = 0.1  #: between two renewals at least, however often others say that slots are free


class Leases:
    """Takes the slots that this node is to own, renews them, and knows by the monotonic clock until when they hold.

    ``gaining(slots)`` is awaited before the node works for slots that it got; if it fails, they are asked for again.
    ``renewed(gained, lost)`` is called after each renewal. ``freed()`` is called when others can take slots that they
    could not take before. The node stops by itself before another one would take its slots, so two nodes never send for
    one endpoint, whatever the wall clocks do.

    Attributes:
        epochs: slot → epoch of what this node holds and works for.
        leaving: slot → epoch of what it holds, and begins nothing for any more, because another node is to have it.
        unquiet: slot → when it was taken, monotonic seconds: what others sent may still be on its way.
        taken: slot → when it was taken over from somebody else, monotonic seconds.
    """

    def __init__(
        self,
        store: Ownership,
        clock: Clock,
        membership: Membership,
        *,
        gaining: Callable[[set[int]], Awaitable[None]],
        renewed: Callable[[set[int], set[int]], None],
        freed: Callable[[], None] = lambda: None,
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._clock = clock
        self._membership = membership
        self._gaining = gaining
        self._renewed = renewed
        self._freed = freed
        self._reach = reach
        self._valid_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._deciding = asyncio.Lock()  # one of what changes hands is decided at a time
        self._owners: dict[int, str | None] = {}
        self.epochs: dict[int, int] = {}
        self.leaving: dict[int, int] = {}
        self.unquiet: dict[int, float] = {}
        self.taken: dict[int, float] = {}

    @property
    def is_valid(self) -> bool:
        """Whether the leases surely hold at this moment."""
        return self._clock.monotonic() < self._valid_until

    def epoch_of(self, slot: int) -> int | None:
        """Under which epoch this node may write down what it knows of a slot, also while it gives it up."""
        epoch = self.epochs.get(slot)
        return self.leaving.get(slot) if epoch is None else epoch

    def owner_of(self, slot: int) -> str | None:
        """The living node that works for a slot, as of the latest renewal; None: none does."""
        if self.epoch_of(slot) is not None:
            return self._membership.name if self.is_valid else None
        name = self._owners.get(slot)
        return name if name is not None and self._membership.lives(name) else None

    def wanted(self) -> frozenset[int]:
        """The slots that this node is to own, as far as it knows whose they are now."""
        me = self._membership.name
        owners = [me if self.epoch_of(slot) is not None else self._owners.get(slot) for slot in range(SLOTS)]
        return self._membership.wanted(owners)

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take what this node is to own and can be taken; then keep it and take what falls free."""
        await self._membership.work()
        await self._take()
        self._task = asyncio.create_task(self._keep())

    async def stop(self, *, release: bool) -> None:
        """Decide nothing more; ``release`` gives the slots back and takes the node off the register.

        Without it others take them when they see that the node is dead. Idempotent.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self._valid_until = 0.0
        self.epochs, self.leaving = {}, {}
        if release:
            try:
                await self._release(None)
                await self._membership.leave()
                self._freed()
            except PosthouseError as error:  # Others take them when they see that this node is dead.
                log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)

    def doubt(self) -> None:
        """Hold nothing until the store has said anew what this node holds; it is asked at once."""
        self._valid_until = 0.0
        self._doubted.set()
        self._hurry.set()

    def hurry(self) -> None:
        """Renew now: there may be slots to take."""
        self._hurry.set()

    # -- giving up ------------------------------------------------------------------------------

    def begin_leaving(self, slots: Collection[int]) -> None:
        """Begin nothing for these slots any more."""
        for slot in slots:
            epoch = self.epochs.pop(slot, None)
            if epoch is not None:
                self.leaving[slot] = epoch

    def go_on(self, slots: Collection[int]) -> set[int]:
        """Work for these slots again, as far as they were not lost meanwhile; those."""
        kept = {slot for slot in slots if slot in self.leaving}
        for slot in kept:
            self.epochs[slot] = self.leaving.pop(slot)
        return kept

    async def release(self, slots: Collection[int]) -> None:
        """Give up slots for which nothing is on its way. Raises StoreUnavailable; then the next renewal tells."""
        async with self._deciding:
            going = [slot for slot in slots if self.leaving.pop(slot, None) is not None]
            for slot in going:
                self.taken.pop(slot, None)
                self.unquiet.pop(slot, None)
            await self._release(going)
        log(Log.SLOTS_GIVEN_UP, count=len(going))
        self._renewed(set(), set(going))
        self._freed()

    async def _release(self, slots: Collection[int] | None) -> None:
        self._reach(Failpoint.LEASE_RELEASING)
        await self._store.release(self._membership.name, slots)
        self._reach(Failpoint.LEASE_RELEASED)

    # -- renewing -------------------------------------------------------------------------------

    async def _take(self) -> None:
        async with self._deciding:
            self._hurry.clear()
            self._doubted.clear()
            asked = self._clock.monotonic()
            self._reach(Failpoint.LEASE_ASKED)
            if not await self._membership.beat():
                await self._begin_anew()
                await self._membership.beat()
            await self._bury_dead()
            known = await self._see_others()
            grant = await self._store.acquire(self._membership.name, wanted=self.wanted())
            self._reach(Failpoint.LEASE_HELD)
            await self._hold(grant, asked)
            if not known:
                await self._see_others()
        await self._calm()

    async def _bury_dead(self) -> None:
        """Free what the dead own. Whoever holds it fast meanwhile must not cost this node what it owns itself."""
        try:
            if await self._membership.bury_dead():
                self._freed()
        except StoreUnavailable as error:
            log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)

    async def _begin_anew(self) -> None:
        """Others took this node for dead: it owns nothing, and goes on under another name."""
        self._valid_until = 0.0
        lost = set(self.epochs) | set(self.leaving)
        self.epochs, self.leaving, self.unquiet, self.taken = {}, {}, {}, {}
        self._renewed(set(), lost)
        await self._membership.rejoin()

    async def _hold(self, grant: Grant, asked: float) -> None:
        """Work for what the store says that this node owns; it was asked at the monotonic time ``asked``."""
        held = dict(grant.epochs)
        mine = self.epochs | self.leaving
        lost = {slot for slot, epoch in mine.items() if held.get(slot) != epoch}
        gained = {slot for slot, epoch in held.items() if mine.get(slot) != epoch}
        for slot in lost:
            for known in (self.epochs, self.leaving, self.unquiet, self.taken):
                known.pop(slot, None)
        if lost:
            log(Log.SLOTS_LOST, count=len(lost))
            self._renewed(set(), lost)
        now = self._clock.monotonic()
        for slot in gained:
            if held[slot] > 1:  # else nobody had it before
                self.taken[slot] = now
        for slot in grant.unquiet:
            self.unquiet.setdefault(slot, now)
        if not self._doubted.is_set():  # else it may be another store that knows nothing of it
            self._valid_until = asked + (LEASE_MS - LEASE_RENEW_MS) / 1000
        if gained:
            await self._gaining(gained)
            self.epochs |= {slot: held[slot] for slot in gained}
            log(Log.SLOTS_ACQUIRED, count=len(gained))
        self._renewed(gained, set())

    async def _see_others(self) -> bool:
        """Read whose the slots of others are; False: there are none."""
        if len(self.epochs) + len(self.leaving) == SLOTS:
            return False
        self._owners = {slot: owner for slot, (owner, _, _) in (await self._store.owners()).items()}
        return True

    async def _calm(self) -> None:
        """Say of slots for which nothing of earlier owners can be on its way any more that they are calm."""
        now = self._clock.monotonic()
        calm = {slot: self.epoch_of(slot) for slot, at in self.unquiet.items() if now - at >= CALM_SECONDS}
        held = {slot: epoch for slot, epoch in calm.items() if epoch is not None}
        if held:
            await self._store.calm(self._membership.name, held)
            for slot in held:
                self.unquiet.pop(slot, None)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()  # all waits count from here: who stood still meanwhile is late already
            due = began + self._membership.next_look
            await _wait(self._doubted, min(began + HEED_SECONDS, due))
            await _wait(self._hurry, due)
            try:
                await self._take()
            except PosthouseError as error:
                log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)
            except Exception as error:  # noqa: BLE001 - a node that stops renewing stops delivering
                log(Log.LOOP_FAILED, exc_info=error, loop="leases")


async def _wait(event: asyncio.Event, until: float) -> None:
    """Until it is set, or it is that late by the loop's clock."""
    if until > asyncio.get_running_loop().time():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await event.wait()
