"""The gate of an endpoint: what its rules and its own answers let through now. Bookkeeping without I/O.

An endpoint without a rate that answers well has nothing but a meter: its gate says yes at once.
"""

from enum import Enum
from typing import Final

from posthouse.core.health import Breaker, BreakerState, ramp_limit
from posthouse.core.model import Health
from posthouse.core.rate import Bucket, Meter, Throttle, parse_rate
from posthouse.core.retry import asked_delay
from posthouse.core.waiting import Hold
from posthouse.transport.protocol import Exchange

_PUSHED_BACK: Final = 429
_UNAVAILABLE: Final = 503
_SLOW_DOWN: Final = frozenset({502, 504})
_MS: Final = 1_000


class Change(Enum):
    """What an answer changed about an endpoint."""

    NOTHING = 0
    OPENED = 1  #: its breaker opened: it is down
    ANSWERS = 2  #: it answers again


class Gate:
    """What may go to one endpoint now. Times are monotonic seconds, but for ``…_ms``."""

    __slots__ = ("_bucket", "_taken_at", "breaker", "is_down", "is_free", "meter", "rate", "throttle", "warned")

    def __init__(self, now: float) -> None:
        self.rate: float | None = None  #: requests a second by its rule
        self.meter = Meter(now=now)
        self.breaker: Breaker | None = None  #: None: its latest answers were good
        self.throttle: Throttle | None = None  #: None: it asked for nothing
        self.warned = 0  #: warnings that were given since it fails
        self.is_down = False  #: its breaker is open
        self.is_free = True  #: nothing but its cap limits it
        self._bucket: Bucket | None = None
        self._taken_at: float | None = None

    def taken_over(self, at: float) -> None:
        """Another node sent to it until the monotonic time ``at``: nobody knows when, so it counts as just then."""
        self._taken_at = at
        if self._bucket is not None:
            self._bucket.used(at)

    def use(self, rate: str | None, now: float) -> None:
        """Work with this rule."""
        self.rate = None if rate is None else parse_rate(rate).per_second
        self._retune(now)

    def restore(self, health: Health, now: float) -> None:
        """Go on with what was known when the node before this one ended."""
        self.meter = Meter(health.usual_rate, now=now)
        self.meter.hold(now)
        self.breaker = Breaker()
        self.breaker.restore(health, now)
        self.warned = health.warned
        self._retune(now)

    def recover(self, now: float, now_ms: int) -> None:
        """It answers, or somebody says that it will: let through what waited, with a ramp."""
        self.meter.hold(now)
        self.breaker = Breaker()
        self.breaker.restore(Health(endpoint_key=0, failing_since=now_ms), now)
        self.throttle = None
        self.warned = 0
        self._retune(now)

    def forgive(self, now: float) -> None:
        """It is well: forget what it did."""
        self.meter.go_on(now)
        self.breaker = self.throttle = None
        self.warned = 0
        self._retune(now)

    @property
    def is_recovering(self) -> bool:
        """Whether it answers again, and what waited is pulled forward."""
        return self.breaker is not None and self.breaker.state is BreakerState.RECOVERING

    def knows(self, now: float) -> bool:
        """Whether it remembers anything that a new gate would not do by itself."""
        return self.breaker is not None or self.throttle is not None or self.ready_at() > now

    def limit(self, now: float) -> float | None:
        """Requests a second that it gets at most now; None: no limit."""
        limits = [self.rate, self.throttle.limit if self.throttle is not None else None]
        if self.is_recovering:
            limits.append(ramp_limit(self.meter.usual(now), self.rate))
        return min((limit for limit in limits if limit is not None), default=None)

    def ready_at(self) -> float:
        """When the next request may go; now or earlier: at once."""
        asked = self.throttle.until if self.throttle is not None else 0.0
        return max(asked, self._bucket.ready_at()) if self._bucket is not None else asked

    def holds(self, now: float) -> Hold:
        """By which rule the next request has to wait."""
        throttle, limit = self.throttle, self.limit(now)
        if throttle is not None and (throttle.until > now or throttle.limit == limit):
            return Hold.THROTTLED
        return Hold.RECOVERING if self.is_recovering and limit != self.rate else Hold.RATE

    def took(self, now: float) -> None:
        """A request goes."""
        if self._bucket is not None:
            self._bucket.take(now)

    def succeeded(self, now: float, now_ms: int) -> Change:
        """It answered as it should."""
        self.meter.note(now)
        if self.breaker is None and self.throttle is None:
            return Change.NOTHING
        change = Change.NOTHING
        if self.throttle is not None:
            self.throttle.went_well(now)
            if self.throttle.limit is None and self.throttle.until <= now:
                self.throttle = None
        if self.breaker is not None:
            self.warned = 0
            if self.breaker.succeeded(now, now_ms):
                change = Change.ANSWERS
            elif self.breaker.is_calm:
                self.breaker = None
        self._retune(now)
        return change

    def failed(
        self, event_key: int, exchange: Exchange, *, probe: bool, now: float, now_ms: int, jitter: float
    ) -> Change:
        """It did not answer as it should."""
        self._heed(exchange, now, now_ms)
        if self.breaker is None:
            self.breaker = Breaker()
        change = Change.NOTHING
        if self.breaker.state is BreakerState.OPEN:
            if probe:
                self.breaker.probe_failed(now, jitter)
        elif self.breaker.failed(
            event_key, failure=exchange.failure, status=exchange.status, now=now, now_ms=now_ms, jitter=jitter
        ):
            self.meter.hold(now)
            change = Change.OPENED
        self._retune(now)
        return change

    def health(self, endpoint_key: int, now: float) -> Health | None:
        """What must outlive this node of it; None if it is well."""
        return (
            None if self.breaker is None else self.breaker.to_health(endpoint_key, self.warned, self.meter.usual(now))
        )

    def _heed(self, exchange: Exchange, now: float, now_ms: int) -> None:
        """Go as slowly as its answer asks for."""
        status = exchange.status
        waits_ms = None
        if exchange.retry_after is not None and status in {_PUSHED_BACK, _UNAVAILABLE}:
            waits_ms = asked_delay(exchange.retry_after, now_ms)
        if status != _PUSHED_BACK and waits_ms is None and status not in _SLOW_DOWN:
            return
        if self.throttle is None:
            self.throttle = Throttle()
        usual = self.meter.usual(now)
        if status in _SLOW_DOWN:
            self.throttle.slowed(now, usual=usual)
        else:
            self.throttle.pushed_back(now, usual=usual, retry_after_s=waits_ms / _MS if waits_ms else None)

    def _retune(self, now: float) -> None:
        """Let the bucket, and what is asked at every turn, follow the rest."""
        limit = self.limit(now)
        if limit is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = Bucket(limit, now=now)
            if self._taken_at is not None:
                self._bucket.used(self._taken_at)
        elif self._bucket.per_second != limit:
            self._bucket.change(limit, now=now)
        self.is_down = self.breaker is not None and self.breaker.state is BreakerState.OPEN
        self.is_free = self._bucket is None and self.throttle is None
