"""The warden: looks after endpoints that do not answer as they should.

One timer for an endpoint that is down, however much it is owed. A probe is an ordinary delivery, sent alone; when one
goes well, everything that waits is pulled forward at the pace that the gate allows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from posthouse.core.errors import StoreUnavailable
from posthouse.core.health import disables_at, is_overdue, warnings_due
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import WINDOW_BYTES_MAX
from posthouse.core.model import SENT_LANES, Endpoint, EndpointState, Health, Lane, slot_of
from posthouse.core.ports import Clock, Entropy
from posthouse.core.time_format import rfc3339
from posthouse.engine.board import Board
from posthouse.engine.dispatcher import Dispatcher
from posthouse.engine.gates import Change
from posthouse.engine.ownership import Leases
from posthouse.engine.refills import FAR_FUTURE, Refills
from posthouse.engine.sender import Outcome
from posthouse.engine.windows import Desk
from posthouse.gateway.endpoints import REASON_FAILING, REASON_GONE
from posthouse.gateway.hints import Condition
from posthouse.store.protocol import Work, WorkFacet
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Exchange

_AGAIN_SECONDS: Final = 1.0  # after a store that could not answer, or a node without room
_KEY_MAX: Final = (1 << 63) - 1
_CANDIDATES: Final = 16  # looked at for a probe; what is in hand is passed over


class Warden:
    """Opens and closes breakers, sends probes, warns, and disables by rule. Its knowledge outlives the node.

    ``disable(endpoint, reason)`` holds an endpoint for everybody to see.
    """

    def __init__(
        self,
        store: WorkFacet,
        board: Board,
        *,
        leases: Leases,
        refills: Refills,
        dispatcher: Dispatcher,
        clock: Clock,
        entropy: Entropy,
        metrics: Metrics,
        broken: Callable[[], bool],
        disable: Callable[[Endpoint, str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._board = board
        self._leases = leases
        self._refills = refills
        self._dispatcher = dispatcher
        self._clock = clock
        self._entropy = entropy
        self._metrics = metrics
        self._broken = broken
        self._disable = disable
        self._ill: set[Desk] = set()  # those with a breaker, and perhaps some that are well again
        self._known: dict[int, Health] = {}  # of endpoints that have no desk yet
        self._unwritten: dict[int, Health | None] = {}
        self._written: int | None = None  # the endpoint whose health is being written
        self._writing = False
        metrics.gauge("endpoints_down", lambda: sum(desk.gate.is_down for desk in self._ill))
        metrics.gauge("endpoints_recovering", lambda: sum(desk.gate.is_recovering for desk in self._ill))

    async def learn(self, slots: set[int]) -> None:
        """Read which endpoints in these slots, which this node is about to work for, were not well."""
        found = await self._store.health(slots)
        self._known = {key: health for key, health in self._known.items() if slot_of(key) not in slots}
        self._known |= {health.endpoint_key: health for health in found}

    def begin(self, slots: Collection[int]) -> None:
        """Look after each endpoint in these slots that was not well, also if it is owed nothing now."""
        for endpoint_key in list(self._known):
            if slot_of(endpoint_key) in slots:
                self._board.desk(endpoint_key)

    def made(self, desk: Desk) -> None:
        """A desk is new: what is known of its endpoint holds on."""
        now = self._clock.monotonic()
        unquiet_since, taken_at = self._leases.unquiet.get(desk.slot), self._leases.taken.get(desk.slot)
        if unquiet_since is not None and desk.keeps_order:
            # Else what is still on its way from who worked for it before could arrive behind what is sent now.
            desk.starts_at = unquiet_since + desk.endpoint.timeout_ms / 1_000
        if taken_at is not None:
            desk.gate.taken_over(taken_at)
        health = self._known.pop(desk.endpoint.key, None)
        if health is None:
            return
        desk.gate.restore(health, now)
        self._ill.add(desk)
        if desk.gate.is_down:
            self._board.turns.wait(desk, now)
        else:
            self._pull_forward(desk)

    # -- what requests tell ---------------------------------------------------------------------

    def answered(self, desk: Desk, works: list[Work], outcome: Outcome, *, probe: bool) -> None:
        """A request ended; ``probe``: it was sent to see whether the endpoint is up."""
        exchange = outcome.exchange
        if exchange is None or outcome.again:
            return  # Nothing was sent; or what was refused is tried in parts, which tell more.
        self.heard(desk, works[0].obligation.event_key, exchange, probe=probe)
        if outcome.disable and not desk.is_held and self._is_ours(desk):
            self.disable(desk.endpoint, REASON_GONE)

    def heard(self, desk: Desk, event_key: int, exchange: Exchange, *, probe: bool = False) -> None:
        """An endpoint answered, or did not; ``event_key``: of the event that it concerned first."""
        if not self._is_ours(desk):
            return  # Who works for it now finds out by itself.
        gate = desk.gate
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        if exchange.failure is None:
            if gate.succeeded(now, now_ms) is Change.ANSWERS:
                self._answers(desk)
            return
        self._ill.add(desk)
        change = gate.failed(
            event_key,
            exchange,
            probe=probe,
            now=now,
            now_ms=now_ms,
            jitter=self._entropy.random(),
        )
        if change is Change.OPENED and not desk.is_held:
            self._metrics.breakers_opened += 1
            log(Log.ENDPOINT_DOWN, endpoint=make_id(ENDPOINT, desk.endpoint.key), detail=exchange.error)
            self._board.forget_all(desk)
            desk.pull = None
            self._save(desk)
            if gate.breaker is not None:
                self._board.turns.wait(desk, gate.breaker.probe_at)

    def disable(self, endpoint: Endpoint, reason: str) -> None:
        """Let a rule hold an endpoint; a stop waits for it."""
        self._dispatcher.spawn(self._hold(endpoint, reason))

    async def _hold(self, endpoint: Endpoint, reason: str) -> None:
        await self._disable(endpoint, reason)

    def _answers(self, desk: Desk) -> None:
        log(Log.ENDPOINT_ANSWERS, endpoint=make_id(ENDPOINT, desk.endpoint.key))
        self._save(desk)
        self._pull_forward(desk)

    def _pull_forward(self, desk: Desk) -> None:
        """Let everything go that waits, also retries that are due later."""
        desk.pull_since = self._clock.now_ms()
        desk.pull = (desk.pull_since, _KEY_MAX)
        for lane in SENT_LANES:
            self._refills.look(desk.window(lane))

    # -- what operators do ----------------------------------------------------------------------

    def resumed(self, desk: Desk, before: Endpoint) -> None:
        """An endpoint that was held is active again, or leads elsewhere now."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        if before.state is EndpointState.DISABLED and before.state_reason in {REASON_GONE, REASON_FAILING}:
            desk.gate.recover(now, now_ms)
            self._ill.add(desk)
            self._answers(desk)
        elif before.state is not EndpointState.ACTIVE or before.url != desk.endpoint.url:
            was_ill = desk.gate.breaker is not None
            desk.gate.forgive(now)
            if was_ill:
                self._save(desk)

    def deleted(self, endpoint_key: int) -> None:
        """Nobody has to know how it was."""
        self._known.pop(endpoint_key, None)
        if self._leases.epoch_of(slot_of(endpoint_key)) is not None:
            self._note(endpoint_key, None)

    # -- probes ---------------------------------------------------------------------------------

    def look(self, desk: Desk) -> None:
        """An endpoint that is down has work: send a probe if it is time, else when it is."""
        breaker = desk.gate.breaker
        if breaker is None or not desk.gate.is_down or desk.is_held or desk.is_probed:
            return
        now = self._clock.monotonic()
        at = max(breaker.probe_at, desk.starts_at, self._board.turns.ready_at(desk))
        if at > now:
            self._board.turns.wait(desk, at)
        elif self._dispatcher.capacity <= 0:
            self._board.turns.wait(desk, now + _AGAIN_SECONDS)
        elif desk.slot in self._leases.epochs:
            desk.is_probed = True
            breaker.begin_probe(now)
            self._dispatcher.spawn(self._probe(desk))

    async def _probe(self, desk: Desk) -> None:
        """Find a delivery to probe with, and send it."""
        try:
            work = await self._candidate(desk)
        except StoreUnavailable:
            self.probed(desk)
            return
        if work is None or not desk.gate.is_down or desk.is_held or self._board.find(desk.endpoint.key) is not desk:
            desk.is_probed = False
            if desk.gate.breaker is not None:
                desk.gate.breaker.probe_lost(self._clock.monotonic())  # the next work that comes is the next probe
            return
        now, ready_at = self._clock.monotonic(), self._board.turns.ready_at(desk)
        if ready_at > now:  # others of its tenant were faster while a delivery was looked for
            self.probed(desk)
            self._board.turns.wait(desk, ready_at)
            return
        self._metrics.probes += 1
        self._dispatcher.probe(desk, work, self._clock.monotonic())

    def probed(self, desk: Desk) -> None:
        """A probe ended in whatever way."""
        desk.is_probed = False
        breaker = desk.gate.breaker
        if breaker is None or not desk.gate.is_down:
            return
        now = self._clock.monotonic()
        if breaker.probing:
            breaker.probe_lost(now)
            self._board.turns.wait(desk, now + _AGAIN_SECONDS)
        else:
            self._board.turns.wait(desk, breaker.probe_at)

    async def _candidate(self, desk: Desk) -> Work | None:
        """What to probe with: something due, a new event first; else retries that are due later, each in turn."""
        now_ms = self._clock.now_ms()
        for lane in SENT_LANES:
            found = await self._first(desk, lane, now=now_ms, after=None)
            if found is not None:
                return found
        found = await self._first(desk, Lane.RETRY, now=FAR_FUTURE, after=desk.probed_at)
        if found is None and desk.probed_at is not None:
            found = await self._first(desk, Lane.RETRY, now=FAR_FUTURE, after=None)
        desk.probed_at = None if found is None else (found.obligation.due_at, found.obligation.event_key)
        return found

    async def _first(self, desk: Desk, lane: Lane, *, now: int, after: tuple[int, int] | None) -> Work | None:
        if lane is Lane.BACKLOG and desk.holders:
            return None
        head = await self._store.fetch(
            desk.endpoint.key, lane, now=now, limit=_CANDIDATES, bytes_max=WINDOW_BYTES_MAX, after=after
        )
        return next((work for work in head.work if work.obligation.event_key not in desk.in_hand), None)

    # -- the rule that disables -----------------------------------------------------------------

    def review(self) -> None:
        """Every few seconds: who has recovered, who is to be warned about, who is to be disabled."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        for desk in list(self._ill):
            gate, breaker = desk.gate, desk.gate.breaker
            if breaker is None or self._board.find(desk.endpoint.key) is not desk:
                self._ill.discard(desk)
                continue
            if desk.is_held or not self._is_ours(desk):
                continue
            if gate.is_recovering and desk.pull is None and desk.has_nothing_waiting:
                gate.forgive(now)
                log(Log.ENDPOINT_RECOVERED, endpoint=make_id(ENDPOINT, desk.endpoint.key))
                self._save(desk)
                continue
            days = desk.endpoint.rules.disable_after_days
            if is_overdue(breaker.failing_since, days, now_ms):
                self.disable(desk.endpoint, REASON_FAILING)
            elif (due := warnings_due(breaker.failing_since, days, now_ms)) > gate.warned:
                gate.warned = due
                self._warn(desk, disables_at(breaker.failing_since, days))
            if gate.is_down:
                self.look(desk)

    def _warn(self, desk: Desk, at: int | None) -> None:
        endpoint = make_id(ENDPOINT, desk.endpoint.key)
        log(Log.ENDPOINT_FAILING, endpoint=endpoint, disabled_at=None if at is None else rfc3339(at))
        self._save(desk)

    def condition(self, desk: Desk, owner: str | None) -> Condition:
        """How an endpoint is that ``owner`` works for, this node."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        gate, breaker = desk.gate, desk.gate.breaker
        if desk.is_unmet:
            since = None if desk.contact is None else desk.contact.failing_since
            failing = "ok" if since is None else "failing"
            limit = gate.limit(now)
            return Condition(state=failing, failing_since=since, rate_now=limit, in_flight=desk.in_flight, node=owner)
        state, probe_at = "ok", None
        if breaker is not None:
            state = "down" if gate.is_down else "recovering" if gate.is_recovering else "failing"
            if gate.is_down and not breaker.probing:
                probe_at = now_ms + max(0, round((breaker.probe_at - now) * 1_000))
        since = None if breaker is None else breaker.failing_since
        return Condition(
            state="ok" if state == "failing" and since is None else state,
            failing_since=since,
            next_probe_at=probe_at,
            disables_at=disables_at(since, desk.endpoint.rules.disable_after_days),
            rate_now=gate.limit(now),
            in_flight=desk.in_flight,
            node=owner,
        )

    def _is_ours(self, desk: Desk) -> bool:
        """Whether this node decides about the endpoint, by this very desk; also while it gives it up."""
        held = self._leases.epoch_of(desk.slot) is not None and self._leases.is_valid
        return held and self._board.find(desk.endpoint.key) is desk

    # -- what must outlive the node -------------------------------------------------------------

    def _save(self, desk: Desk) -> None:
        self._note(desk.endpoint.key, desk.gate.health(desk.endpoint.key, self._clock.monotonic()))

    def writing(self) -> set[int]:
        """Slots of endpoints of which something is still to be written down."""
        keys = [*self._unwritten, *(() if self._written is None else (self._written,))]
        return {slot_of(key) for key in keys}

    def _note(self, endpoint_key: int, health: Health | None) -> None:
        self._unwritten[endpoint_key] = health
        if not self._writing:
            self._writing = True
            self._dispatcher.spawn(self._write())

    async def _write(self) -> None:
        """Write down what changed, the latest of each endpoint only."""
        try:
            while self._unwritten and not self._broken():
                endpoint_key, health = next(iter(self._unwritten.items()))
                del self._unwritten[endpoint_key]
                epoch = self._leases.epoch_of(slot_of(endpoint_key))
                if epoch is None:
                    continue  # Another node decides about it now.
                self._written = endpoint_key
                try:
                    if not await self._store.put_health(endpoint_key, health, epoch=epoch):
                        self._leases.hurry()
                except StoreUnavailable as error:
                    self._unwritten.setdefault(endpoint_key, health)
                    log(Log.HEALTH_UNWRITTEN, code=error.code, detail=error.message)
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            self._writing = False
            self._written = None
