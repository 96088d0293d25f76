"""The sweep: every few seconds the store is asked which queues have work, so that nothing depends on a hint.

What the sweep finds is looked at, what does not move all the same is the watchdog's, and due times that
a wall clock wrote which was set back since are written anew.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import EndpointState, Obligation, slot_of
from posthouse.core.ports import Clock
from posthouse.engine.board import Board
from posthouse.engine.clock_steps import ClockSteps
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.settler import Settler
from posthouse.engine.timers import Timers
from posthouse.engine.watchdog import Mark, Queue, Watchdog
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Backlog, WorkFacet
from posthouse.telemetry import Log, Metrics, log

SWEEP_SECONDS: Final = 5.0  #: from the end of a sweep to the next one, at least …
SWEEP_PART: Final = 20  #: … and so many times as long as the sweep took
RETIMED_MAX: Final = 1_000  #: due times written anew in one transaction
_PAGE_ENDPOINTS: Final = 500  # asked for at once, and looked at before other work gets its turn


class Sweeper:
    """Finds open work that no window knows: at the start all of it, later what a lost hint left.

    ``free()`` tells whether the node could have sent more ever since it was asked before; ``kick()`` lets it send;
    ``review()`` looks at the endpoints that are not well.
    """

    def __init__(
        self,
        work: WorkFacet,
        catalogue: Catalogue,
        *,
        board: Board,
        leases: Leases,
        timers: Timers,
        refills: Refills,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
        free: Callable[[], bool],
        kick: Callable[[], None],
        review: Callable[[], None],
        reach: Reach = pass_by,
    ) -> None:
        self._store = work
        self._catalogue = catalogue
        self._board = board
        self._leases = leases
        self._timers = timers
        self._refills = refills
        self._settler = settler
        self._clock = clock
        self._free = free
        self._kick = kick
        self._review = review
        self._reach = reach
        self._watchdog = Watchdog(clock)
        self._unhealed: set[Queue] = set()  # stuck ones whose endpoint was too busy to start anew with it
        self._steps = ClockSteps(clock)
        self._set_back = False  # since due times were last brought in line with the wall clock
        self._surveyed_at = clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        metrics.gauge("stuck_queues", lambda: len(self._watchdog.stuck))
        metrics.gauge("stuck_seconds", lambda: self._watchdog.seconds)
        metrics.gauge("survey_age_seconds", lambda: self._clock.monotonic() - self._surveyed_at if self.runs else 0.0)

    def start(self, *, set_back: bool) -> None:
        """Begin; ``set_back``: the store was last used at a time that is still to come by this clock."""
        self._set_back = set_back
        self._surveyed_at = self._clock.monotonic()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Sweep no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._watchdog.end()
        self._unhealed.clear()

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._task is not None

    def is_stuck(self, queue: Queue) -> bool:
        """Whether the queue does not move although nothing holds it."""
        return queue in self._watchdog.stuck

    async def _run(self) -> None:
        first = True
        while True:
            started = self._clock.monotonic()
            try:
                await self.sweep(first=first)
                first = False
            except Exception as error:  # noqa: BLE001 - the sweep is the safety net; it must not end
                log(Log.LOOP_FAILED, exc_info=error, loop="sweep")
            await asyncio.sleep(max(SWEEP_SECONDS, SWEEP_PART * (self._clock.monotonic() - started)))

    async def sweep(self, *, first: bool = False) -> None:
        """Sweep once; at the start nobody could have told the engine of anything."""
        by_ms = self._steps.look()
        if by_ms:
            log(Log.CLOCK_STEPPED, by_ms=by_ms)
        self._set_back |= by_ms < 0
        if self._set_back:
            await self._retime()
        waiting = await self.survey(hinted=not first)
        self._review()
        found = self._watchdog.look(waiting, free=self._free())
        unhealed = [*(queue for queue in self._unhealed if self.is_stuck(queue)), *found]
        self._unhealed.clear()
        for queue in unhealed:
            try:
                self._start_anew(queue)
            except Exception as error:  # noqa: BLE001 - it stays stuck, and is said to be
                log(Log.LOOP_FAILED, exc_info=error, loop="sweep")

    async def survey(self, slots: Collection[int] | None = None, *, hinted: bool = False) -> Mapping[Queue, Mark]:
        """Ask the store which queues of this node's slots have work, and look at those whose work is due.

        ``slots``: only of these. Returns those whose head is due and which nothing of their own holds. ``hinted``:
        somebody should have told the engine of all that is due, so what is found is counted. Harmless at any time.
        """
        self._reach(Failpoint.ADOPT_SURVEYING)
        asked = sorted(self._leases.epochs.keys() if slots is None else slots)
        waiting: dict[Queue, Mark] = {}
        faults: list[Exception] = []
        after: int | None = None
        while asked:
            backlogs = await self._store.survey(asked, after=after, limit=_PAGE_ENDPOINTS)
            self._reach(Failpoint.ADOPT_SURVEYED)
            if not backlogs:
                break
            after = backlogs[-1].endpoint_key
            now = self._clock.now_ms()
            committing = self._settler.deliveries()
            for backlog in backlogs:
                if backlog.next_due_at <= now and not self._is_held(backlog, committing):
                    waiting[backlog.endpoint_key, backlog.lane] = Mark(backlog.next_due_at, backlog.event_key)
                try:
                    self._visit(backlog, now, hinted=hinted)
                except Exception as error:  # noqa: BLE001 - one queue that cannot be looked at must not hide the others
                    faults.append(error)
        if slots is None:
            self._surveyed_at = self._clock.monotonic()
        self._kick()
        if faults:
            log(Log.LOOP_FAILED, exc_info=faults[0], loop="survey", queues=len(faults))
        return waiting

    def _visit(self, backlog: Backlog, now: int, *, hinted: bool) -> None:
        """Let the window of one queue know what the store holds."""
        desk = self._board.desk(backlog.endpoint_key)
        if desk is None or desk.slot not in self._leases.epochs:
            return
        self._board.report(desk)
        window = desk.window(backlog.lane)
        if backlog.next_due_at > now:
            self._timers.set(window, backlog.next_due_at)
        elif not window.buffer or _stands_before(backlog, window.buffer[0].obligation):
            if hinted:
                self._refills.sweep(window)
            else:
                self._refills.look(window)
        else:
            self._board.turns.enlist(window)

    def _start_anew(self, queue: Queue) -> None:
        """Whatever keeps the queue, it may lie in what is in memory: forget that. The store has it all.

        But what is on its way or waits for its commit must not be forgotten, else it goes out twice. While there
        is any of this endpoint, the store is only asked again; the next sweep tries to start anew.
        """
        endpoint_key, lane = queue
        lanes = {lane}
        desk = self._board.find(endpoint_key)
        if desk is not None and (desk.in_flight or any(key == endpoint_key for key, _ in self._settler.deliveries())):
            self._unhealed.add(queue)
        elif desk is not None:
            self._board.drop(desk)
            lanes.update(desk.windows)
        anew = self._board.desk(endpoint_key)
        if anew is not None:
            for each in sorted(lanes):
                self._refills.sweep(anew.window(each))

    def _is_held(self, backlog: Backlog, committing: set[tuple[int, int]]) -> bool:
        """Whether something of its own keeps a queue that is due, by what is known without its window.

        What else of the endpoint is on its way or waits for its commit holds nothing, unless it takes all the room.
        """
        endpoint = self._catalogue.endpoint(backlog.endpoint_key)
        if endpoint is None or endpoint.state is not EndpointState.ACTIVE:
            return True
        if slot_of(endpoint.key) not in self._leases.epochs or (endpoint.key, backlog.event_key) in committing:
            return True
        desk = self._board.find(endpoint.key)
        if desk is None:
            return False
        return desk.is_sending(backlog.event_key) or self._board.turns.holder(desk, backlog.lane) is not None

    async def _retime(self) -> None:
        """Let nobody wait for a time that only a clock knew which was ahead of this one."""
        retimed: Sequence[tuple[int, int]] = ((0, 0),)
        count = 0
        try:
            while retimed:
                slots = sorted(self._leases.epochs)
                retimed = await self._store.retime(
                    slots, now=self._clock.now_ms(), after=retimed[-1], limit=RETIMED_MAX
                )
                count += len(retimed)
            self._set_back = False
        except Exception as error:  # noqa: BLE001 - the next sweep does it; this one has more to do
            log(Log.LOOP_FAILED, exc_info=error, loop="retime")
        if count:
            log(Log.DELIVERIES_RETIMED, count=count)


def _stands_before(backlog: Backlog, obligation: Obligation) -> bool:
    """Whether the head of a queue has its turn before this delivery of it."""
    return (backlog.next_due_at, backlog.event_key) < (obligation.due_at, obligation.event_key)
