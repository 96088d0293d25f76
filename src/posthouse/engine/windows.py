"""Windows: what a node keeps in memory of the work of one endpoint in one lane.

A window is a bounded buffer and a flag that says whether the store holds more. New work joins the
buffer only while nothing older waits in the store. What a window forgets, the store still has.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.limits import WINDOW_BYTES_MAX, WINDOW_ITEMS_MAX
from posthouse.core.model import Endpoint, EndpointState, Lane, slot_of
from posthouse.core.retry import PRESETS, RetrySchedule, cut, parse_schedule
from posthouse.core.rules import Order
from posthouse.core.signature import Signer
from posthouse.engine.contacts import Contact
from posthouse.engine.gates import Gate
from posthouse.engine.shapes import Shape
from posthouse.engine.tenants import TenantDesk
from posthouse.engine.wakes import NEVER
from posthouse.formats.greeting import is_unmet
from posthouse.gateway.endpoint_input import check_stored
from posthouse.store.protocol import Work

UNPROVEN_MAX: Final = 2  #: requests on their way to an endpoint that has not answered in time lately
_NO_SCHEDULE: Final = PRESETS["three-weeks"]  #: of an endpoint whose own cannot be read; nothing is sent by it


class Window:
    """The head of one (endpoint, lane) queue. Only :class:`~posthouse.engine.board.Board` changes it."""

    __slots__ = ("buffer", "bytes", "desk", "lane", "listed", "more", "refilling", "timer_at", "unknown", "unreadable")

    def __init__(self, desk: "Desk", lane: Lane) -> None:
        self.desk = desk
        self.lane = lane
        self.buffer: deque[Work] = deque()
        self.bytes = 0  #: event data in the buffer
        self.more = False  #: the store may hold due work that is not in the buffer
        self.refilling = False  #: a read of the store is under way or queued
        self.listed = False  #: in the ring of its lane: it has something that may be sent now
        self.timer_at: int | None = None  #: when the store's next work becomes due, if known
        self.unknown = False  #: only the sweep knows of the due work that the next read will find
        self.unreadable = False  #: the latest read failed

    def __repr__(self) -> str:
        return (
            f"<Window {self.desk.endpoint.key} {self.lane.name.lower()}: {len(self.buffer)} buffered, "
            f"{self.desk.in_flight} in flight{', more' if self.more else ''}>"
        )

    @property
    def is_full(self) -> bool:
        """Whether the buffer is at a bound."""
        return len(self.buffer) >= WINDOW_ITEMS_MAX or self.bytes >= WINDOW_BYTES_MAX


class Desk:
    """All that a node knows of one endpoint that it works for: its windows and what is under way."""

    __slots__ = (
        "cap",
        "contact",
        "endpoint",
        "gate",
        "headers",
        "holders",
        "in_flight",
        "in_hand",
        "is_batched",
        "is_brisk",
        "is_held",
        "is_probed",
        "is_proven",
        "is_unmet",
        "keeps_order",
        "live_run",
        "probed_at",
        "pull",
        "pull_since",
        "room",
        "schedule",
        "shape",
        "signer",
        "signer_until",
        "slot",
        "starts_at",
        "tenant",
        "unusable",
        "wake_at",
        "windows",
    )

    def __init__(self, endpoint: Endpoint, tenant: TenantDesk, *, cap: int, now: float, sound: bool = False) -> None:
        """``cap``: requests on their way at once, where the endpoint has no rule of its own.

        ``sound``: this very endpoint was found to have no flaw before.
        """
        self.slot = slot_of(endpoint.key)
        self.tenant = tenant
        self.windows: dict[Lane, Window] = {}
        self.in_flight = 0  #: requests on their way
        #: Event keys that are buffered, on their way (True), or answered and not settled yet.
        self.in_hand: dict[int, bool] = {}
        #: Whether the latest answer was quick and good: what waits then waits for this node.
        self.is_brisk = True
        #: Whether the latest request was answered in time. Until then it gets a small part of the node's room.
        self.is_proven = False
        self.live_run = 0  #: live deliveries in a row that its other lanes let pass
        self.holders = 0  #: jobs that hold its backlog
        self.gate = Gate(now)
        self.is_probed = False  #: a probe is on its way, or being looked for
        #: Which delivery was probed with latest, as (due_at, event key), if it was not due.
        self.probed_at: tuple[int, int] | None = None
        #: Where pulling its retries forward has come to, as (due_at, event key); None: nothing is pulled.
        self.pull: tuple[int, int] | None = None
        self.pull_since = 0  #: when pulling began, Unix ms
        self.starts_at = 0.0  #: nothing is sent before, monotonic seconds
        self.wake_at = NEVER
        #: Its handshake or heartbeats, if its format has any; the greeter's.
        self.contact: Contact | None = None
        self.schedule: RetrySchedule = _NO_SCHEDULE
        self.use(endpoint, cap=cap, now=now, sound=sound)

    def use(self, endpoint: Endpoint, *, cap: int, now: float, sound: bool = False) -> None:
        """Work with the endpoint as it is now; hold it if what is stored of it cannot be used."""
        self.endpoint = endpoint
        rules = endpoint.rules
        #: Why nothing can be sent to it, although it may be active; None: all is well.
        self.unusable = None if sound else flaw_of(endpoint)
        self.is_unmet = is_unmet(endpoint)  #: it is to answer a handshake before it gets anything
        self.is_held = endpoint.state is not EndpointState.ACTIVE or self.unusable is not None or self.is_unmet
        self.is_batched = rules.batch is not None
        self.keeps_order = rules.order is not Order.NONE  #: events with an ordering key go one by one
        self.cap = cap if rules.in_flight_max is None else rules.in_flight_max
        self.prove(proven=self.is_proven)
        if self.unusable is None:
            schedule = parse_schedule(endpoint.retry)
            self.schedule = cut(schedule, rules.block_seconds * 1_000) if rules.order is Order.FIFO else schedule
            self.gate.use(rules.rate, now)
        self.headers = dict(endpoint.headers)
        self.shape: Shape | None = None  #: made by the sender
        self.signer: Signer | None = None  #: made by the sender
        self.signer_until: int | None = None  #: when one of its secrets expires

    def prove(self, *, proven: bool) -> None:
        """It answered in time, or did not: as much is on its way to it as that deserves."""
        self.is_proven = proven
        self.room = self.cap if proven else min(self.cap, UNPROVEN_MAX)

    def is_sending(self, event_key: int) -> bool:
        """Whether a request with this delivery is on its way."""
        return self.in_hand.get(event_key, False)

    def release(self, event_keys: Iterable[int]) -> None:
        """These deliveries are not in hand any more."""
        for event_key in event_keys:
            self.in_hand.pop(event_key, None)

    @property
    def is_stopped(self) -> bool:
        """Whether it gets nothing but perhaps a probe: it is held, or down."""
        return self.is_held or self.gate.is_down

    def window(self, lane: Lane) -> Window:
        """The window of ``lane``."""
        window = self.windows.get(lane)
        if window is None:
            window = self.windows[lane] = Window(self, lane)
        return window

    @property
    def has_nothing_waiting(self) -> bool:
        """Whether none of its work is due."""
        return not self.in_hand and not any(window.more or window.refilling for window in self.windows.values())

    def is_idle(self, now: float) -> bool:
        """Whether forgetting it at monotonic time ``now`` loses no knowledge."""
        if self.contact is not None:
            return False
        knows = self.in_hand or self.holders or self.gate.knows(now) or self.starts_at > now
        return not knows and not any(
            window.more or window.refilling or window.timer_at is not None for window in self.windows.values()
        )


def flaw_of(endpoint: Endpoint) -> str | None:
    """Why an endpoint cannot be worked with as it is stored, in one line without secrets; None if it can.

    The API stores no such endpoint. One that got into the store in another way is held, and concerns nobody else.
    """
    try:
        check_stored(endpoint)
    except PosthouseError as error:
        return "; ".join(f"{flaw['path']}: {flaw['message']}" for flaw in error.errors) or error.message
    except Exception as error:  # noqa: BLE001 - whatever a rule makes of values that no rule let through
        return f"It cannot be checked: {type(error).__name__}."
    return None
