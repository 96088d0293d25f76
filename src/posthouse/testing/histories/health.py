"""How an endpoint is, as the model knows it: its breaker, its way back, and how many requests it deserves."""

from dataclasses import dataclass, field
from typing import Final

from posthouse.testing.histories.receivers import Reply
from posthouse.transport.protocol import Failure

IN_A_ROW: Final = 5
OF_LAST: Final = 10
LAST: Final = 20
DISABLE_AFTER_MS: Final = 30 * 86_400_000
SWEEP_MS: Final = 5_000
LOOKS_AGAIN_MS: Final = 1_000  #: when a probe was due and there was no room for it
PAUSE_MS_MAX: Final = 15 * 60_000  #: that an endpoint may ask for, for all that it is owed
SLOWEST_MS: Final = 10_000  #: between two requests to one that asked for less
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_SLOW_DOWN: Final = frozenset({502, 504})
_SILENT: Final = frozenset({Failure.CONNECT_TIMEOUT, Failure.READ_TIMEOUT})


@dataclass(slots=True)
class Health:
    """What the answers of an endpoint so far make of it."""

    state: str = "ok"  #: ``ok``, ``down`` or ``recovering``
    failing_since: int | None = None  #: Unix ms
    proven: bool = False  #: the latest request was answered in time
    asked_for_less: bool = False  #: since it was last forgiven
    opened_at: int | None = None  #: Unix ms, if that was in this life
    probe: int | None = None  #: ticket of the probe on its way
    recovers_from: int = 0  #: the first ticket of this recovery
    pulled: set[int] = field(default_factory=set)  #: events sent before they were due, since it recovers
    _run: int = 0
    _last: list[bool] = field(default_factory=list)
    _before: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether there is nothing about it to look at."""
        return self.state == "ok" and self.failing_since is None

    @property
    def shown(self) -> str:
        """As the API shows it."""
        return "failing" if self.state == "ok" and self.failing_since is not None else self.state

    def answered(self, event: int, ticket: int, reply: Reply, now: int) -> None:
        """A request ended."""
        self.proven = reply.failure not in _SILENT
        if self.probe == ticket:
            self.probe = None
        if reply.outcome == "success":
            self._succeeded(ticket)
            return
        asks = reply.status == _UNAVAILABLE and reply.retry_after is not None
        self.asked_for_less |= asks or reply.status == _TOO_MANY or reply.status in _SLOW_DOWN
        if self.failing_since is None:
            self.failing_since = now
        is_counted = reply.status is None or event != self._before
        if self.state == "down" or reply.status == _TOO_MANY or not is_counted:
            return
        self._before = event
        self._run += 1
        self._last = [*self._last, True][-LAST:]
        if self._run >= IN_A_ROW or sum(self._last) >= OF_LAST:
            self.state, self.opened_at, self.probe = "down", now, None

    def _succeeded(self, ticket: int) -> None:
        self.failing_since = None
        self._run = 0
        self._last = [*self._last, False][-LAST:]
        if self.state == "down":
            self.recover(ticket + 1)
        elif self.state == "ok" and not any(self._last):
            self._before = None

    def recover(self, first_ticket: int) -> None:
        """What waits is pulled forward from now on."""
        self.state, self.recovers_from = "recovering", first_ticket
        self.failing_since = self.opened_at = self.probe = None
        self.pulled.clear()
        self._run, self._last = 0, []

    def forgive(self) -> None:
        """Forget what it did."""
        self.state, self.failing_since, self.asked_for_less = "ok", None, False
        self.opened_at = self.probe = None
        self.recovers_from = 0
        self._run, self._last, self._before = 0, [], None

    def lose_memory(self) -> None:
        """The process ended: what is not well is so still, all else begins anew."""
        self.proven = self.asked_for_less = False
        self.opened_at = self.probe = None
        self.pulled.clear()
        self._run, self._last, self._before = 0, [], None
        if self.state == "ok":
            self.failing_since = None

    def adopt(self, state: str, failing_since: int | None, first_ticket: int) -> None:
        """It turns out to be this; ``first_ticket``: of the next request."""
        asked_for_less = self.asked_for_less
        if state in {"ok", "failing"}:
            self.forgive()
        elif state == "recovering" and self.state != state:
            self.recover(first_ticket)
        elif state != self.state:
            self.forgive()
            self.state = state
        self.failing_since, self.asked_for_less = failing_since, asked_for_less

    def is_overdue(self, now: int, by_ms: int = 0) -> bool:
        """Whether it has failed for so long, and ``by_ms`` longer, that a rule disables it."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER_MS + by_ms
