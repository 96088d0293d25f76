"""Turns: which window may send now, whose turn it is, and what holds the others.

Caps, rates and pauses are asked in the moment of a turn. Who has to wait leaves the rotation, and comes back by
the very thing that it waits for: a request that came back, or a wake-up. So nobody is asked again and again.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from posthouse.core.model import Environment, Lane, Tenant
from posthouse.core.ports import Clock
from posthouse.core.rules import Order
from posthouse.core.schedule import OTHERS_PART, Answer, Lanes
from posthouse.core.waiting import Hold
from posthouse.engine.tenants import TenantDesk, TenantDesks
from posthouse.engine.wakes import NEVER, Wakes
from posthouse.engine.windows import Desk, Window
from posthouse.store.protocol import Work

SLOW_PART: Final = 2  #: endpoints that do not answer in time have one part in so many of the node's room


class Chosen(NamedTuple):
    """One request that is to go now."""

    window: Window
    works: list[Work]  #: one, or those of a batch


class Holder(NamedTuple):
    """What keeps a window from sending."""

    hold: Hold
    until: float = NEVER  #: when that ends by itself, monotonic seconds


class Turns:
    """The rotation of windows that have something to send, and the room of the node.

    ``take(window)`` gives the first delivery of its buffer; ``woken(desk)`` is called when a time comes that an
    endpoint (None: all those of a tenant) waited for.
    """

    def __init__(
        self,
        tenants: TenantDesks,
        clock: Clock,
        *,
        in_flight_max: int,
        take: Callable[[Window], Work],
        woken: Callable[[Desk | None], None],
    ) -> None:
        self._tenants = tenants
        self._clock = clock
        self._max = in_flight_max
        self._slow_max = max(1, in_flight_max // SLOW_PART)
        self._take = take
        self._woken = woken
        self._lanes: Lanes[TenantDesk, Window] = Lanes(lambda tenant: tenant.weight)
        self._slow = 0  # requests on their way to endpoints that did not answer in time lately
        self._slow_waiting: OrderedDict[Window, None] = OrderedDict()  # they could send if there were fewer of those
        self._wakes: Wakes[Desk] = Wakes(clock, self._wake)
        self._tenant_wakes: Wakes[TenantDesk] = Wakes(clock, self._wake_tenant)
        self._now = 0.0  # while it chooses
        self._chosen: list[Chosen] = []
        self.in_flight = 0  #: requests on their way
        #: Deliveries behind which a newer one of their ordering key stands, found in the buffers: not to be sent.
        self.superseded: list[Work] = []

    @property
    def room(self) -> int:
        """How many requests more the node may have on their way."""
        return self._max - self.in_flight

    @property
    def has_live(self) -> bool:
        """Whether live work waits for its turn."""
        return bool(self._lanes.rotations[Lane.LIVE])

    def look(self) -> None:
        """Wake everybody whose time has come, as the timers do."""
        self._wakes.fire()
        self._tenant_wakes.fire()

    def close(self) -> None:
        """Wake nobody any more."""
        self._wakes.close()
        self._tenant_wakes.close()

    # -- taking part ----------------------------------------------------------------------------

    def enlist(self, window: Window) -> None:
        """Let a window take part if it has something and its endpoint has room."""
        desk = window.desk
        if window.buffer and not window.listed and desk.in_flight < desk.room and not desk.is_stopped:
            window.listed = True
            self._lanes.add(window.lane, desk.tenant, window)

    def enlist_all(self, desk: Desk) -> None:
        """Let all windows of an endpoint take part that have something."""
        for window in desk.windows.values():
            self.enlist(window)

    def change_tenant(self, tenant: Tenant) -> None:
        """Take over the changed rules of a tenant."""
        desk = self._tenants.change(tenant)
        if desk is not None:
            self._lanes.restore(desk)

    def share_anew(self, only: Collection[tuple[Environment, str]] | None = None) -> None:
        """This node's part of the rates and caps of all tenants, or ``only`` of these, is another one by now."""
        for desk in self._tenants.share_anew(only):
            self._lanes.restore(desk)

    def wait(self, desk: Desk, at: float) -> None:
        """Look at an endpoint again at monotonic time ``at``."""
        if at < NEVER:
            self._wakes.set(desk, at)

    def ready_at(self, desk: Desk) -> float:
        """When the rates of an endpoint and of its tenant, and its own answers, allow one more request."""
        pace = desk.tenant.pace
        at = desk.gate.ready_at()
        return at if pace is None else max(at, pace.ready_at())

    def took(self, desk: Desk, now: float) -> None:
        """A request goes at monotonic time ``now``: the rates of the endpoint and of its tenant count it."""
        desk.gate.took(now)
        if desk.tenant.pace is not None:
            desk.tenant.pace.take(now)

    def begin(self, desk: Desk, works: list[Work], now: float) -> None:
        """A request with these deliveries, which are in hand, is on its way from monotonic time ``now`` on."""
        self.took(desk, now)
        self._enter(desk)
        for work in works:
            desk.in_hand[work.obligation.event_key] = True

    def land(self, desk: Desk, works: list[Work], *, proven: bool) -> None:
        """A request came back, answered in time (``proven``) or not; there is room for the next one."""
        self._leave(desk)
        for work in works:
            if work.obligation.event_key in desk.in_hand:  # else it was let go meanwhile
                desk.in_hand[work.obligation.event_key] = False
        if proven is not desk.is_proven:
            self._slow += -desk.in_flight if proven else desk.in_flight
            desk.prove(proven=proven)
            self._end_slowness(desk)
        self._fill(desk)

    def rest(self, desk: Desk, event_keys: Iterable[int]) -> None:
        """A request has ended, and another one with what it left is to wait: others may use its room."""
        self._leave(desk)
        desk.in_hand.update(dict.fromkeys(event_keys, False))
        self._fill(desk)

    def go_on(self, desk: Desk, event_keys: Iterable[int]) -> None:
        """What rested takes its room again."""
        self._enter(desk)
        desk.in_hand.update(dict.fromkeys(event_keys, True))

    def has_room(self, desk: Desk) -> bool:
        """Whether the caps of endpoint, tenant and node allow one more request."""
        is_slow = not desk.is_proven and self._slow >= self._slow_max
        return desk.in_flight < desk.room and not desk.tenant.is_at_cap and self.room > 0 and not is_slow

    def _enter(self, desk: Desk) -> None:
        self.in_flight += 1
        desk.in_flight += 1
        desk.tenant.in_flight += 1
        if not desk.is_proven:
            self._slow += 1

    def _leave(self, desk: Desk) -> None:
        self.in_flight -= 1
        desk.in_flight -= 1
        desk.tenant.in_flight -= 1
        if not desk.is_proven:
            self._slow -= 1

    def _fill(self, desk: Desk) -> None:
        """A request of this endpoint left room: let others take part that waited for it."""
        if desk.tenant.cap:
            self._lanes.restore(desk.tenant)
        while self._slow_waiting and self._slow < self._slow_max:
            waiting, _ = self._slow_waiting.popitem(last=False)
            waiting.listed = False
            self.enlist(waiting)
            if waiting.listed:
                break
        self.enlist_all(desk)

    def _end_slowness(self, desk: Desk) -> None:
        """What waited for room among the slow is asked as any other again, and may wait anew."""
        for window in desk.windows.values():
            if window in self._slow_waiting:
                del self._slow_waiting[window]
                window.listed = False

    # -- choosing -------------------------------------------------------------------------------

    def choose(self, capacity: int) -> list[Chosen]:
        """Requests to start now, at most ``capacity``; each counts as being on its way."""
        self._now = self._clock.monotonic()
        self._lanes.choose(capacity, self._ask)
        chosen, self._chosen = self._chosen, []
        return chosen

    def _ask(self, window: Window) -> Answer:
        """Whether a window uses its turn."""
        desk = window.desk
        if not window.buffer or desk.in_flight >= desk.room or desk.is_stopped:
            window.listed = False
            return Answer.AWAY
        if desk.tenant.is_limited and self._tenant_waits(desk.tenant):
            return Answer.GROUP_AWAY
        if not desk.is_proven and self._slow >= self._slow_max:
            self._slow_waiting[window] = None  # it stays listed: it is in that queue now
            return Answer.AWAY
        if desk.starts_at > self._now or desk.holders or desk.is_batched or not desk.gate.is_free:
            holder = self._own_holder(window)
            if holder is not None:
                window.listed = False
                self.wait(desk, holder.until)
                return Answer.AWAY
        self._send(self._fair(window))
        if window.buffer and desk.in_flight < desk.room:
            return Answer.TAKEN
        window.listed = False
        return Answer.LAST

    def _tenant_waits(self, tenant: TenantDesk) -> bool:
        """Whether a tenant is at its cap, or its rate has to let time pass."""
        if tenant.pace is not None and tenant.pace.ready_at() > self._now:
            self._tenant_wakes.set(tenant, tenant.pace.ready_at())
            return True
        return tenant.is_at_cap

    def _fair(self, window: Window) -> Window:
        """The window, or every fifth time that of another lane of its endpoint, which has to share its room."""
        desk = window.desk
        if window.lane is not Lane.LIVE:
            desk.live_run = 0
            return window
        desk.live_run += 1
        if desk.live_run >= OTHERS_PART and len(desk.windows) > 1:
            for lane in (Lane.RETRY, Lane.BACKLOG):
                other = desk.windows.get(lane)
                if other is not None and other.buffer and self._own_holder(other) is None:
                    desk.live_run = 0
                    return other
        return window

    def _send(self, window: Window) -> None:
        """Take what goes in one request."""
        desk = window.desk
        rules = desk.endpoint.rules
        count = 1 if rules.batch is None else rules.batch.max_events
        works: list[Work] = []
        while window.buffer and len(works) < count:
            work = self._take(window)
            if work.newer and rules.order is Order.LATEST:
                self.superseded.append(work)
            else:
                works.append(work)
        if works:
            self.begin(desk, works, self._now)
            self._chosen.append(Chosen(window, works))

    # -- what holds whom ------------------------------------------------------------------------

    def holder(self, desk: Desk, lane: Lane) -> Holder | None:
        """What keeps a queue of this endpoint from sending now; None: nothing but its turn."""
        now = self._now = self._clock.monotonic()
        breaker, tenant = desk.gate.breaker, desk.tenant
        if desk.is_unmet:
            contact = desk.contact
            return Holder(Hold.HANDSHAKE, NEVER if contact is None or contact.is_busy else max(contact.due_at, now))
        if breaker is not None and desk.gate.is_down:
            return Holder(Hold.BREAKER_OPEN, NEVER if breaker.probing else max(breaker.probe_at, now))
        holder = self._own_holder(desk.window(lane)) if lane in desk.windows else None
        if holder is not None:
            return holder
        if tenant.pace is not None and tenant.pace.ready_at() > now:
            return Holder(Hold.TENANT_RATE, tenant.pace.ready_at())
        for is_at_bound, hold in (
            (desk.in_flight >= desk.room, Hold.ENDPOINT_CAP),
            (tenant.is_at_cap, Hold.TENANT_CAP),
            (self.room <= 0 or (not desk.is_proven and self._slow >= self._slow_max), Hold.NODE_CAP),
        ):
            if is_at_bound:
                return Holder(hold)
        return None

    def _own_holder(self, window: Window) -> Holder | None:
        """What of the endpoint's own keeps a window from sending at ``_now``, but for its cap and its breaker."""
        desk, now = window.desk, self._now
        if desk.starts_at > now:
            return Holder(Hold.TAKEOVER, desk.starts_at)
        if desk.holders and window.lane is Lane.BACKLOG:
            return Holder(Hold.JOB)
        gate = desk.gate
        if not gate.is_free and (at := gate.ready_at()) > now:
            return Holder(gate.holds(now), at)
        return None if desk.endpoint.rules.batch is None else self._filling(window)

    def _filling(self, window: Window) -> Holder | None:
        """A batch that is not full waits for more, as long as its rule lets its oldest event wait.

        One that is due later is in the buffer because it was pulled forward, or the clock was set back: it has waited.
        """
        batch = window.desk.endpoint.rules.batch
        if batch is None or not window.buffer or len(window.buffer) >= batch.max_events:
            return None
        waits_ms = window.buffer[0].obligation.due_at + batch.max_wait_ms - self._clock.now_ms()
        return Holder(Hold.BATCH, self._now + waits_ms / 1_000) if 0 < waits_ms <= batch.max_wait_ms else None

    def _wake(self, desk: Desk) -> None:
        self.enlist_all(desk)
        self._woken(desk)

    def _wake_tenant(self, tenant: TenantDesk) -> None:
        self._lanes.restore(tenant)
        self._woken(None)
