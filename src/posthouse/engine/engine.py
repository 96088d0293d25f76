"""The engine of one node: what the store owes is put into windows, chosen, sent and settled.

A delivery's way here: onto the board (``accepted`` or a refill), chosen by :class:`~posthouse.engine.turns.Turns`,
sent by :class:`~posthouse.engine.dispatcher.Dispatcher`, settled by :class:`~posthouse.engine.settler.Settler`, and
out of hand only when that is durable (:class:`~posthouse.engine.results.Results`).
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Failpoint
from posthouse.core.jobs import JobFilter
from posthouse.core.limits import LEASE_MS
from posthouse.core.model import SENT_LANES, SLOTS, Endpoint, EndpointState, Lane, Tenant, slot_of
from posthouse.engine.parts import Parts
from posthouse.engine.relay import Own
from posthouse.gateway.hints import Condition, Holding
from posthouse.store.protocol import Work
from posthouse.telemetry import Log, log

SETTLE_SECONDS_MIN: Final = 1.0  #: for outcomes that are known, also when a stop will not wait for answers
_UNKNOWN_MAX: Final = 1_000  # endpoints that others told of before the catalogue did; the sweep finds what is beyond


class Engine(Parts):
    """Delivers what the store owes, for the endpoints whose slots this node holds.

    Implements :class:`posthouse.gateway.hints.Hints` for them; ``relay`` does for all, and tells other nodes what is
    theirs. All of it runs on one event loop.
    """

    # -- life -----------------------------------------------------------------------------------

    async def start(self, *, leased_until: int = 0) -> None:
        """Take slots, find all open work in them, begin to deliver.

        ``leased_until`` is the latest end of a lease before this one, Unix ms: it tells when the store was in use.
        """
        set_back = leased_until - LEASE_MS > self._clock.now_ms()
        self._dispatcher.start()
        await self.leases.start()
        self._greet(self.leases.epochs)
        self._sweeper.start(set_back=set_back)
        self._jobs.start()

    async def stop(self, *, drain_seconds: float) -> None:
        """Send nothing new, wait for what is on its way, settle it, give the slots back.

        Where other nodes live, they get each slot as soon as nothing is on its way for it. Requests that are still open
        after ``drain_seconds`` are cut off; their deliveries stay open in the store and go out again later. Idempotent.
        """
        self._timers.close()
        self._greeter.close()
        self.board.turns.close()
        self._dispatcher.pause()
        await self._jobs.stop()
        await self._sweeper.stop()
        await self._refills.stop()
        loop = asyncio.get_running_loop()
        until = loop.time() + drain_seconds
        if not self._store.failed.done():
            try:
                await self._handover.retire(drain_seconds)
            except PosthouseError as error:  # others see that this node has gone
                log(Log.LEASE_RENEWAL_FAILED, code=error.code, detail=error.message)
        await self._handover.stop()
        await self._dispatcher.stop(drain_seconds=max(0.0, until - loop.time()))
        await self.settler.drain(max(drain_seconds, SETTLE_SECONDS_MIN))
        await self.leases.stop(release=not self._store.failed.done())

    @property
    def is_ready(self) -> bool:
        """Whether this node does its part: it runs, its leases hold, and somebody works for each slot that is free."""
        works = bool(self.leases.epochs) or self._membership.workers not in ([], [self._membership.name])
        is_edge = not self._membership.takes_slots
        return self._dispatcher.is_running and self.leases.is_valid and (is_edge or works)

    # -- hints from the gateway -----------------------------------------------------------------

    def accepted(self, work: Sequence[Work]) -> None:
        """Take over obligations that just became durable, born claimed."""
        board = self.board
        epochs = self.leases.epochs
        for item in work:
            obligation = item.obligation
            desk = board.desk(obligation.endpoint_key) if slot_of(obligation.endpoint_key) in epochs else None
            if desk is None or obligation.event_key in desk.in_hand:
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
        if lane is Lane.PARKED or not self.works_for(endpoint_key):
            return
        desk = self.board.desk(endpoint_key)
        if desk is not None:
            self._look(desk.window(lane))
        elif len(self._unknown) < _UNKNOWN_MAX:
            self._unknown.add(endpoint_key)

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """Work with the endpoint as it is now: hold, resume or forget it."""
        if len(self.leases.epochs) < SLOTS:
            self._resized.add((endpoint.environment, endpoint.tenant))
        known = self.board.find(endpoint.key)
        before = None if known is None else known.endpoint
        if endpoint.state is EndpointState.DELETED:
            self._warden.deleted(endpoint.key)
        desk = self.board.change(endpoint)
        if desk is None:
            self._greeter.created(endpoint)
            self._catch_up(endpoint.key)
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
        self._backlogs.hold(holder, scope)

    def release_backlog(self, holder: int) -> None:
        """What was held goes on. Idempotent."""
        for endpoint_key in self._backlogs.release(holder):
            self.due(endpoint_key, Lane.BACKLOG)

    def job_changed(self, job_key: int) -> None:
        """This job was made or changed."""
        self._jobs.changed(job_key)

    def job_pace(self, job_key: int) -> float | None:
        """Deliveries a second that this job goes through at present."""
        return self._jobs.pace(job_key)

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What holds this open delivery, as far as this node knows."""
        return self._showing.holding(event_key, endpoint_key, lane)

    def condition(self, endpoint_key: int) -> Condition:
        """How the endpoint is."""
        return self._showing.condition(endpoint_key)

    def look_at(self, slots: Collection[int]) -> None:
        """Look into the store for all work of these slots, as far as they are this node's."""
        ours = self.leases.epochs.keys() & slots
        if ours and self._sweeper.runs:
            self._dispatcher.spawn(self._survey(ours))

    async def survey(self) -> None:
        """Ask the store which queues have work, and look at those whose work is due. Harmless at any time."""
        await self._sweeper.survey()

    def _catch_up(self, endpoint_key: int) -> None:
        """Look for what others told of before this node knew the endpoint."""
        if endpoint_key in self._unknown:
            self._unknown.discard(endpoint_key)
            for lane in SENT_LANES:
                self.due(endpoint_key, lane)

    # -- slots that come and go -------------------------------------------------------------------

    def _own(self) -> Own:
        return self

    def _leases_renewed(self, gained: set[int], lost: set[int]) -> None:
        workers = len(self._membership.workers)
        resized, self._resized = self._resized, set()
        if gained or lost or workers != self._workers:
            for desk in self.board.desks_in(gained | lost):
                self.board.drop(desk)
            self.board.turns.share_anew()
            if gained or workers < self._workers:
                self._moved()
            self._workers = workers
        elif resized:
            self.board.turns.share_anew(resized)
        if gained and self._sweeper.runs:
            self._greet(gained)
            self._jobs.look()
            self.look_at(gained)
        self._handover.look()
        self._kick()

    def _greet(self, slots: Collection[int]) -> None:
        """Look after those endpoints in these slots that need it also if they are owed nothing now."""
        self._warden.begin(slots)
        self._greeter.begin(slots)
