"""The engine of one node: what the store owes is put into windows, chosen, sent and settled.

A delivery's way here: onto the board (``accepted`` or a refill), chosen by :class:`~posthouse.engine.turns.Turns`,
sent by :class:`~posthouse.engine.dispatcher.Dispatcher`, settled by :class:`~posthouse.engine.settler.Settler`, and
out of hand only when that is durable (:class:`~posthouse.engine.results.Results`).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.jobs import JobFilter
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, IN_FLIGHT_PER_NODE, LEASE_MS, UNSETTLED_MAX
from posthouse.core.model import SENT_LANES, Endpoint, EndpointState, Lane, Tenant, slot_of
from posthouse.core.ports import Clock, Entropy
from posthouse.core.waiting import Hold
from posthouse.engine.board import Board
from posthouse.engine.dispatcher import Dispatcher
from posthouse.engine.faults import Faults
from posthouse.engine.greeter import Agreed, Greeter
from posthouse.engine.jobs import JobRunner
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.results import Results
from posthouse.engine.sender import Sender
from posthouse.engine.settler import Settler
from posthouse.engine.sweeper import Sweeper
from posthouse.engine.timers import Timers
from posthouse.engine.wakes import NEVER
from posthouse.engine.warden import Warden
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.endpoints import REASON_INVALID
from posthouse.gateway.hints import Condition, Holding
from posthouse.store.protocol import Store, Work
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport

SETTLE_SECONDS_MIN: Final = 1.0  #: for outcomes that are known, also when a stop will not wait for answers


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
        agreed: Agreed,
        in_flight_max: int = IN_FLIGHT_PER_NODE,
        in_flight_per_endpoint: int = IN_FLIGHT_PER_ENDPOINT,
        in_flight_per_tenant: int = 0,
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._reach = reach
        self._backlog_holders: dict[int, JobFilter] = {}
        self.board = Board(
            catalogue,
            clock,
            in_flight_max=in_flight_max,
            in_flight_per_endpoint=in_flight_per_endpoint,
            in_flight_per_tenant=in_flight_per_tenant,
            made=self._made,
            unusable=self._unusable,
            woken=self._woken,
        )
        self.leases = Leases(
            store.ownership,
            clock,
            node,
            gaining=self._gaining,
            renewed=self._leases_renewed,
            reach=reach,
        )
        self._timers = Timers(clock, self._look)
        self._refills = Refills(
            store.work,
            self.board,
            clock,
            self._timers,
            metrics,
            is_ours=self._is_ours,
            filled=self._kick,
            reach=reach,
        )
        sender = Sender(transport, clock, entropy, metrics, reach=reach)
        self._sending(sender, Faults(store.ledger, clock, entropy, metrics))
        self._watching(entropy, disable)
        self._greeting(catalogue, sender, entropy, agreed)
        self._jobs = JobRunner(store.jobs, self, clock, metrics)
        self._sweeping(catalogue)
        self._show(metrics)

    def _sending(self, sender: Sender, faults: Faults) -> None:
        """Make the way from a turn to a durable outcome."""
        store, metrics = self._store, self._metrics
        self._results = Results(
            store.work,
            store.ledger,
            self.board,
            leases=self.leases,
            refills=self._refills,
            timers=self._timers,
            faults=faults,
            clock=self._clock,
            metrics=metrics,
        )
        self.settler = Settler(
            store.work,
            broken=store.failed.done,
            done=self._results.settled,
            refused=self._results.refused,
            lost=self._results.lost,
            reach=self._reach,
        )
        self._dispatcher = Dispatcher(
            self.board,
            leases=self.leases,
            refills=self._refills,
            sender=sender,
            faults=faults,
            settler=self.settler,
            let_go=self._results.let_go,
            superseded=self._results.superseded,
            clock=self._clock,
            reach=self._reach,
        )
        self._results.dispatcher = self._dispatcher

    def _watching(self, entropy: Entropy, disable: Callable[[Endpoint, str], Awaitable[None]]) -> None:
        """Make who looks after endpoints that do not answer as they should."""
        self._warden = Warden(
            self._store.work,
            self.board,
            leases=self.leases,
            refills=self._refills,
            dispatcher=self._dispatcher,
            clock=self._clock,
            entropy=entropy,
            metrics=self._metrics,
            broken=self._store.failed.done,
            disable=disable,
        )
        self._dispatcher.warden = self._warden

    def _greeting(self, catalogue: Catalogue, sender: Sender, entropy: Entropy, agreed: Agreed) -> None:
        """Make what sends to endpoints besides deliveries."""
        self._greeter = Greeter(
            self.board,
            catalogue=catalogue,
            leases=self.leases,
            dispatcher=self._dispatcher,
            sender=sender,
            warden=self._warden,
            clock=self._clock,
            entropy=entropy,
            agreed=agreed,
        )

    def _sweeping(self, catalogue: Catalogue) -> None:
        """Make what looks after everything that nobody told of."""
        self._sweeper = Sweeper(
            self._store.work,
            catalogue,
            board=self.board,
            leases=self.leases,
            timers=self._timers,
            refills=self._refills,
            settler=self.settler,
            clock=self._clock,
            metrics=self._metrics,
            free=self._was_free,
            kick=self._kick,
            review=self._warden.review,
            reach=self._reach,
        )

    def _show(self, metrics: Metrics) -> None:
        """Let the metrics read what is in memory."""
        metrics.gauge("in_flight", lambda: self.board.turns.in_flight)
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
        set_back = leased_until - LEASE_MS > self._clock.now_ms()
        self._dispatcher.start()
        await self.leases.start(dead=dead)
        self._warden.begin(took_over=bool(dead))
        self._greeter.begin()
        self._sweeper.start(set_back=set_back)
        self._jobs.start()

    async def stop(self, *, drain_seconds: float) -> None:
        """Send nothing new, wait for what is on its way, settle it, give the slots back.

        Requests that are still open after ``drain_seconds`` are cut off; their deliveries stay open
        in the store and go out again later. Idempotent.
        """
        self._timers.close()
        self._greeter.close()
        self.board.turns.close()
        await self._jobs.stop()
        await self._sweeper.stop()
        await self._refills.stop()
        await self._dispatcher.stop(drain_seconds=drain_seconds)
        await self.settler.drain(max(drain_seconds, SETTLE_SECONDS_MIN))
        await self.leases.stop(release=not self._store.failed.done())

    @property
    def is_ready(self) -> bool:
        """Whether this node delivers: it runs, and its leases hold."""
        return self._dispatcher.is_running and self.leases.is_valid and bool(self.leases.epochs)

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
            if self._refills.has_read(obligation.endpoint_key, obligation.event_key):
                continue  # It was, and all the rest too.
            window = desk.window(obligation.lane)
            if desk.keeps_order and item.event.ordering_key is not None:
                self._results.joined(desk, window, obligation, item.event.ordering_key)
            elif not board.offer(window, item):
                self._refills.want(window)
            if desk.gate.is_down:
                self._warden.look(desk)
        self._reach(Failpoint.ADOPT_OFFERED)
        self._kick()

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """Look into the store for work of this endpoint."""
        desk = self.board.desk(endpoint_key)
        if desk is not None and desk.slot in self.leases.epochs and lane is not Lane.PARKED:
            self._look(desk.window(lane))

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """Work with the endpoint as it is now: hold, resume or forget it."""
        known = self.board.find(endpoint.key)
        before = None if known is None else known.endpoint
        if endpoint.state is EndpointState.DELETED:
            self._warden.deleted(endpoint.key)
        desk = self.board.change(endpoint)
        if desk is None:
            self._greeter.created(endpoint)
            return
        self._greeter.changed(desk)
        if desk.is_held:
            return
        if before is not None:
            self._warden.resumed(desk, before)
        for lane in SENT_LANES:
            self.due(endpoint.key, lane)
        self._kick()

    def tenant_changed(self, tenant: Tenant) -> None:
        """Work with the tenant's rules as they are now."""
        self.board.turns.change_tenant(tenant)
        self._kick()

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """Send nothing for this delivery any more."""
        desk = self.board.find(endpoint_key)
        if desk is not None:
            self.board.withdraw(desk, event_key)
            if desk.keeps_order:  # something may have been let out behind it
                for lane in (Lane.LIVE, Lane.BACKLOG):
                    self.due(endpoint_key, lane)

    def hold_backlog(self, holder: int, scope: JobFilter) -> None:
        """Send nothing from the backlog lanes of the endpoints in ``scope``, until it is released."""
        if holder not in self._backlog_holders:
            self._backlog_holders[holder] = scope
            for desk in self.board.desks():
                if scope.covers(desk.endpoint):
                    desk.holders += 1
                    self.board.forget(desk.window(Lane.BACKLOG))

    def release_backlog(self, holder: int) -> None:
        """What was held goes on. Idempotent."""
        scope = self._backlog_holders.pop(holder, None)
        if scope is not None:
            for desk in self.board.desks():
                if scope.covers(desk.endpoint):
                    desk.holders -= 1
                    self.due(desk.endpoint.key, Lane.BACKLOG)

    def job_changed(self, job_key: int) -> None:
        """This job was made or changed."""
        self._jobs.changed(job_key)

    def job_pace(self, job_key: int) -> float | None:
        """Deliveries a second that this job goes through at present."""
        return self._jobs.pace(job_key)

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What holds this open delivery, as far as this node knows."""
        if slot_of(endpoint_key) not in self.leases.epochs or not self.leases.is_valid:
            return Holding(Hold.NO_OWNER)
        desk = self.board.find(endpoint_key)
        is_settling = (endpoint_key, event_key) in self.settler.deliveries()
        if is_settling or (desk is not None and desk.is_sending(event_key)):
            return Holding(Hold.SETTLING if is_settling else Hold.IN_FLIGHT)
        holder = None if desk is None else self.board.turns.holder(desk, lane)
        if holder is not None:
            if holder.until == NEVER:
                return Holding(holder.hold)
            wait_ms = max(0.0, (holder.until - self._clock.monotonic()) * 1_000)
            return Holding(holder.hold, self._clock.now_ms() + round(wait_ms))
        if self._sweeper.is_stuck((endpoint_key, lane)):
            return Holding(Hold.STUCK)
        return None if lane is Lane.LIVE or not self.board.turns.has_live else Holding(Hold.LANE)

    def condition(self, endpoint_key: int) -> Condition:
        """How the endpoint is."""
        desk = self.board.find(endpoint_key)
        return Condition() if desk is None else self._warden.condition(desk)

    # -- finding work ---------------------------------------------------------------------------

    def _made(self, desk: Desk) -> None:
        desk.holders = sum(scope.covers(desk.endpoint) for scope in self._backlog_holders.values())
        self._warden.made(desk)
        self._greeter.made(desk)

    def _woken(self, desk: Desk | None) -> None:
        if desk is not None and desk.gate.is_down:
            self._warden.look(desk)
        self._kick()

    def _look(self, window: Window) -> None:
        if self._dispatcher.is_running:
            self._refills.look(window)
            if window.desk.gate.is_down:
                self._warden.look(window.desk)

    def _is_ours(self, window: Window) -> bool:
        return self._results.is_ours(window)

    async def _gaining(self, slots: set[int]) -> None:
        await self._warden.learn(slots)

    def _leases_renewed(self, gained: set[int], lost: set[int]) -> None:
        if gained or lost:
            for desk in self.board.desks_in(gained | lost):
                self.board.drop(desk)
        if gained and self._sweeper.runs:
            self._warden.begin(took_over=True)
            self._greeter.begin()
            self._dispatcher.spawn(self.survey())
        self._kick()

    async def survey(self) -> None:
        """Ask the store which queues have work, and look at those whose work is due. Harmless at any time."""
        await self._sweeper.survey()

    def _kick(self) -> None:
        self._dispatcher.kick()

    def _was_free(self) -> bool:
        """Whether nothing of the node's own kept work waiting since this was asked before."""
        hindered = self._dispatcher.was_hindered()
        queueing = self._refills.are_queueing()
        has_room = self.board.turns.room > 0 and self.settler.unsettled < UNSETTLED_MAX
        return has_room and self.leases.is_valid and not (hindered or queueing or self.board.is_full)

    def _unusable(self, desk: Desk) -> None:
        """Hold the endpoint for everybody to see, until somebody corrects it; others are not touched by it."""
        endpoint = desk.endpoint
        log(Log.ENDPOINT_UNUSABLE, endpoint=make_id(ENDPOINT, endpoint.key), detail=desk.unusable)
        if self._dispatcher.is_running:
            self._warden.disable(endpoint, REASON_INVALID)
