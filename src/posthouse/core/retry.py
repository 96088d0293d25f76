"""When a failed delivery is attempted again, and when it is given up."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core.delivery import State
from posthouse.core.errors import InvalidInput
from posthouse.core.limits import (
    FAULTS_MAX,
    RETRIES_MAX,
    RETRY_AFTER_SECONDS_MAX,
    RETRY_LENGTH_MS_MAX,
    RETRY_SPAN_MS_MAX,
)
from posthouse.core.time_format import parse_http_date

ATTEMPTS_SPENT: Final = "attempts_spent"  #: every retry of the schedule was made
SPAN_SPENT: Final = "span_spent"  #: the round began more than ``RETRY_SPAN_MS_MAX`` ago
POISON: Final = "poison"  #: its attempts met ``FAULTS_MAX`` faults of the program in a row
FAULT: Final = "fault"  #: the outcome of an attempt that met a fault of the program
#: The outcome of an attempt in a batch that the endpoint took, except for this event, as its answer says.
NOT_TAKEN: Final = "not_taken"

_SECOND: Final = 1_000
_UNITS: Final = {"d": 86_400 * _SECOND, "h": 3_600 * _SECOND, "m": 60 * _SECOND, "s": _SECOND}
_CUSTOM: Final = "custom:"
_CUSTOM_CHARS_MAX: Final = 1_024
_DURATION: Final = re.compile(r"([0-9]{1,7})([smhd])")
_JITTER_PARTS: Final = 10  #: the most that jitter adds is a tenth of the delay
_HELD_DELAY_MS: Final = 60 * _SECOND  # after a 410, when the schedule has no delay left

_GONE: Final = 410
_SAYS_WHEN: Final = frozenset({429, 503})  #: statuses whose Retry-After is heeded
_DELTA_DIGITS_MAX: Final = 9


class RetrySchedule(msgspec.Struct, frozen=True):
    """The delays between the attempts of one round: as many retries as there are delays."""

    name: str  #: a preset's name, or the canonical text of a custom schedule; parses to this schedule
    delays: tuple[int, ...]  #: milliseconds, without jitter


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a delivery after an attempt."""

    state: State  #: DELIVERED, RETRYING or EXHAUSTED
    due_at: int = 0  #: of the next attempt, if RETRYING
    reason: str | None = None  #: why it is EXHAUSTED
    disable: bool = False  #: the endpoint does not want to be called any more (410 Gone)


#: Schedules by name. ``three-weeks``: 25 retries, the n-th (from 0) after n⁴ + 15 s, 20.4 days in all.
#: ``standard-webhooks``: the example schedule of the Standard Webhooks specification, 75.6 hours.
PRESETS: Final[Mapping[str, RetrySchedule]] = MappingProxyType(
    {
        name: RetrySchedule(name, tuple(seconds * _SECOND for seconds in delays_s))
        for name, delays_s in {
            "three-weeks": tuple(n**4 + 15 for n in range(25)),
            "standard-webhooks": (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
            "none": (),
        }.items()
    }
)

_DELIVERED: Final = Decision(State.DELIVERED)


@lru_cache(maxsize=1_024)
def parse_schedule(text_or_name: str) -> RetrySchedule:
    """The schedule with this name, or the one that ``custom:5s,1m,2h,1d`` describes.

    A custom schedule has 1 to ``RETRIES_MAX`` delays of at least one second, in whole s, m, h or d,
    ``RETRY_LENGTH_MS_MAX`` at most in all. Raises :class:`InvalidInput`.
    """
    preset = PRESETS.get(text_or_name)
    if preset is not None:
        return preset
    if not text_or_name.startswith(_CUSTOM) or len(text_or_name) > _CUSTOM_CHARS_MAX:
        raise _refused(f"A retry schedule is one of {', '.join(PRESETS)}, or custom: and a list of delays.")
    delays = tuple(_parse_delay(item) for item in text_or_name[len(_CUSTOM) :].split(","))
    if len(delays) > RETRIES_MAX:
        raise _refused(f"A retry schedule has at most {RETRIES_MAX} delays.")
    if sum(delays) > RETRY_LENGTH_MS_MAX:
        raise _refused(f"The delays of a retry schedule are at most {RETRY_LENGTH_MS_MAX // _UNITS['d']} days in all.")
    return RetrySchedule(_CUSTOM + ",".join(map(_write_delay, delays)), delays)


@lru_cache(maxsize=1_024)
def cut(schedule: RetrySchedule, block_ms: int) -> RetrySchedule:
    """The retries of ``schedule`` that come within ``block_ms`` of the first attempt, jitter and answers left out.

    With it a failing event blocks what stands behind it no longer than that.
    """
    kept = sum(1 for end in accumulate(schedule.delays) if end <= block_ms)
    if kept == len(schedule.delays):
        return schedule
    if kept == 0:
        return PRESETS["none"]
    delays = schedule.delays[:kept]
    return RetrySchedule(_CUSTOM + ",".join(map(_write_delay, delays)), delays)


def decide(
    schedule: RetrySchedule,
    *,
    attempts: int,
    opened_at: int,
    now: int,
    failure: str | None,
    status: int | None,
    retry_after: str | None,
    jitter: float,
) -> Decision:
    """What becomes of a delivery after one more attempt.

    Args:
        schedule: the endpoint's.
        attempts: attempts of this round that were made before this one.
        opened_at: when this round began, Unix ms; after ``RETRY_SPAN_MS_MAX`` the next failure is the last.
        now: Unix ms; the next attempt is never earlier than this plus the delay.
        failure: the failure's class, None for success.
        status: HTTP status, if an answer came.
        retry_after: the Retry-After header, if any; with 429 and 503 it is the least delay, up to a bound.
        jitter: in [0, 1); spreads retries over an extra tenth of the delay.

    A 410 never gives the delivery up: the endpoint is to be disabled, and what it is owed is held.
    """
    if failure is None:
        return _DELIVERED
    spent = attempts >= len(schedule.delays)
    if status == _GONE:
        delay = _HELD_DELAY_MS if spent else schedule.delays[attempts]
        return Decision(State.RETRYING, _due(now, delay, jitter), disable=True)
    if spent:
        return Decision(State.EXHAUSTED, reason=ATTEMPTS_SPENT)
    if now - opened_at > RETRY_SPAN_MS_MAX:
        return Decision(State.EXHAUSTED, reason=SPAN_SPENT)
    delay = schedule.delays[attempts]
    if retry_after is not None and status in _SAYS_WHEN:
        delay = max(delay, asked_delay(retry_after, now))
    return Decision(State.RETRYING, _due(now, delay, jitter))


def decide_after_fault(
    schedule: RetrySchedule,
    outcomes: Sequence[str],
    *,
    opened_at: int,
    now: int,
    jitter: float,
) -> Decision:
    """What becomes of a delivery whose attempt met a fault of the program, and not of the endpoint or the network.

    It goes on by the schedule, so that a fault never spins; after ``FAULTS_MAX`` in a row it is parked as poison.

    Args:
        schedule: the endpoint's.
        outcomes: of the attempts of this round that were made before this one, by number.
        opened_at: when this round began, Unix ms.
        now: Unix ms.
        jitter: in [0, 1).
    """
    if len(outcomes) >= FAULTS_MAX - 1 and all(outcome == FAULT for outcome in outcomes[1 - FAULTS_MAX :]):
        return Decision(State.EXHAUSTED, reason=POISON)
    return decide(
        schedule,
        attempts=len(outcomes),
        opened_at=opened_at,
        now=now,
        failure=FAULT,
        status=None,
        retry_after=None,
        jitter=jitter,
    )


def _due(now: int, delay: int, jitter: float) -> int:
    return now + delay + int(delay // _JITTER_PARTS * jitter)


def asked_delay(retry_after: str, now: int) -> int:
    """The delay in ms that a Retry-After header asks for, within the bound; 0 if it says nothing usable."""
    text = retry_after.strip()
    bound = RETRY_AFTER_SECONDS_MAX * _SECOND
    if text.isascii() and text.isdigit():
        return min(int(text) * _SECOND, bound) if len(text) <= _DELTA_DIGITS_MAX else bound
    at = parse_http_date(text, now=now)
    return 0 if at is None else min(max(at - now, 0), bound)


def _parse_delay(item: str) -> int:
    found = _DURATION.fullmatch(item.strip(" "))
    delay = int(found[1]) * _UNITS[found[2]] if found is not None else 0
    if delay == 0:
        raise _refused("A delay is a whole number of at least 1 and a unit: s, m, h or d.")
    return delay


def _write_delay(delay: int) -> str:
    unit = next(unit for unit, length in _UNITS.items() if delay % length == 0)
    return f"{delay // _UNITS[unit]}{unit}"


def _refused(message: str) -> InvalidInput:
    return InvalidInput.at(
        "retry", "retry_schedule", message, hint="Use 'three-weeks', or such as 'custom:5s,1m,2h,1d'."
    )
