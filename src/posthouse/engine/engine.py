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
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, IN_FLIGHT_PER_NODE, LEASE_MS, UNSETTLED_MAX
from posthouse.core.model import Endpoint, Lane, Obligation
from posthouse.core.ports import Clock, Entropy
from posthouse.core.retry import FAULT
from posthouse.engine.board import Board
from posthouse.engine.faults import Faults
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.sender import Sender, Unusable
from posthouse.engine.settler import Settler
from posthouse.engine.sweeper import Sweeper
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.endpoints import REASON_GONE, REASON_INVALID
from posthouse.store.protocol import Settled, Settlement, Store, Work
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport

BRISK_US: Final = 250_000  #: an answer within this time shows that the endpoint is not what work waits for
SETTLE_SECONDS_MIN: Final = 1.0  #: for outcomes that are known, also when a stop will not wait for answers
FAULT_PAUSE_SECONDS: Final = 1.0  #: before a delivery is touched again of whose fault not even a row can be made


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
        disable: Callable[[Endpoint, str], Awaitable[None]],
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
        self._hindered = False  # something did not go out at once, since the sweep last asked
        self.board = Board(catalogue, in_flight_per_endpoint=in_flight_per_endpoint, unusable=self._unusable)
        self.leases = Leases(store.ownership, clock, node, renewed=self._leases_renewed, reach=reach)
        self._timers = Timers(clock, self._look)
        self._refills = Refills(
            store.work, self.board, clock, self._timers, metrics, is_ours=self._is_ours, filled=self._kick, reach=reach
        )
        self._sender = Sender(transport, clock, entropy, metrics, reach=reach)
        self._faults = Faults(store.ledger, clock, entropy, metrics)
        self.settler = Settler(
            store.work,
            broken=store.failed.done,
            done=self._settled,
            refused=self._refused,
            lost=self._lost,
            reach=reach,
        )
        self._sweeper = Sweeper(
            store.work,
            catalogue,
            board=self.board,
            leases=self.leases,
            timers=self._timers,
            refills=self._refills,
            settler=self.settler,
            clock=clock,
            metrics=metrics,
            free=self._was_free,
            kick=self._kick,
            reach=reach,
        )
        self._show(metrics)

    def _show(self, metrics: Metrics) -> None:
        """Let the metrics read what is in memory."""
        metrics.gauge("in_flight", lambda: self._in_flight)
        metrics.gauge("unsettled", lambda: self.settler.unsettled)
        metrics.gauge("windows", lambda: len(self.board))
        metrics.gauge("window_items", lambda: self.board.items)
        metrics.gauge("window_bytes", lambda: self.board.bytes)
        metrics.gauge("slots_owned", lambda: len(self.leases.epochs))

    # -- life -----------------------------------------------------------------------------------

    async def start(self, *, dead: Sequence[str] = (), leased_until: int = 0) -> None:
        """Take the slots, also those of nodes known ``dead``, find all open work, begin to deliver.

        ``leased_until`` is the latest end of a lease before this one, Unix ms: it tells when the store was in use.
        """
        self._running = True
        set_back = leased_until - LEASE_MS > self._clock.now_ms()
        await self.leases.start(dead=dead)
        self._sweeper.start(set_back=set_back)

    async def stop(self, *, drain_seconds: float) -> None:
        """Send nothing new, wait for what is on its way, settle it, give the slots back.

        Requests that are still open after ``drain_seconds`` are cut off; their deliveries stay open
        in the store and go out again later. Idempotent.
        """
        self._running = False
        self._timers.close()
        await self._sweeper.stop()
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

    def is_stuck(self, endpoint_key: int, lane: Lane) -> bool:
        """Whether this queue does not move although nothing holds it."""
        return self._sweeper.is_stuck((endpoint_key, lane))

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
        if gained and self._sweeper.runs:
            self._spawn(self.survey())
        self._kick()

    async def survey(self) -> None:
        """Ask the store which queues have work, and look at those whose work is due. Harmless at any time."""
        await self._sweeper.survey()

    def _was_free(self) -> bool:
        """Whether nothing of the node's own kept work waiting since this was asked before."""
        hindered, self._hindered = self._hindered, False
        queueing = self._refills.are_queueing()
        has_room = self._in_flight < self._in_flight_max and self.settler.unsettled < UNSETTLED_MAX
        return has_room and self.leases.is_valid and not (hindered or queueing or self.board.is_full)

    def _unusable(self, desk: Desk) -> None:
        """Hold the endpoint for everybody to see, until somebody corrects it; others are not touched by it."""
        endpoint = desk.endpoint
        log(Log.ENDPOINT_UNUSABLE, endpoint=make_id(ENDPOINT, endpoint.key), detail=desk.unusable)
        if self._running:
            self._spawn(self._disable_invalid(endpoint))

    async def _disable_invalid(self, endpoint: Endpoint) -> None:
        await self._disable(endpoint, REASON_INVALID)

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
            self._hindered = True
            return
        for window, count in self.board.choose(capacity):
            desk = window.desk
            epoch = self.leases.epochs.get(desk.slot)
            if epoch is None:
                continue
            for _ in range(count):
                work = self.board.take(window)
                self._in_flight += 1
                self._spawn(self._deliver(desk, work, epoch))
            self.board.enlist(window)
            self._refills.want(window)
        self._hindered |= self._in_flight >= self._in_flight_max

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
            leases = self.leases
            if not leases.is_valid or leases.epochs.get(desk.slot) != epoch:
                self._let_go(desk, work.obligation)  # The process stood still since the delivery was chosen.
                return
            self._reach(Failpoint.SEND_CHOSEN)
            settlement, exchange, disable = await self._sender.attempt(desk, work, epoch)
            brisk = exchange.failure is None and exchange.timings.total_us < BRISK_US
            self._reach(Failpoint.SETTLE_DECIDED)
            self.settler.add(settlement)
        except Unusable as error:
            self.board.hold(desk, str(error))
            self._let_go(desk, work.obligation)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # The stop cut it off. The store still owes it.
                desk.in_hand.discard(event_key)
                raise
            await self._fault(desk, work.obligation, epoch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this one delivery
            await self._fault(desk, work.obligation, epoch, error)
        finally:
            self._in_flight -= 1
            self.board.land(desk, event_key, brisk=brisk)
            self._kick()
        if disable and not desk.is_held:
            await self._disable(desk.endpoint, REASON_GONE)

    async def _fault(self, desk: Desk, obligation: Obligation, epoch: int, error: BaseException) -> None:
        """Make a fault of the program an attempt of the delivery, so that people see it and it ends."""
        self._faults.note(error, obligation.endpoint_key)
        try:
            self.settler.add(await self._faults.outcome(desk, obligation, epoch, error))
        except Exception as another:  # noqa: BLE001 - then nothing is known of it but that it is still owed
            self._faults.note(another, obligation.endpoint_key)
            self._loop.call_later(FAULT_PAUSE_SECONDS, self._let_go, desk, obligation)

    def _refused(self, settlement: Settlement, error: Exception) -> None:
        """The store cannot write this one outcome."""
        obligation = settlement.obligation
        desk = self.board.find(obligation.endpoint_key)
        if desk is None:
            return
        if settlement.attempt.outcome == FAULT:
            self._faults.note(error, obligation.endpoint_key)
            self._loop.call_later(FAULT_PAUSE_SECONDS, self._let_go, desk, obligation)
        else:
            self._spawn(self._fault(desk, obligation, settlement.epoch, error))

    def _lost(self, settlements: Sequence[Settlement]) -> None:
        """Nobody knows any more what became of these outcomes; the store does."""
        for settlement in settlements:
            desk = self.board.find(settlement.obligation.endpoint_key)
            if desk is not None:
                self._let_go(desk, settlement.obligation)

    def _let_go(self, desk: Desk, obligation: Obligation) -> None:
        """Leave a delivery to the store, which says whether and when it is due."""
        desk.in_hand.discard(obligation.event_key)
        window = desk.window(obligation.lane)
        if self._is_ours(window):
            self._look(window)

    def _settled(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        """The outcomes are durable: let go of them, and arrange what comes next."""
        fenced = set(settled.fenced)
        for position, settlement in enumerate(settlements):
            desk = self.board.find(settlement.obligation.endpoint_key)
            if desk is None:
                continue
            if position in fenced:
                if settlement.epoch == self.leases.epochs.get(desk.slot):
                    self.board.drop(desk)  # Else it is of a former reign over the slot, and the desk of this one.
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
