"""The board: every desk and window of a node, what may be sent now, and the bounds on memory.

All of it is bookkeeping without I/O, touched on the event loop's thread only.
"""

from collections.abc import Callable, Iterable
from typing import Final

from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, IN_FLIGHT_PER_NODE, WINDOWS_BYTES_MAX
from posthouse.core.model import Endpoint, EndpointState, Lane
from posthouse.core.ports import Clock
from posthouse.core.shares import WHOLE
from posthouse.engine.tenants import ShareOf, TenantDesks
from posthouse.engine.turns import Turns
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Work

DESKS_MAX: Final = 10_000  #: above this, desks of idle endpoints are forgotten now and again
BRISK_MAX: Final = 128  #: live deliveries that only wait for this node, above which accepting paces itself


class Board:
    """Desks by endpoint, and their buffers; :attr:`turns` says what may be sent of it now.

    ``made(desk)`` is called for each new desk, ``unusable(desk)`` for an active endpoint of which something is stored
    that cannot be used (it is held), and ``woken(desk)`` when a time comes that an endpoint waited for.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        clock: Clock,
        *,
        in_flight_max: int = IN_FLIGHT_PER_NODE,
        in_flight_per_endpoint: int = IN_FLIGHT_PER_ENDPOINT,
        in_flight_per_tenant: int = 0,
        share_of: ShareOf = lambda *_: WHOLE,
        made: Callable[[Desk], None] = lambda _: None,
        unusable: Callable[[Desk], None] = lambda _: None,
        woken: Callable[[Desk | None], None] = lambda _: None,
    ) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._per_endpoint = in_flight_per_endpoint
        self._made = made
        self._unusable = unusable
        self._desks: dict[int, Desk] = {}
        self._sound: dict[int, Endpoint] = {}  # found to have no flaw: desks are made and forgotten often
        self._clear_at = DESKS_MAX  # with so many desks the idle ones are looked for
        self._tenants = TenantDesks(
            catalogue, in_flight_per_tenant=in_flight_per_tenant, monotonic=clock.monotonic, share_of=share_of
        )
        self._brisk = 0  # live deliveries buffered for endpoints that answer well
        self.items = 0  #: deliveries in all buffers
        self.bytes = 0  #: event data in all buffers
        self.turns = Turns(self._tenants, clock, in_flight_max=in_flight_max, take=self.take, woken=woken)

    # -- desks ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Windows that hold or expect work."""
        return sum(len(desk.windows) for desk in self._desks.values())

    def find(self, endpoint_key: int) -> Desk | None:
        """The desk of an endpoint, if there is one."""
        return self._desks.get(endpoint_key)

    def desk(self, endpoint_key: int) -> Desk | None:
        """The desk of an endpoint, made if need be; None if the endpoint does not exist (any more)."""
        desk = self._desks.get(endpoint_key)
        if desk is None:
            endpoint = self._catalogue.endpoint(endpoint_key)
            if endpoint is None:
                return None
            if len(self._desks) >= self._clear_at:
                self._forget_idle()
            tenant = self._tenants.of(endpoint.environment, endpoint.tenant)
            now = self._clock.monotonic()
            sound = self._sound.get(endpoint_key) is endpoint
            desk = Desk(endpoint, tenant, cap=self._per_endpoint, now=now, sound=sound)
            if desk.unusable is None:
                self._sound[endpoint_key] = endpoint
            self._desks[endpoint_key] = desk
            tenant.desks += 1
            self._made(desk)
            self.report(desk)
        return desk

    def _forget_idle(self) -> None:
        """Forget the desks of idle endpoints; look again only when there are twice as many as are left.

        So a look costs a bounded share of each desk that was made, also when none of them is idle.
        """
        now = self._clock.monotonic()
        self._sound = {key: found for key, found in self._sound.items() if self._catalogue.endpoint(key) is found}
        kept = {}
        for key, desk in self._desks.items():
            if desk.is_idle(now):
                desk.tenant.desks -= 1
            else:
                kept[key] = desk
        self._desks = kept
        self._clear_at = max(DESKS_MAX, 2 * len(kept))

    def desks(self) -> list[Desk]:
        """All of them."""
        return list(self._desks.values())

    def desks_in(self, slots: set[int]) -> Iterable[Desk]:
        """The desks whose slot is one of ``slots``."""
        return [desk for desk in self._desks.values() if desk.slot in slots]

    def change(self, endpoint: Endpoint) -> Desk | None:
        """Take over a changed endpoint; the desk, if there is one and the endpoint still exists."""
        self._sound.pop(endpoint.key, None)
        desk = self._desks.get(endpoint.key)
        if desk is None:
            return None
        desk.use(endpoint, cap=self._per_endpoint, now=self._clock.monotonic())
        if endpoint.state is EndpointState.DELETED:
            self.drop(desk)
            return None
        self.report(desk)
        if desk.is_stopped:
            self.forget_all(desk)
        else:
            self.turns.enlist_all(desk)
        return desk

    def hold(self, desk: Desk, flaw: str) -> None:
        """Send nothing more to an endpoint that turned out to be unusable; the store keeps what it is owed."""
        desk.unusable = flaw
        desk.is_held = True
        self.forget_all(desk)
        self.report(desk)

    def report(self, desk: Desk) -> None:
        """Say so if the endpoint is active and cannot be used."""
        if desk.unusable is not None and desk.endpoint.state is EndpointState.ACTIVE:
            self._unusable(desk)

    def forget_all(self, desk: Desk) -> None:
        """Empty all buffers of an endpoint; the store still holds what was in them."""
        for window in desk.windows.values():
            self.forget(window)

    def drop(self, desk: Desk) -> None:
        """Forget all that is in memory of an endpoint's work, which the store has."""
        self.forget_all(desk)
        for window in desk.windows.values():
            window.more = False
            window.timer_at = None
        if self._desks.pop(desk.endpoint.key, None) is not None:
            desk.tenant.desks -= 1

    # -- buffers --------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether all buffers together are at their bound."""
        return self.bytes >= WINDOWS_BYTES_MAX

    @property
    def room(self) -> int:
        """How many live deliveries more may wait for nothing but this node before accepting paces itself."""
        return BRISK_MAX - self._brisk

    def offer(self, window: Window, work: Work) -> bool:
        """Buffer ``work`` if its turn is now: nothing older waits in the store, and there is room."""
        if window.more or window.refilling or window.is_full or window.desk.is_stopped or self.is_full:
            window.more = True
            return False
        self.push(window, work)
        return True

    def push(self, window: Window, work: Work) -> None:
        """Buffer ``work`` behind the rest. It must not be in hand."""
        window.buffer.append(work)
        window.desk.in_hand[work.obligation.event_key] = False
        self._count(window, 1, len(work.event.data))
        self.turns.enlist(window)

    def take(self, window: Window) -> Work:
        """The first delivery of the buffer, out of it from now on."""
        work = window.buffer.popleft()
        self._count(window, -1, -len(work.event.data))
        return work

    def land(self, desk: Desk, works: list[Work], *, brisk: bool, proven: bool) -> None:
        """A request came back; ``brisk``: with a quick and good answer, ``proven``: with any answer in time."""
        if brisk is not desk.is_brisk:
            live = desk.windows.get(Lane.LIVE)
            waiting = len(live.buffer) if live is not None else 0
            self._brisk += waiting if brisk else -waiting
            desk.is_brisk = brisk
        self.turns.land(desk, works, proven=proven)

    def withdraw(self, desk: Desk, event_key: int) -> None:
        """Take one delivery out of the buffers, if it is there."""
        for window in desk.windows.values():
            for work in window.buffer:
                if work.obligation.event_key == event_key:
                    window.buffer.remove(work)
                    desk.in_hand.pop(event_key, None)
                    self._count(window, -1, -len(work.event.data))
                    break

    def withdraw_key(self, desk: Desk, ordering_key: str) -> list[Work]:
        """Take the deliveries of an ordering key out of the buffers; those that were there."""
        found = [
            work
            for window in desk.windows.values()
            for work in window.buffer
            if work.event.ordering_key == ordering_key
        ]
        for work in found:
            self.withdraw(desk, work.obligation.event_key)
        return found

    def forget(self, window: Window) -> None:
        """Empty a buffer; the store still holds what was in it."""
        if window.buffer:
            window.more = True
            for work in window.buffer:
                window.desk.in_hand.pop(work.obligation.event_key, None)
            self._count(window, -len(window.buffer), -window.bytes)
            window.buffer.clear()

    def _count(self, window: Window, items: int, size: int) -> None:
        window.bytes += size
        self.items += items
        self.bytes += size
        if window.lane is Lane.LIVE and window.desk.is_brisk:
            self._brisk += items
