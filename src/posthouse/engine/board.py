"""The board: every desk and window of a node, what may be sent now, and the bounds on memory.

All of it is bookkeeping without I/O, touched on the event loop's thread only.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, WINDOWS_BYTES_MAX
from posthouse.core.model import Endpoint, EndpointState, Lane
from posthouse.core.schedule import Ready, plan
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Work

DESKS_MAX: Final = 10_000  #: above this, desks of idle endpoints are forgotten now and again
BRISK_MAX: Final = 128  #: live deliveries that only wait for this node, above which accepting paces itself


class Board:
    """Desks by endpoint, and for each lane the ring of windows that have something to send.

    ``unusable(desk)`` is called for an active endpoint of which something is stored that cannot be used; it is held.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        in_flight_per_endpoint: int = IN_FLIGHT_PER_ENDPOINT,
        unusable: Callable[[Desk], None] = lambda _: None,
    ) -> None:
        self._catalogue = catalogue
        self._per_endpoint = in_flight_per_endpoint
        self._unusable = unusable
        self._desks: dict[int, Desk] = {}
        self._clear_at = DESKS_MAX  # with so many desks the idle ones are looked for
        self._rings: dict[Lane, deque[Window]] = {lane: deque() for lane in Lane}
        self._turn = 0
        self._brisk = 0  # live deliveries buffered for endpoints that answer well
        self.items = 0  #: deliveries in all buffers
        self.bytes = 0  #: event data in all buffers

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
            desk = self._desks[endpoint_key] = Desk(endpoint)
            self.report(desk)
        return desk

    def _forget_idle(self) -> None:
        """Forget the desks of idle endpoints; look again only when there are twice as many as are left.

        So a look costs a bounded share of each desk that was made, also when none of them is idle.
        """
        self._desks = {key: desk for key, desk in self._desks.items() if not desk.is_idle}
        self._clear_at = max(DESKS_MAX, 2 * len(self._desks))

    def desks_in(self, slots: set[int]) -> Iterable[Desk]:
        """The desks whose slot is one of ``slots``."""
        return [desk for desk in self._desks.values() if desk.slot in slots]

    def change(self, endpoint: Endpoint) -> Desk | None:
        """Take over a changed endpoint; the desk, if there is one and the endpoint still exists."""
        desk = self._desks.get(endpoint.key)
        if desk is None:
            return None
        desk.use(endpoint)
        if endpoint.state is EndpointState.DELETED:
            self.drop(desk)
            return None
        self.report(desk)
        if desk.is_held:
            self._forget_all(desk)
        return desk

    def hold(self, desk: Desk, flaw: str) -> None:
        """Send nothing more to an endpoint that turned out to be unusable; the store keeps what it is owed."""
        desk.unusable = flaw
        desk.is_held = True
        self._forget_all(desk)
        self.report(desk)

    def is_at_cap(self, desk: Desk) -> bool:
        """Whether all else of the endpoint has to wait until one of its requests comes back."""
        return desk.in_flight >= self._per_endpoint

    def report(self, desk: Desk) -> None:
        """Say so if the endpoint is active and cannot be used."""
        if desk.unusable is not None and desk.endpoint.state is EndpointState.ACTIVE:
            self._unusable(desk)

    def _forget_all(self, desk: Desk) -> None:
        for window in desk.windows.values():
            self.forget(window)

    def drop(self, desk: Desk) -> None:
        """Forget all that is in memory of an endpoint's work, which the store has."""
        self._forget_all(desk)
        for window in desk.windows.values():
            window.more = False
            window.timer_at = None
        self._desks.pop(desk.endpoint.key, None)

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
        if window.more or window.refilling or window.is_full or window.desk.is_held or self.is_full:
            window.more = True
            return False
        self.push(window, work)
        return True

    def push(self, window: Window, work: Work) -> None:
        """Buffer ``work`` behind the rest. It must not be in hand."""
        window.buffer.append(work)
        window.desk.in_hand.add(work.obligation.event_key)
        self._count(window, 1, len(work.event.data))
        self.enlist(window)

    def take(self, window: Window) -> Work:
        """The first delivery of the buffer, on its way from now on."""
        work = window.buffer.popleft()
        desk = window.desk
        desk.in_flight += 1
        desk.sending.add(work.obligation.event_key)
        self._count(window, -1, -len(work.event.data))
        return work

    def land(self, desk: Desk, event_key: int, *, brisk: bool) -> None:
        """A request came back; there is room for the next one of its endpoint."""
        desk.in_flight -= 1
        desk.sending.discard(event_key)
        if brisk is not desk.is_brisk:
            live = desk.windows.get(Lane.LIVE)
            waiting = len(live.buffer) if live is not None else 0
            self._brisk += waiting if brisk else -waiting
            desk.is_brisk = brisk
        for window in desk.windows.values():
            self.enlist(window)

    def withdraw(self, desk: Desk, event_key: int) -> None:
        """Take one delivery out of the buffers, if it is there."""
        for window in desk.windows.values():
            for work in window.buffer:
                if work.obligation.event_key == event_key:
                    window.buffer.remove(work)
                    desk.in_hand.discard(event_key)
                    self._count(window, -1, -len(work.event.data))
                    break

    def forget(self, window: Window) -> None:
        """Empty a buffer; the store still holds what was in it."""
        if window.buffer:
            window.more = True
            for work in window.buffer:
                window.desk.in_hand.discard(work.obligation.event_key)
            self._count(window, -len(window.buffer), -window.bytes)
            window.buffer.clear()

    def _count(self, window: Window, items: int, size: int) -> None:
        window.bytes += size
        self.items += items
        self.bytes += size
        if window.lane is Lane.LIVE and window.desk.is_brisk:
            self._brisk += items

    # -- choosing -------------------------------------------------------------------------------

    def enlist(self, window: Window) -> None:
        """Put a window into its ring if it has something that may be sent now."""
        desk = window.desk
        if window.buffer and not window.listed and desk.in_flight < self._per_endpoint and not desk.is_held:
            window.listed = True
            self._rings[window.lane].append(window)

    def choose(self, capacity: int) -> list[tuple[Window, int]]:
        """The windows to send from now, and how many deliveries of each, in order.

        Looks at no more than ``capacity`` windows of a ring that can send and turns the ring, so its cost
        does not grow with the number of endpoints that have work. A window that is not chosen goes back
        into its ring; the caller takes from a chosen one, then enlists it again. One that cannot send any
        more since it was enlisted leaves the ring and hides nobody.
        """
        seen: list[Window] = []
        ready: list[Ready] = []
        for ring in self._rings.values():
            enough = len(seen) + capacity
            while ring and len(seen) < enough:
                window = ring.popleft()
                window.listed = False
                desk = window.desk
                free = self._per_endpoint - desk.in_flight
                if window.buffer and free > 0 and not desk.is_held:
                    ready.append(Ready(len(seen), window.lane, len(window.buffer), free, desk.endpoint.key))
                    seen.append(window)
        if not ready:
            return []
        self._turn += 1
        chosen = plan(ready, capacity, self._turn)
        if len(chosen) < len(seen):
            for position in sorted(set(range(len(seen))).difference(position for position, _ in chosen)):
                self.enlist(seen[position])
        return [(seen[position], count) for position, count in chosen]
