"""Windows: what a node keeps in memory of the work of one endpoint in one lane.

A window is a bounded buffer and a flag that says whether the store holds more. New work joins the
buffer only while nothing older waits in the store. What a window forgets, the store still has.
"""

from collections import deque
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.limits import WINDOW_BYTES_MAX, WINDOW_ITEMS_MAX
from posthouse.core.model import Endpoint, EndpointState, Lane, slot_of
from posthouse.core.retry import PRESETS, RetrySchedule, parse_schedule
from posthouse.core.signature import Signer, validate_secret
from posthouse.gateway.endpoint_input import EndpointChange, check_change
from posthouse.store.protocol import Work

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
        "endpoint",
        "headers",
        "in_flight",
        "in_hand",
        "is_brisk",
        "is_held",
        "schedule",
        "sending",
        "signer",
        "signer_until",
        "slot",
        "unusable",
        "windows",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.slot = slot_of(endpoint.key)
        self.windows: dict[Lane, Window] = {}
        self.in_flight = 0  #: requests on their way
        #: Event keys that are buffered, on their way, or answered and not settled yet.
        self.in_hand: set[int] = set()
        #: Event keys of the requests on their way.
        self.sending: set[int] = set()
        #: Whether the latest answer was quick and good: what waits then waits for this node.
        self.is_brisk = True
        self.schedule: RetrySchedule = _NO_SCHEDULE
        self.use(endpoint)

    def use(self, endpoint: Endpoint) -> None:
        """Work with the endpoint as it is now; hold it if what is stored of it cannot be used."""
        self.endpoint = endpoint
        #: Why nothing can be sent to it, although it may be active; None: all is well.
        self.unusable = flaw_of(endpoint)
        self.is_held = endpoint.state is not EndpointState.ACTIVE or self.unusable is not None
        if self.unusable is None:
            self.schedule = parse_schedule(endpoint.retry)
        self.headers = dict(endpoint.headers)
        self.signer: Signer | None = None  #: made by the sender
        self.signer_until: int | None = None  #: when one of its secrets expires

    def window(self, lane: Lane) -> Window:
        """The window of ``lane``."""
        window = self.windows.get(lane)
        if window is None:
            window = self.windows[lane] = Window(self, lane)
        return window

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it loses no knowledge."""
        return not self.in_hand and not any(
            window.more or window.refilling or window.timer_at is not None for window in self.windows.values()
        )


def flaw_of(endpoint: Endpoint) -> str | None:
    """Why an endpoint cannot be worked with as it is stored, in one line without secrets; None if it can.

    The API stores no such endpoint. One that got into the store in another way is held, and concerns nobody else.
    """
    try:
        check_change(
            EndpointChange(url=endpoint.url, events=endpoint.events, headers=endpoint.headers, retry=endpoint.retry),
            connect_timeout_ms=endpoint.connect_timeout_ms,
            timeout_ms=endpoint.timeout_ms,
        )
        for secret in endpoint.secrets:
            validate_secret(secret.value)
    except PosthouseError as error:
        return "; ".join(f"{flaw['path']}: {flaw['message']}" for flaw in error.errors) or error.message
    except Exception as error:  # noqa: BLE001 - whatever a rule makes of values that no rule let through
        return f"It cannot be checked: {type(error).__name__}."
    return None
