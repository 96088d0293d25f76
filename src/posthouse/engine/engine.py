"""The engine of one node: what the store owes is put into windows, chosen, sent and settled.

A delivery's way here: onto the board (``accepted`` or a refill), chosen by ``core.schedule.plan``,
sent by :class:`~posthouse.engine.sender.Sender`, settled by
:class:`~posthouse.engine.settler.Settler`, and out of hand only when that is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final

from posthouse.core.delivery import State
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, IN_FLIGHT_PER_NODE, UNSETTLED_MAX
from posthouse.core.model import Endpoint, Lane
from posthouse.core.ports import Clock, Entropy
from posthouse.engine.board import Board
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.sender import Sender
from posthouse.engine.settler import Settler
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Settled, Settlement, Store, Work
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport

SWEEP_SECONDS: Final = 30.0  #: every so often the store is asked for work that no window knows
BRISK_US: Final = 250_000  #: an answer within this time shows that the endpoint is not what work waits for
SETTLE_SECONDS_MIN: Final = 1.0  #: for outcomes that are known, also when a stop will not wait for answers
_FAULT_PAUSE_MS: Final = 1_000  # before a delivery is touched again whose attempt met a fault of the program


class Engine:
    """Delivers what the store owes, for the endpoints whose slots this node holds.

    Implements :class:`posthouse.gateway.hints.Hints`. All of it runs on one event loop.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        transport: Transport,
        *,
        clock: Clock,
        entropy: Entropy,
        metrics: Metrics,
        node: str,
        disable: Callable[[Endpoint], Awaitable[None]],
        in_flight_max: int = IN_FLIGHT_PER_NODE,
        in_flight_per_endpoint: int = IN_FLIGHT_PER_ENDPOINT,
        reach: Reach = pass_by,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._disable = disable
        self._reach = reach
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._tick_due = False
        self._running = False
        self._sweeper: asyncio.Task[None] | None = None
        self.board = Board(catalogue, in_flight_per_endpoint=in_flight_per_endpoint)
        self.leases = Leases(store.ownership, clock, node, renewed=self._leases_renewed, reach=reach)
        self._timers = Timers(clock, self._look)
        self._refills = Refills(
            store.work, self.board, clock, self._timers, is_ours=self._is_ours, filled=self._kick, reach=reach
        )
        self._sender = Sender(transport, clock, entropy, metrics, reach=reach)
        self.settler = Settler(store.work, broken=store.failed.done, done=self._settled, reach=reach)
        metrics.gauge("in_flight", lambda: self._in_flight)
        metrics.gauge("unsettled", lambda: self.settler.unsettled)
        metrics.gauge("windows", lambda: len(self.board))
        metrics.gauge("window_items", lambda: self.board.items)
        metrics.gauge("window_bytes", lambda: self.board.bytes)
        metrics.gauge("slots_owned", lambda: len(self.leases.epochs))

    # -- life -----------------------------------------------------------------------------------

    async def start(self, *, dead: Sequence[str] = ()) -> None:
        """Take the slots, also those of nodes known ``dead``, find all open work, begin to deliver."""
        self._running = True
        await self.leases.start(dead=dead)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, *, drain_seconds: float) -> None:
        """Send nothing new, wait for what is on its way, settle it, give the slots back.

        Requests that are still open after ``drain_seconds`` are cut off; their deliveries stay open
        in the store and go out again later. Idempotent.
        """
        self._running = False
        self._timers.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        await self._refills.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=drain_seconds)
            if late:
                log(Log.UNDELIVERED_AT_STOP, count=len(late))
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        await self.settler.drain(max(drain_seconds, SETTLE_SECONDS_MIN))
        await self.leases.stop(release=not self._store.failed.done())

    @property
    def is_ready(self) -> bool:
        """Whether this node delivers: it runs, and its leases hold."""
        return self._running and self.leases.is_valid and bool(self.leases.epochs)

    # -- hints from the gateway -----------------------------------------------------------------

    def accepted(self, work: Sequence[Work]) -> None:
        """Take over obligations that just became durable, born claimed."""
        board = self.board
        epochs = self.leases.epochs
        for item in work:
            obligation = item.obligation
            desk = board.desk(obligation.endpoint_key)
            if desk is None or desk.slot not in epochs or obligation.event_key in desk.in_hand:
                continue  # Not ours, or a refill was faster.
            window = desk.window(obligation.lane)
            if not board.offer(window, item):
                self._refills.want(window)
        self._reach(Failpoint.ADOPT_OFFERED)
        self._kick()

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """Look into the store for work of this endpoint."""
        desk = self.board.desk(endpoint_key)
        if desk is not None and desk.slot in self.leases.epochs:
            self._look(desk.window(lane))

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """Work with the endpoint as it is now: hold, resume or forget it."""
        desk = self.board.change(endpoint)
        if desk is not None and not desk.is_held:
            for lane in Lane:
                self.due(endpoint.key, lane)

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """Send nothing for this delivery any more."""
        desk = self.board.find(endpoint_key)
        if desk is not None:
            self.board.withdraw(desk, event_key)

    def in_flight(self, event_key: int, endpoint_key: int) -> bool:
        """Whether a request for this delivery is on its way now."""
        desk = self.board.find(endpoint_key)
        return desk is not None and event_key in desk.sending

    # -- finding work ---------------------------------------------------------------------------

    def _look(self, window: Window) -> None:
        if self._running:
            self._refills.look(window)

    def _is_ours(self, window: Window) -> bool:
        desk = window.desk
        return self.board.find(desk.endpoint.key) is desk and desk.slot in self.leases.epochs

    def _leases_renewed(self, gained: set[int], lost: set[int]) -> None:
        for desk in self.board.desks_in(lost):
            self.board.drop(desk)
        if gained and self._sweeper is not None:
            self._spawn(self.survey())
        self._kick()

    async def _sweep(self) -> None:
        """Find open work that no window knows: at the start all of it, later only what a lost hint left."""
        while True:
            try:
                await self.survey()
            except Exception as error:  # noqa: BLE001 - the sweep is the safety net; it must not end
                log(Log.LOOP_FAILED, exc_info=error, loop="sweep")
            await asyncio.sleep(SWEEP_SECONDS)

    async def survey(self) -> None:
        """Ask the store which queues have work, and look at those whose work is due. Harmless at any time."""
        now = self._clock.now_ms()
        self._reach(Failpoint.ADOPT_SURVEYING)
        backlogs = await self._store.work.survey()
        self._reach(Failpoint.ADOPT_SURVEYED)
        for backlog in backlogs:
            desk = self.board.desk(backlog.endpoint_key)
            if desk is None or desk.slot not in self.leases.epochs:
                continue
            window = desk.window(backlog.lane)
            if backlog.next_due_at > now:
                self._timers.set(window, backlog.next_due_at)
            elif not window.buffer:
                self._look(window)

    # -- sending --------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Let the scheduler run once in this turn of the loop."""
        if not self._tick_due:
            self._tick_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        """Start what the plan chooses from the windows that can send now."""
        self._tick_due = False
        capacity = min(self._in_flight_max - self._in_flight, UNSETTLED_MAX - self.settler.unsettled)
        if capacity <= 0 or not self._running or not self.leases.is_valid:
            return
        for window, count in self.board.choose(capacity):
            desk = window.desk
            epoch = self.leases.epochs.get(desk.slot)
            if epoch is None:
                continue
            for _ in range(count):
                self._in_flight += 1
                self._spawn(self._deliver(desk, self.board.take(window), epoch))
            self.board.enlist(window)
            self._refills.want(window)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(Log.LOOP_FAILED, exc_info=error, loop="deliver")

    async def _deliver(self, desk: Desk, work: Work, epoch: int) -> None:
        event_key = work.obligation.event_key
        brisk = False
        disable = False
        try:
            self._reach(Failpoint.SEND_CHOSEN)
            settlement, exchange, disable = await self._sender.attempt(desk, work, epoch)
            brisk = exchange.failure is None and exchange.timings.total_us < BRISK_US
            self._reach(Failpoint.SETTLE_DECIDED)
            self.settler.add(settlement)
        except BaseException:
            # A fault of the program, or the stop cut it off. The store still owes it.
            desk.in_hand.discard(event_key)
            self._timers.set(desk.window(work.obligation.lane), self._clock.now_ms() + _FAULT_PAUSE_MS)
            raise
        finally:
            self._in_flight -= 1
            self.board.land(desk, event_key, brisk=brisk)
            self._kick()
        if disable and not desk.is_held:
            await self._disable(desk.endpoint)

    def _settled(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        """The outcomes are durable: let go of them, and arrange what comes next."""
        fenced = set(settled.fenced)
        for position, settlement in enumerate(settlements):
            desk = self.board.find(settlement.obligation.endpoint_key)
            if desk is None:
                continue
            if position in fenced:
                self.board.drop(desk)
                continue
            desk.in_hand.discard(settlement.obligation.event_key)
            if settlement.state is State.RETRYING:
                self._timers.set(desk.window(settlement.lane), settlement.due_at)
            for window in desk.windows.values():
                if window.more:
                    self._refills.want(window)
        for position in settled.superseded:
            # An operator re-opened or re-timed it while it was on its way; the store knows when it is due.
            for lane in Lane:
                self.due(settlements[position].obligation.endpoint_key, lane)
        self._count(settlements, settled)
        self._refills.serve()
        self._kick()

    def _count(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        states = self._metrics.deliveries_settled
        for settlement in settlements:
            states[settlement.state] += 1
        self._metrics.fenced += len(settled.fenced)
        self._metrics.superseded += len(settled.superseded)
