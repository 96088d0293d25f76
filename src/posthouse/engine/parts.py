"""What an engine is made of: its parts, put together, and what they ask of each other."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection

from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, IN_FLIGHT_PER_NODE, UNSETTLED_MAX
from posthouse.core.model import Endpoint, Environment, slot_of
from posthouse.core.ports import Clock, Entropy
from posthouse.engine.backlogs import Backlogs
from posthouse.engine.board import Board
from posthouse.engine.dispatcher import Dispatcher
from posthouse.engine.faults import Faults
from posthouse.engine.greeter import Agreed, Greeter
from posthouse.engine.handover import HandOver
from posthouse.engine.jobs import JobRunner
from posthouse.engine.membership import Membership
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import Refills
from posthouse.engine.relay import Own, Relay
from posthouse.engine.results import Results
from posthouse.engine.sender import Sender
from posthouse.engine.settler import Settler
from posthouse.engine.shares import Shares
from posthouse.engine.showing import Showing
from posthouse.engine.sweeper import Sweeper
from posthouse.engine.timers import Timers
from posthouse.engine.warden import Warden
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.endpoints import REASON_INVALID
from posthouse.store.protocol import Store
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport


class Parts(ABC):
    """The parts of an engine. What follows when slots come and go, the engine says."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        transport: Transport,
        *,
        clock: Clock,
        entropy: Entropy,
        metrics: Metrics,
        membership: Membership,
        disable: Callable[[Endpoint, str], Awaitable[None]],
        agreed: Agreed,
        moved: Callable[[], None] = lambda: None,
        in_flight_max: int = IN_FLIGHT_PER_NODE,
        in_flight_per_endpoint: int = IN_FLIGHT_PER_ENDPOINT,
        in_flight_per_tenant: int = 0,
        reach: Reach = pass_by,
    ) -> None:
        """``moved()`` is called when slots have come, or a node has gone that may have left something half done."""
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._membership = membership
        self._moved = moved
        self._reach = reach
        self._unknown: set[int] = set()  # endpoints that others told of before the catalogue did
        self._workers = 0
        self._resized: set[tuple[Environment, str]] = set()  # tenants with more, fewer or other endpoints
        self._owning(catalogue)
        self.board = Board(
            catalogue,
            clock,
            in_flight_max=in_flight_max,
            in_flight_per_endpoint=in_flight_per_endpoint,
            in_flight_per_tenant=in_flight_per_tenant,
            share_of=Shares(catalogue, membership, self.leases).of,
            made=self._made,
            unusable=self._unusable,
            woken=self._woken,
        )
        self._backlogs = Backlogs(self.board)
        self._timers = Timers(clock, self._look)
        sender = Sender(transport, clock, entropy, metrics, reach=reach)
        self._sending(sender, Faults(store.ledger, clock, entropy, metrics))
        self._watching(entropy, disable)
        self._greeting(catalogue, sender, entropy, agreed)
        self._jobs = JobRunner(store.jobs, self.relay, clock, metrics, is_ours=self.works_for)
        self._looking_after(catalogue)
        self._show(metrics)

    def _owning(self, catalogue: Catalogue) -> None:
        """Make what knows which slots are this node's, and tells the others what is theirs."""
        self.leases = Leases(
            self._store.ownership,
            self._clock,
            self._membership,
            gaining=self._gaining,
            renewed=self._leases_renewed,
            freed=self._slots_freed,
            reach=self._reach,
        )
        self.relay = Relay(self._own(), self.leases, catalogue, self._store.hints)

    def _sending(self, sender: Sender, faults: Faults) -> None:
        """Make the way from a turn to a durable outcome."""
        store, metrics = self._store, self._metrics
        self._refills = Refills(
            store.work,
            self.board,
            self._clock,
            self._timers,
            metrics,
            is_ours=self._is_ours,
            filled=self._kick,
            reach=self._reach,
        )
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

    def _looking_after(self, catalogue: Catalogue) -> None:
        """Make what looks after everything that nobody told of, and after slots that others are to have."""
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
            review=self._review,
            reach=self._reach,
        )
        self._showing = Showing(
            self._store.work,
            catalogue,
            board=self.board,
            leases=self.leases,
            settler=self.settler,
            warden=self._warden,
            is_stuck=self._sweeper.is_stuck,
            clock=self._clock,
        )
        self._handover = HandOver(
            self._membership,
            self.leases,
            self.board,
            self.settler,
            writing=self._warden.writing,
            resumed=self.look_at,
        )

    def _show(self, metrics: Metrics) -> None:
        """Let the metrics read what is in memory."""
        metrics.gauge("in_flight", lambda: self.board.turns.in_flight)
        metrics.gauge("unsettled", lambda: self.settler.unsettled)
        metrics.gauge("windows", lambda: len(self.board))
        metrics.gauge("window_items", lambda: self.board.items)
        metrics.gauge("window_bytes", lambda: self.board.bytes)
        metrics.gauge("slots_owned", lambda: len(self.leases.epochs) + len(self.leases.leaving))
        metrics.gauge("slots_unquiet", lambda: len(self.leases.unquiet))
        metrics.gauge("nodes", lambda: sum(self._membership.lives(node.name) for node in self._membership.nodes))

    # -- what the parts ask of each other ---------------------------------------------------------

    @abstractmethod
    def _own(self) -> Own:
        """The engine, as others speak to it."""

    @abstractmethod
    def _leases_renewed(self, gained: set[int], lost: set[int]) -> None:
        """The leases hold on; these slots came, and those went."""

    @abstractmethod
    def look_at(self, slots: Collection[int]) -> None:
        """Look into the store for all work of these slots, as far as they are this node's."""

    async def _gaining(self, slots: set[int]) -> None:
        await self._warden.learn(slots)

    def works_for(self, key: int) -> bool:
        """Whether this node works for the endpoint, the job or the source of this key."""
        return slot_of(key) in self.leases.epochs

    def _made(self, desk: Desk) -> None:
        self._backlogs.made(desk)
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

    def _slots_freed(self) -> None:
        self.relay.slots_freed()

    async def _survey(self, slots: Collection[int]) -> None:
        await self._sweeper.survey(slots)

    def _kick(self) -> None:
        self._dispatcher.kick()

    def _review(self) -> None:
        self._warden.review()
        self._dispatcher.spawn(self._showing.look())

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
