"""Giving slots to another node: nothing more is begun for them, what is on its way ends, and then they are free.

So nothing is sent twice, and nobody has to wait for anything that may still be on its way. A slot that does not come to
rest soon is kept and goes on: an endpoint of it answers slowly. It is tried again later, ever more seldom and with more
patience.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from posthouse.core.assignment import to_give_up
from posthouse.core.errors import PosthouseError
from posthouse.core.model import slot_of
from posthouse.engine.board import Board
from posthouse.engine.membership import Membership
from posthouse.engine.ownership import Leases
from posthouse.engine.settler import Settler
from posthouse.engine.windows import Desk
from posthouse.telemetry import Log, log

GIVEN_UP_MAX: Final = 16  #: slots that are given up at a time
PATIENCE_SECONDS: Final = 0.5  #: for what is on its way, at the first try; then twice as long each time …
PATIENCE_SECONDS_MAX: Final = 8.0  #: … up to this
AGAIN_SECONDS: Final = 4.0  #: after the first try that failed comes the next; then twice as long each time …
AGAIN_SECONDS_MAX: Final = 600.0  #: … up to this
_LOOK_SECONDS: Final = 0.005  # between two looks whether something has come to rest


class _Tried(NamedTuple):
    """A slot that did not come to rest."""

    times: int
    again_at: float  # by the loop's clock


class HandOver:
    """Lets go of slots, a few at a time.

    ``writing()`` gives the slots of whose endpoints something is still to be written down; ``resumed(slots)`` is called
    for those that are kept after all.
    """

    def __init__(
        self,
        membership: Membership,
        leases: Leases,
        board: Board,
        settler: Settler,
        *,
        writing: Callable[[], set[int]],
        resumed: Callable[[set[int]], None],
    ) -> None:
        self._membership = membership
        self._leases = leases
        self._board = board
        self._settler = settler
        self._writing = writing
        self._resumed = resumed
        self._tried: dict[int, _Tried] = {}  # by slot
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin to give up some of what others are to own, unless that is under way."""
        if self._task is not None or not self._membership.takes_slots:
            return
        wanted, now = self._leases.wanted(), asyncio.get_running_loop().time()
        self._tried = {
            slot: tried for slot, tried in self._tried.items() if slot in self._leases.epochs.keys() - wanted
        }
        # What has not failed yet goes first, so that what never comes to rest holds up nobody.
        slots = to_give_up(self._leases.epochs.keys() - self._tried.keys(), wanted, most=GIVEN_UP_MAX)
        if not slots:
            slots = sorted(slot for slot, tried in self._tried.items() if tried.again_at <= now)[:1]
        if slots:
            self._task = asyncio.get_running_loop().create_task(self._run(slots))

    async def retire(self, seconds: float) -> None:
        """Give up everything, each slot as soon as it has come to rest, but wait no longer than so many seconds.

        Others are told first that this node takes no more, so that they ask for what it gives up. Nothing may be begun
        any more by then. Raises StoreUnavailable.
        """
        await self.stop()
        if self._membership.workers == [self._membership.name]:
            return  # nobody is there who could take them: they are given up when all is done
        await self._membership.retire()
        await self._give(set(self._leases.epochs), seconds)

    async def stop(self) -> None:
        """Keep what is not given up yet. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, slots: Collection[int]) -> None:
        times = {slot: self._tried[slot].times if slot in self._tried else 0 for slot in slots}
        try:
            kept = await self._give(set(slots), _grown(PATIENCE_SECONDS, max(times.values()), PATIENCE_SECONDS_MAX))
            now = asyncio.get_running_loop().time()
            for slot in kept:
                again_at = now + _grown(AGAIN_SECONDS, times[slot], AGAIN_SECONDS_MAX)
                self._tried[slot] = _Tried(times[slot] + 1, again_at)
        except PosthouseError as error:  # the next renewal tells whose they are
            log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)
        except Exception as error:  # noqa: BLE001 - it is tried again
            log(Log.LOOP_FAILED, exc_info=error, loop="handover")
        finally:
            self._task = None

    async def _give(self, slots: set[int], seconds: float) -> set[int]:
        """Give these up as they come to rest; those that did not in time, which go on."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self._leases.begin_leaving(slots)
        desks = list(self._board.desks_in(slots))
        for desk in desks:
            self._board.forget_all(desk)
        left = {slot for slot in slots if slot in self._leases.leaving}
        try:
            while left:
                desks = [desk for desk in desks if not _is_at_rest(desk)]
                resting = left - self._restless(desks)
                if resting:
                    left -= resting
                    await self._leases.release(resting)
                elif loop.time() >= until:
                    break
                else:
                    await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._resumed(self._leases.go_on(left))
        return left

    def _restless(self, desks: Collection[Desk]) -> set[int]:
        """Slots for which something is on its way, or known and not durable."""
        settling = {slot_of(endpoint_key) for endpoint_key, _ in self._settler.deliveries()}
        return {desk.slot for desk in desks} | settling | self._writing()


def _is_at_rest(desk: Desk) -> bool:
    is_speaking = desk.contact is not None and desk.contact.is_busy
    return not (desk.in_hand or desk.in_flight or desk.is_probed or is_speaking)


def _grown(first: float, times: int, most: float) -> float:
    return min(first * (1 << min(times, 16)), most)
