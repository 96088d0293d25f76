"""The dispatcher: starts the requests whose turn it is, and hands on what came of them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Final, Protocol

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import UNSETTLED_MAX
from posthouse.core.model import Obligation
from posthouse.core.ports import Clock
from posthouse.engine.board import Board
from posthouse.engine.faults import Faults
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.sender import Outcome, Sender, Unmet, Unusable
from posthouse.engine.settler import Settler
from posthouse.engine.windows import Desk
from posthouse.store.protocol import Work
from posthouse.telemetry import Log, log
from posthouse.transport.protocol import Exchange, Failure

BRISK_US: Final = 250_000  #: an answer within this time shows that the endpoint is not what work waits for
FAULT_PAUSE_SECONDS: Final = 1.0  #: before a delivery is touched again of whose fault not even a row can be made
LOOK_AGAIN_SECONDS: Final = 1.0  #: at the longest, while a part of a batch waits for the rate of its endpoint
ROOM_SECONDS: Final = 0.05  #: between two looks, while it waits for others' room
_SILENT: Final = frozenset({Failure.CONNECT_TIMEOUT, Failure.READ_TIMEOUT})


class Watcher(Protocol):
    """Who looks after endpoints that do not answer as they should."""

    def answered(self, desk: Desk, works: list[Work], outcome: Outcome, *, probe: bool) -> None:
        """A request ended; ``probe``: it was sent to see whether the endpoint is up."""
        ...

    def probed(self, desk: Desk) -> None:
        """A probe ended in whatever way."""
        ...


class Dispatcher:
    """One task for each request. What a request was for stays in hand until its outcome is durable.

    ``superseded(works)`` gets what a newer event supersedes, which is still in hand.
    ``let_go(desk, obligation)`` gets what the store is to say about again.
    """

    def __init__(
        self,
        board: Board,
        *,
        leases: Leases,
        refills: Refills,
        sender: Sender,
        faults: Faults,
        settler: Settler,
        let_go: Callable[[Desk, Obligation], None],
        superseded: Callable[[list[Work]], None],
        clock: Clock,
        reach: Reach = pass_by,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._board = board
        self._leases = leases
        self._refills = refills
        self._sender = sender
        self._faults = faults
        self._settler = settler
        self._let_go = let_go
        self._superseded = superseded
        self._clock = clock
        self._reach = reach
        self._tick_due = False
        self._running = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.warden: Watcher  #: set by who makes both
        self._hindered = False  # something did not go out at once since somebody last asked

    def start(self) -> None:
        """Begin to send."""
        self._running = True

    def pause(self) -> None:
        """Start nothing new."""
        self._running = False

    async def stop(self, *, drain_seconds: float) -> None:
        """Start nothing new, and wait for what is on its way; what is late is cut off. Idempotent."""
        self._running = False
        until = self._loop.time() + drain_seconds
        while self._tasks and (left := until - self._loop.time()) > 0:  # what ends may leave something to write down
            await asyncio.wait(self._tasks, timeout=left)
        if self._tasks:
            late = set(self._tasks)
            log(Log.UNDELIVERED_AT_STOP, count=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    @property
    def is_running(self) -> bool:
        """Whether requests may start."""
        return self._running

    def was_hindered(self) -> bool:
        """Whether the node's own bounds kept something waiting since this was asked before."""
        hindered, self._hindered = self._hindered, False
        return hindered

    def kick(self) -> None:
        """Look once, in this turn of the loop, what may go."""
        if not self._tick_due:
            self._tick_due = True
            self._loop.call_soon(self._tick)

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        """Let something run that a stop waits for."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    @property
    def capacity(self) -> int:
        """How many requests may start now."""
        if not self._running or not self._leases.is_valid:
            return 0
        return min(self._board.turns.room, UNSETTLED_MAX - self._settler.unsettled)

    def _tick(self) -> None:
        """Start what has its turn."""
        self._tick_due = False
        capacity = self.capacity
        if capacity <= 0:
            self._hindered = True
            return
        turns = self._board.turns
        for window, works in turns.choose(capacity):
            self.spawn(self._deliver(window.desk, works, self._leases.epochs.get(window.desk.slot)))
            self._refills.want(window)
        if turns.superseded:
            superseded, turns.superseded = turns.superseded, []
            self._superseded(superseded)
        self._hindered |= turns.room <= 0

    def probe(self, desk: Desk, work: Work, now: float) -> None:
        """Send this delivery, which is in hand, to an endpoint that is down; at monotonic time ``now``."""
        self._board.turns.begin(desk, [work], now)
        self.spawn(self._deliver(desk, [work], self._leases.epochs.get(desk.slot), probe=True))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(Log.LOOP_FAILED, exc_info=error, loop="deliver")

    async def _deliver(self, desk: Desk, works: list[Work], epoch: int | None, *, probe: bool = False) -> None:
        """Make one request, and another one for each part in which its deliveries go out again as soon as they may."""
        parts = [works]
        owed = {work.obligation.event_key: work.obligation for work in works}  # without an outcome so far
        exchange: Exchange | None = None
        try:
            while parts:
                part = parts.pop(0)
                is_free = exchange is None or await self._may_go_on(desk, owed)
                if not is_free or epoch is None or not self._holds(desk, epoch):
                    break
                self._reach(Failpoint.SEND_CHOSEN)
                outcome = await self._sender.attempt(desk, part, epoch, probe=probe)
                exchange = outcome.exchange or exchange
                self._reach(Failpoint.SETTLE_DECIDED)
                for settlement in outcome.settlements:
                    self._settler.add(settlement)
                    owed.pop(settlement.obligation.event_key, None)
                parts = [*outcome.again, *parts]
                self.warden.answered(desk, part, outcome, probe=probe)
        except (Unmet, Unusable) as error:
            self.refused(desk, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # The stop cut it off. The store still owes it.
                desk.release(owed)
                raise
            await self._fault_all(desk, owed, epoch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns these deliveries only
            await self._fault_all(desk, owed, epoch, error)
        finally:
            self.land(desk, works, exchange)
            if probe:
                self.warden.probed(desk)
            self.kick()
        for obligation in owed.values():
            self._let_go(desk, obligation)

    def refused(self, desk: Desk, error: Unmet | Unusable) -> None:
        """Nothing was sent. Who is to answer a handshake first is held already; the store still owes it everything."""
        if isinstance(error, Unusable):
            self._board.hold(desk, str(error))

    def land(self, desk: Desk, works: list[Work], exchange: Exchange | None) -> None:
        """Give back the room of a request. Where nothing was sent, nothing is learnt about the endpoint."""
        if exchange is None:
            brisk, proven = desk.is_brisk, desk.is_proven
        else:
            brisk = exchange.failure is None and exchange.timings.total_us < BRISK_US
            proven = exchange.failure not in _SILENT
        self._board.land(desk, works, brisk=brisk, proven=proven)

    def _holds(self, desk: Desk, epoch: int) -> bool:
        """Whether the lease under which deliveries were chosen holds still: the process may have stood still since."""
        return self._leases.is_valid and self._leases.epochs.get(desk.slot) == epoch

    async def _may_go_on(self, desk: Desk, owed: Collection[int]) -> bool:
        """Take a turn for one more request of those in hand, when the rates allow it; False: the endpoint gets none.

        As long as they do not, others have the room of the request that ended.
        """
        turns = self._board.turns
        now = self._clock.monotonic()
        wait = turns.ready_at(desk) - now
        if wait <= 0 and self._running and not desk.is_stopped:
            turns.took(desk, now)
            return True
        turns.rest(desk, owed)
        self.kick()
        try:
            while self._running and not desk.is_stopped:
                now = self._clock.monotonic()
                wait = turns.ready_at(desk) - now
                if wait <= 0 and turns.has_room(desk):
                    turns.took(desk, now)
                    return True
                await asyncio.sleep(min(wait, LOOK_AGAIN_SECONDS) if wait > 0 else ROOM_SECONDS)
            return False
        finally:
            turns.go_on(desk, owed)

    async def _fault_all(
        self, desk: Desk, owed: dict[int, Obligation], epoch: int | None, error: BaseException
    ) -> None:
        """Make a fault of the program an attempt of each delivery that has no outcome; none is left then."""
        for event_key, obligation in list(owed.items()):
            await self.fault(desk, obligation, epoch, error)
            del owed[event_key]

    async def fault(self, desk: Desk, obligation: Obligation, epoch: int | None, error: BaseException) -> None:
        """Make a fault of the program an attempt of the delivery, so that people see it and it ends."""
        self._faults.note(error, obligation.endpoint_key)
        if epoch is None:
            self.let_go_later(desk, obligation)
            return
        try:
            self._settler.add(await self._faults.outcome(desk, obligation, epoch, error))
        except Exception as another:  # noqa: BLE001 - then nothing is known of it but that it is still owed
            self._faults.note(another, obligation.endpoint_key)
            self.let_go_later(desk, obligation)

    def let_go_later(self, desk: Desk, obligation: Obligation) -> None:
        """Touch this delivery again after a pause."""
        self._loop.call_later(FAULT_PAUSE_SECONDS, self._let_go, desk, obligation)
