"""Whether an endpoint is well: its breaker, its way back, and the rule by which it is disabled.

Times named ``now`` and ``probe_at`` are monotonic seconds, those that outlive the node are Unix milliseconds.
"""

from enum import StrEnum
from typing import Final

from posthouse.core.model import Health
from posthouse.core.retry import FAULT

FAILURES_IN_A_ROW: Final = 5
FAILURES_OF_LAST: Final = 10
LAST: Final = 20
PROBE_SECONDS_MIN: Final = 1.0
PROBE_SECONDS_MAX: Final = 30.0
RAMP_FLOOR: Final = 25.0  #: requests a second; the usual rate of an endpoint counts as this at least
RAMP_FACTOR: Final = 2.0
WARNINGS: Final = (50, 75, 90)  #: per cent of the days after which an endpoint is disabled

_JITTER_PARTS: Final = 10  # the most that jitter adds is a tenth of the wait
_DOUBLINGS_MAX: Final = 5  # more of them are beyond PROBE_SECONDS_MAX
_LAST_MASK: Final = (1 << LAST) - 1
_TOO_MANY_REQUESTS: Final = 429
_DAY_MS: Final = 86_400_000


class BreakerState(StrEnum):
    """How an endpoint is attempted."""

    CLOSED = "closed"  #: normally
    OPEN = "open"  #: it is down: one probe at a time, everything else waits
    RECOVERING = "recovering"  #: it answers again: what waited is pulled forward, with a ramp


def counts(failure: str | None, status: int | None, event_key: int, before: int | None) -> bool:
    """Whether an attempt counts as a failure of its endpoint.

    Without an HTTP answer it does. With one it only does if another event's failure was the one counted
    ``before``, so that one poison event never closes an endpoint for others. Never a fault of the program,
    and never a 429: an endpoint that asks for less is up, and is throttled.
    """
    if failure is None or failure == FAULT or status == _TOO_MANY_REQUESTS:
        return False
    return status is None or event_key != before


class Breaker:
    """The breaker of one endpoint.

    It opens after ``FAILURES_IN_A_ROW`` counted failures, or ``FAILURES_OF_LAST`` of the ``LAST`` outcomes
    (counted failures and successes).
    """

    __slots__ = (
        "_before",
        "_last",
        "_recovering_since",
        "_run",
        "failing_since",
        "opened_at",
        "probe_at",
        "probes",
        "probing",
        "state",
    )

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.failing_since: int | None = None  #: the first failure, counted or not, since the latest success, Unix ms
        self.opened_at: int | None = None  #: Unix ms, if it is OPEN
        self.probes = 0  #: that failed since it opened
        self.probe_at = 0.0  #: when the next probe may go, if it is OPEN
        self.probing = False  #: a probe is on its way
        self._run = 0  # counted failures since the latest success
        self._last = 0  # the last outcomes, one bit each; a failure is 1
        # Event of the latest counted failure. A success does not forget it: the retries of one poison event
        # among the successes of others would add up.
        self._before: int | None = None
        self._recovering_since = 0  # Unix ms

    @property
    def is_calm(self) -> bool:
        """Whether a new breaker would not differ: closed, and none of the last outcomes was a failure."""
        return self.state is BreakerState.CLOSED and self._last == 0 and self.failing_since is None

    def succeeded(self, now: float, now_ms: int) -> bool:
        """The endpoint took a request, probe or not; whether it begins to recover by that.

        A request that was sent before the breaker opened counts too: the endpoint answers.
        """
        self.failing_since = None
        self._run = 0
        self._last = self._last << 1 & _LAST_MASK
        if self.state is not BreakerState.OPEN:
            return False
        self._recover(now, now_ms)
        return True

    def failed(
        self, event_key: int, *, failure: str | None, status: int | None, now: float, now_ms: int, jitter: float
    ) -> bool:
        """An attempt of ``event_key`` failed; whether the breaker opens by that.

        Args:
            event_key: of which event.
            failure: the failure's class, or core.retry.FAULT, which says nothing about the endpoint.
            status: HTTP status, if an answer came.
            now: when the first probe is counted from.
            now_ms: the same moment.
            jitter: in [0, 1); adds up to a tenth to the wait for the first probe.
        """
        if failure is None or failure == FAULT:
            return False
        if self.failing_since is None:
            self.failing_since = now_ms
        if self.state is BreakerState.OPEN or not counts(failure, status, event_key, self._before):
            return False
        self._before = event_key
        self._run += 1
        self._last = (self._last << 1 | 1) & _LAST_MASK
        if self._run < FAILURES_IN_A_ROW and self._last.bit_count() < FAILURES_OF_LAST:
            return False
        self.state = BreakerState.OPEN
        self.opened_at = now_ms
        self.probes = 0
        self._wait_for_probe(now, jitter)
        return True

    def begin_probe(self, now: float) -> None:
        """A probe is on its way from now on."""
        self.probing = True
        self.probe_at = now

    def probe_failed(self, now: float, jitter: float) -> None:
        """The probe failed: each wait for the next is twice as long, up to ``PROBE_SECONDS_MAX``.

        ``jitter`` in [0, 1) adds up to a tenth. Without effect once the endpoint has answered another request.
        """
        if self.state is BreakerState.OPEN:
            self.probes += 1
            self._wait_for_probe(now, jitter)

    def probe_lost(self, now: float) -> None:
        """The probe did not take place; another may go now."""
        self.probing = False
        self.probe_at = now

    def restore(self, health: Health, now: float) -> None:
        """Make a new breaker what it was in a node before this one. One that was open is probed at once."""
        if health.opened_at is None:
            self._recover(now, health.failing_since)
            return
        self.state = BreakerState.OPEN
        self.failing_since, self.opened_at = health.failing_since, health.opened_at
        self.probes, self.probe_at = health.probes, now

    def to_health(self, endpoint_key: int, warned: int, usual_rate: float) -> Health | None:
        """What must outlive the node, None if it is closed. ``warned``: warnings given before it is disabled."""
        if self.state is BreakerState.CLOSED:
            return None
        return Health(
            endpoint_key=endpoint_key,
            failing_since=self._recovering_since if self.failing_since is None else self.failing_since,
            opened_at=self.opened_at,
            probes=self.probes,
            warned=warned,
            usual_rate=usual_rate,
        )

    def _recover(self, now: float, now_ms: int) -> None:
        self.state = BreakerState.RECOVERING
        self.opened_at = None
        self.probes = self._run = self._last = 0
        self.probing, self.probe_at = False, now
        self._recovering_since = now_ms

    def _wait_for_probe(self, now: float, jitter: float) -> None:
        wait = min(PROBE_SECONDS_MIN * (1 << min(self.probes, _DOUBLINGS_MAX)), PROBE_SECONDS_MAX)
        self.probing, self.probe_at = False, now + wait * (1 + jitter / _JITTER_PARTS)


def ramp_limit(usual: float, rate: float | None) -> float:
    """Requests a second that an endpoint gets at most while it recovers.

    Args:
        usual: the rate that it took when it was well.
        rate: the endpoint's own, which is never exceeded; None: it has none.
    """
    ramp = RAMP_FACTOR * max(usual, RAMP_FLOOR)
    return ramp if rate is None else min(ramp, rate)


def disables_at(failing_since: int | None, disable_after_days: int | None) -> int | None:
    """When the rule disables an endpoint unless it answers before, Unix ms; None: it is well, or has no such rule."""
    if failing_since is None or disable_after_days is None:
        return None
    return failing_since + disable_after_days * _DAY_MS


def is_overdue(failing_since: int | None, disable_after_days: int | None, now_ms: int) -> bool:
    """Whether the rule disables the endpoint now."""
    at = disables_at(failing_since, disable_after_days)
    return at is not None and now_ms >= at


def warnings_due(failing_since: int | None, disable_after_days: int | None, now_ms: int) -> int:
    """How many of the ``WARNINGS`` before it is disabled an endpoint should have had by now."""
    if failing_since is None or disable_after_days is None:
        return 0
    failing_percent = 100 * (now_ms - failing_since)
    return sum(failing_percent >= percent * disable_after_days * _DAY_MS for percent in WARNINGS)
