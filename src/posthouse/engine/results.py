"""Results: what follows when outcomes are durable, or cannot be made so."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import SENT_LANES, Lane, Obligation
from posthouse.core.ports import Clock
from posthouse.core.retry import FAULT
from posthouse.core.rules import Order
from posthouse.engine.board import Board
from posthouse.engine.dispatcher import Dispatcher
from posthouse.engine.faults import Faults
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.timers import Timers
from posthouse.engine.windows import Desk, Window
from posthouse.store.protocol import LedgerFacet, Settled, Settlement, Work, WorkFacet
from posthouse.telemetry import Log, Metrics, log

_FIRST_LANES: Final = (Lane.LIVE, Lane.BACKLOG)  #: where a delivery waits that is let out behind another one
_AGAIN_SECONDS: Final = 0.5  # after a store that could not write


class Results:
    """Lets go of deliveries, and arranges what comes next: the next attempt, the next of an ordering key."""

    def __init__(
        self,
        store: WorkFacet,
        ledger: LedgerFacet,
        board: Board,
        *,
        leases: Leases,
        refills: Refills,
        timers: Timers,
        faults: Faults,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._board = board
        self._leases = leases
        self._refills = refills
        self._timers = timers
        self._faults = faults
        self._clock = clock
        self._metrics = metrics
        self.dispatcher: Dispatcher  # set by who makes both

    # -- what became durable --------------------------------------------------------------------

    def settled(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        """The outcomes are durable: let go of them, and arrange what comes next."""
        fenced = set(settled.fenced)
        overtaken: list[tuple[Desk, Obligation]] = []
        for position, settlement in enumerate(settlements):
            desk = self._board.find(settlement.obligation.endpoint_key)
            if desk is None:
                continue
            if position not in fenced:
                self._move_on(desk, settlement, overtaken)
            elif settlement.epoch == self._leases.epochs.get(desk.slot):
                self._board.drop(desk)  # Else it is of a former reign over the slot, and the desk of this one.
        for position in settled.superseded:
            # An operator re-opened or re-timed it while it was on its way; the store knows when it is due.
            desk = self._board.desk(settlements[position].obligation.endpoint_key)
            if desk is not None and desk.slot in self._leases.epochs:
                self._look_at(desk, SENT_LANES)
        self._count(settlements, settled)
        if overtaken:
            self.supersede(overtaken)
        self._refills.serve()
        self.dispatcher.kick()

    def _move_on(self, desk: Desk, settlement: Settlement, overtaken: list[tuple[Desk, Obligation]]) -> None:
        """What comes next at this endpoint, when one outcome is durable."""
        obligation = settlement.obligation
        desk.in_hand.pop(obligation.event_key, None)
        if settlement.state is State.RETRYING:
            self._retry_later(desk, settlement, overtaken)
        elif desk.keeps_order:
            self._look_at(desk, _FIRST_LANES)
        for window in desk.windows.values():
            if window.more:
                self._refills.want(window)

    def _retry_later(self, desk: Desk, settlement: Settlement, overtaken: list[tuple[Desk, Obligation]]) -> None:
        """It is attempted again when it is due, unless a newer state of the same thing makes it needless."""
        obligation = settlement.obligation
        if obligation.ordering_key is not None and desk.endpoint.rules.order is Order.LATEST:
            overtaken.append((desk, obligation))
        window = desk.window(settlement.lane)
        self._timers.set(window, settlement.due_at)
        if window.lane is Lane.RETRY and desk.gate.is_recovering and _began(settlement) < desk.pull_since:
            # Its request was on its way when the others were pulled forward.
            place = (settlement.due_at, obligation.event_key - 1)
            desk.pull = place if desk.pull is None else min(place, desk.pull)
            self._refills.look(window)

    def _look_at(self, desk: Desk, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            self._refills.look(desk.window(lane))

    def _count(self, settlements: Sequence[Settlement], settled: Settled) -> None:
        states = self._metrics.deliveries_settled
        for settlement in settlements:
            states[settlement.state] += 1
        self._metrics.fenced += len(settled.fenced)
        self._metrics.superseded += len(settled.superseded)

    # -- what did not ---------------------------------------------------------------------------

    def refused(self, settlement: Settlement, error: Exception) -> None:
        """The store cannot write this one outcome."""
        obligation = settlement.obligation
        desk = self._board.find(obligation.endpoint_key)
        if desk is None:
            return
        if settlement.attempt is not None and settlement.attempt.outcome == FAULT:
            self._faults.note(error, obligation.endpoint_key)
            self.dispatcher.let_go_later(desk, obligation)
        else:
            self.dispatcher.spawn(self.dispatcher.fault(desk, obligation, settlement.epoch, error))

    def lost(self, settlements: Sequence[Settlement]) -> None:
        """Nobody knows any more what became of these outcomes; the store does."""
        for settlement in settlements:
            desk = self._board.find(settlement.obligation.endpoint_key)
            if desk is not None:
                self.let_go(desk, settlement.obligation)

    def let_go(self, desk: Desk, obligation: Obligation) -> None:
        """Leave a delivery to the store, which says whether and when it is due."""
        desk.in_hand.pop(obligation.event_key, None)
        window = desk.window(obligation.lane)
        if self.is_ours(window) and self.dispatcher.is_running:
            self._refills.look(window)

    def is_ours(self, window: Window) -> bool:
        """Whether this node still works for the window's endpoint, by this very desk."""
        desk = window.desk
        return self._board.find(desk.endpoint.key) is desk and desk.slot in self._leases.epochs

    # -- what a newer event supersedes ----------------------------------------------------------

    def joined(self, desk: Desk, window: Window, obligation: Obligation, ordering_key: str) -> None:
        """It was accepted where order is kept. Only the store knows whether it stands behind another one of its key."""
        self._refills.look(window)
        if desk.endpoint.rules.order is Order.LATEST:
            overtaken = self._board.withdraw_key(desk, ordering_key)
            if overtaken:
                self.supersede([(desk, work.obligation) for work in overtaken])
            elif Lane.RETRY in desk.windows:
                self.overtake(desk, obligation)

    def superseded(self, works: Sequence[Work]) -> None:
        """These are in hand, and must not be sent: something newer stands behind each."""
        found = [(self._board.find(work.obligation.endpoint_key), work.obligation) for work in works]
        self.supersede([(desk, obligation) for desk, obligation in found if desk is not None])

    def supersede(self, overtaken: Sequence[tuple[Desk, Obligation]]) -> None:
        """Ask the store to discard those of them behind which something newer stands."""
        self.dispatcher.spawn(self._supersede(overtaken))

    def overtake(self, desk: Desk, obligation: Obligation) -> None:
        """This one was accepted: what stands ahead of it and waits for its next attempt is superseded by it."""
        self.dispatcher.spawn(self._overtake(desk, obligation))

    async def _overtake(self, desk: Desk, obligation: Obligation) -> None:
        record = await self._ledger.delivery(obligation.event_key, obligation.endpoint_key)
        ahead = None if record is None else record.behind_event
        if ahead is not None and ahead not in desk.in_hand:  # Else it is on its way, and looked at when it comes back.
            await self._supersede([(desk, msgspec.structs.replace(obligation, event_key=ahead, lane=Lane.RETRY))])

    async def _supersede(self, overtaken: Sequence[tuple[Desk, Obligation]]) -> None:
        keys = [(obligation.event_key, obligation.endpoint_key) for _, obligation in overtaken]
        try:
            discarded = await self._store.supersede(keys, now=self._clock.now_ms())
        except StoreUnavailable as error:
            log(Log.SETTLE_FAILED, code=error.code, detail=error.message, outcomes=len(keys))
            await asyncio.sleep(_AGAIN_SECONDS)
            discarded = []
        self._metrics.deliveries_settled[State.DISCARDED] += len(discarded)
        for desk, obligation in overtaken:
            if not desk.is_sending(obligation.event_key):
                desk.in_hand.pop(obligation.event_key, None)
            if self._board.find(obligation.endpoint_key) is desk:
                self._look_at(desk, (obligation.lane, *_FIRST_LANES))
        self.dispatcher.kick()


def _began(settlement: Settlement) -> int:
    """When the request was sent, Unix ms."""
    return settlement.settled_at if settlement.attempt is None else settlement.attempt.started_at
