"""How quantities and moments are written for people. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_BYTES: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def duration(seconds: float) -> str:
    """Two units at most: ``3 min 12 s``, ``1 d 4 h``; below ten seconds with a decimal: ``1.4 s``."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - from here on a decimal says nothing
        return f"{seconds:.1f} s"
    rest = round(seconds)
    parts: list[tuple[int, str]] = []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count)


def milliseconds(value: float | None) -> str:
    """``0.42 ms``, ``182 ms``; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"  # noqa: PLR2004 - three digits are enough


def byte_count(value: int) -> str:
    """``17.3 MiB``."""
    for name, size in _BYTES:
        if value >= size:
            return f"{value / size:.1f} {name}"
    return f"{value} B"


def count(value: int, noun: str, plural: str | None = None) -> str:
    """``1 event``, ``1,204 events``."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def instant(text: str | None) -> datetime | None:
    """The time that an RFC 3339 text names, in UTC."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def moment(text: str | None) -> str:
    """An RFC 3339 time as ``2026-11-22 01:13:25Z``; a dash for none."""
    at = instant(text)
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def clock_time(text: str | None) -> str:
    """The time of day of an RFC 3339 time, with milliseconds; a dash for none."""
    at = instant(text)
    return "-" if at is None else f"{at:%H:%M:%S}.{at.microsecond // 1_000:03d}"


def from_now(text: str, now: datetime) -> str:
    """``in 3 min 12 s``, ``now``, or ``now (due 4.0 s ago)``."""
    at = instant(text)
    assert at is not None
    ahead = (at - now) / timedelta(seconds=1)
    if ahead > 0:
        return f"in {duration(ahead)}"
    return "now" if ahead > -1 else f"now (due {duration(-ahead)} ago)"
