"""Times as text: RFC 3339 on our side, HTTP dates on the other."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from posthouse.core.errors import InvalidInput

TIME_MS_MAX: Final = 253_402_300_799_999  #: 9999-12-31T23:59:59.999Z

_TIMESTAMP_CHARS_MAX: Final = 64
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_HTTP_DATES: Final = (
    re.compile(r"[A-Z][a-z]{2}, (?P<d>[0-9]{2}) (?P<b>[A-Z][a-z]{2}) (?P<Y>[0-9]{4}) (?P<T>[0-9:]{8}) GMT"),
    re.compile(r"[A-Z][a-z]{5,8}, (?P<d>[0-9]{2})-(?P<b>[A-Z][a-z]{2})-(?P<y>[0-9]{2}) (?P<T>[0-9:]{8}) GMT"),
    re.compile(r"[A-Z][a-z]{2} (?P<b>[A-Z][a-z]{2}) (?P<d>[ 0-9][0-9]) (?P<T>[0-9:]{8}) (?P<Y>[0-9]{4})"),
)
_CLOCK: Final = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})")
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_HOURS, _MINUTES, _SECONDS = 24, 60, 60


@lru_cache(maxsize=4_096)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ms: int) -> str:
    """Unix milliseconds (0..:data:`TIME_MS_MAX`) as ``2025-01-31T12:34:56.789Z``."""
    seconds, rest = divmod(ms, 1_000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


def parse_rfc3339(text: str) -> int:
    """The Unix milliseconds of an RFC 3339 timestamp; digits beyond the millisecond are cut off.

    An offset is required (``Z`` or ``±hh:mm``). The instant lies in the years 1970..9999 UTC. Leap
    seconds are refused: Unix time has none.

    Raises:
        InvalidInput: for anything else.
    """
    found = _TIMESTAMP.fullmatch(text) if len(text) <= _TIMESTAMP_CHARS_MAX else None
    if found is not None:
        year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
        seconds = _unix_seconds((int(year), int(month), int(day)), (int(hour), int(minute), int(second)))
        offset = 0
        if sign is not None:
            offset = int(off_hour) * 3_600 + int(off_minute) * 60
            if int(off_hour) >= _HOURS or int(off_minute) >= _MINUTES:
                seconds = None
        if seconds is not None:
            utc = seconds + offset if sign == "-" else seconds - offset
            ms = utc * 1_000 + (int((fraction + "00")[:3]) if fraction else 0)
            if 0 <= ms <= TIME_MS_MAX:
                return ms
    raise InvalidInput.at(
        "timestamp",
        "timestamp",
        "A time is an RFC 3339 timestamp with an offset, in the years 1970 to 9999.",
        hint="Use a time such as '2025-01-31T12:34:56.789Z'.",
    )


def parse_http_date(text: str, *, now: int) -> int | None:
    """The Unix milliseconds of an HTTP date in any of the three forms of RFC 9110 section 5.6.7, or None.

    The day of the week is not compared. A year of two digits that would lie more than 50 years
    after ``now`` (Unix ms) means the century before, as that section says.
    """
    for form in _HTTP_DATES:
        found = form.fullmatch(text)
        if found is None:
            continue
        parts = found.groupdict()
        month, clock = _MONTHS.get(parts["b"]), _CLOCK.fullmatch(parts["T"])
        if month is None or clock is None:
            return None
        year = int(parts["Y"]) if "Y" in parts else _full_year(int(parts["y"]), now)
        time = (int(clock[1]), int(clock[2]), int(clock[3]))
        seconds = _unix_seconds((year, month, int(parts["d"])), time)
        return None if seconds is None else seconds * 1_000
    return None


def _full_year(two_digits: int, now: int) -> int:
    this_year = datetime.fromtimestamp(now // 1_000, UTC).year
    year = this_year // 100 * 100 + two_digits
    return year - 100 if year > this_year + 50 else year


def _unix_seconds(day: tuple[int, int, int], time: tuple[int, int, int]) -> int | None:
    """Seconds since 1970 of (year, month, day) and (hour, minute, second) in UTC, or None if there is no such time."""
    hour, minute, second = time
    if hour >= _HOURS or minute >= _MINUTES or second >= _SECONDS:
        return None
    try:
        days = date(*day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return ((days * _HOURS + hour) * _MINUTES + minute) * _SECONDS + second
