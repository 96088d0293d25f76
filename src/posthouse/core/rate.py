"""How fast requests go to an endpoint: the rate that somebody set, the one it is used to, the one its answers allow.

All times are monotonic seconds (float), and all rates are requests a second.
"""

import re
from functools import lru_cache
from math import exp, exp2
from typing import Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import RATE_COUNT_MAX, THROTTLE_SECONDS_MAX

CATCH_UP_SECONDS: Final = 0.05  #: what a timer that comes late can make up for
USED_SECONDS_MAX: Final = 3_600.0  #: a rate slower than one in this time is not waited for longer after a takeover

_RATE: Final = re.compile(r"([0-9]{1,7})/([smhd])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

_METER_SECONDS: Final = 8.0  # the weight of a request falls by the factor e in this time
_METER_TICK_SECONDS: Final = 0.1  # requests within it are weighed together
_USUAL_HALF_LIFE_SECONDS: Final = 3_600.0

_CUT_SECONDS: Final = 1.0  # of several answers within it, all sent before the first was known, one lowers the limit
_PUSHED_BACK_SECONDS: Final = 1.0  # the pause where the endpoint names none
_PUSHED_BACK_FACTOR: Final = 0.5
_SLOWED_FACTOR: Final = 0.7
_GROWTH_PER_SECOND: Final = 1.1
_GROWTH_SECONDS_MAX: Final = 600.0  # far beyond any lift, and far below what a float can hold
_LIFTED_AT: Final = 4.0  # times the rate that the first cut began from
_LIMIT_MIN: Final = 0.1
_CUT_FROM_MIN: Final = 1.0  # of an endpoint whose usual rate is lower, or not known


class Rate(msgspec.Struct, frozen=True):
    """A rate that somebody set."""

    text: str  #: as it is stored and shown: ``100/s``, ``70/m``, ``1000/h``, ``5000/d``
    per_second: float


@lru_cache(maxsize=1_024)
def parse_rate(text: str, path: str = "rate") -> Rate:
    """The rate that ``text`` describes: a whole number up to ``RATE_COUNT_MAX``, and for each s, m, h or d.

    ``path`` names the field in the error. Raises :class:`InvalidInput`.
    """
    found = _RATE.fullmatch(text)
    count = int(found[1]) if found is not None else 0
    if found is None or not 1 <= count <= RATE_COUNT_MAX:
        raise InvalidInput.at(
            path,
            "rate",
            f"A rate is a whole number from 1 to {RATE_COUNT_MAX:,}, a slash, and s, m, h or d.",
            hint="Use such as '100/s', '70/m', '1000/h' or '5000/d'.",
        )
    return Rate(f"{count}/{found[2]}", count / _UNIT_SECONDS[found[2]])


class Bucket:
    """Spaces requests evenly at a rate (GCRA), the first at once.

    In any T seconds at most ``per_second * (T + CATCH_UP_SECONDS) + 1`` are taken, with the greatest rate
    of those seconds, as long as each is taken no earlier than :meth:`ready_at`. Who is never later than
    ``CATCH_UP_SECONDS`` loses nothing of the rate.
    """

    __slots__ = ("_next", "per_second")

    def __init__(self, per_second: float, *, now: float) -> None:
        self.per_second = per_second
        self._next = now

    def ready_at(self) -> float:
        """When the next one may go; not after now: one may go now."""
        return self._next

    def take(self, now: float, count: int = 1) -> None:
        """So many go now. Those that were not ready yet are paid for by a longer wait afterwards."""
        self._next = max(self._next, now - CATCH_UP_SECONDS) + count / self.per_second

    def used(self, at: float) -> None:
        """Somebody else has, for all that is known, taken one at ``at``: the next may go as if it had been this one."""
        self._next = max(self._next, at + min(1 / self.per_second, USED_SECONDS_MAX))

    def change(self, per_second: float, *, now: float) -> None:
        """Another rate from now on. The part of the wait that is over stays over, and nothing is given for free."""
        waits = max(self._next - now, -CATCH_UP_SECONDS)
        self._next = now + waits * self.per_second / per_second
        self.per_second = per_second


class Meter:
    """The rate at which an endpoint takes requests when it is well. Constant cost and memory.

    A steady rate of 1/s or more reads within a tenth of itself after 30 s.

    Args:
        usual: the rate that it was used to before, if that is known.
        now: from when on.
    """

    __slots__ = ("_at", "_gathered", "_held", "_peak", "_per_second")

    def __init__(self, usual: float = 0.0, *, now: float = 0.0) -> None:
        self._at = now  # when the two rates held
        self._per_second = 0.0
        self._peak = usual
        self._gathered = 0  # requests since, each weighed as if it had come at _at
        self._held = False

    def note(self, now: float, count: int = 1) -> None:
        """So many requests were sent now."""
        if self._held:
            return
        if now - self._at >= _METER_TICK_SECONDS:
            self._per_second, self._peak = self.per_second(now), self.usual(now)
            self._at, self._gathered = now, 0
        self._gathered += count

    def per_second(self, now: float) -> float:
        """The rate of about the last ten seconds, later ones weighing more."""
        return self._latest * exp((self._at - now) / _METER_SECONDS)

    def usual(self, now: float) -> float:
        """The greatest rate of about the last hour; an older one counts half for each hour that has passed."""
        peak = max(self._peak, self._latest)
        return peak if self._held else peak * exp2((self._at - now) / _USUAL_HALF_LIFE_SECONDS)

    def hold(self, now: float) -> None:
        """The endpoint is not well from now on: what it takes says nothing, and its usual rate is kept as it is."""
        if not self._held:
            self._peak = self.usual(now)
            self._per_second, self._gathered, self._held = 0.0, 0, True

    def go_on(self, now: float) -> None:
        """It is well again."""
        if self._held:
            self._at, self._held = now, False

    @property
    def _latest(self) -> float:
        return self._per_second + self._gathered / _METER_SECONDS


class Throttle:
    """What the answers of an endpoint allow: it halves its rate by saying so, and gets it back by answering well."""

    __slots__ = ("_changed_at", "_cut_at", "_cut_from", "limit", "until")

    def __init__(self) -> None:
        self.limit: float | None = None  #: requests a second now; None: no limit
        self.until = 0.0  #: nothing before
        self._cut_from = 0.0  # the rate before the first cut since there was no limit
        self._cut_at = 0.0  # the latest cut
        self._changed_at = 0.0  # that, or the latest growth

    def pushed_back(self, now: float, *, usual: float, retry_after_s: float | None) -> None:
        """The endpoint asks for less: a 429, or a 503 that says when to come again.

        Args:
            now: when the answer came.
            usual: the rate that it is used to.
            retry_after_s: the pause that it asks for, up to ``THROTTLE_SECONDS_MAX`` heeded for all that it is owed.
        """
        pause = _PUSHED_BACK_SECONDS if retry_after_s is None else min(retry_after_s, THROTTLE_SECONDS_MAX)
        self.until = max(self.until, now + pause)
        self._cut(now, usual, _PUSHED_BACK_FACTOR)

    def slowed(self, now: float, *, usual: float) -> None:
        """Something before the endpoint is overloaded: a 502 or a 504."""
        self._cut(now, usual, _SLOWED_FACTOR)

    def went_well(self, now: float) -> None:
        """The endpoint took a request. A limit grows by a tenth a second, not counting a pause that it asked for."""
        if self.limit is None:
            return
        since = max(self._changed_at, self.until)
        if now <= since:
            return
        self.limit *= _GROWTH_PER_SECOND ** min(now - since, _GROWTH_SECONDS_MAX)
        self._changed_at = now
        if self.limit >= _LIFTED_AT * self._cut_from:
            self.limit = None

    def _cut(self, now: float, usual: float, factor: float) -> None:
        if self.limit is None:
            self.limit = self._cut_from = max(usual, _CUT_FROM_MIN)
        elif now - self._cut_at < _CUT_SECONDS:
            return
        self.limit = max(self.limit * factor, _LIMIT_MIN)
        self._cut_at = self._changed_at = now
