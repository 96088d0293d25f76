"""From a span of time to the keys that were made in it."""

from typing import Final

from posthouse.core import ids

INTEGER_MAX: Final = (1 << 63) - 1
PERIOD_BITS: Final = 36  #: a key without these is its period (see the schemas)

#: Keys carry the time of their making; a clock that was set back makes them run ahead of it. Times are
#: compared exactly, but only among keys that lie less than this outside the range asked for.
CLOCK_STEP_MS_MAX: Final = 10 * 60_000


def keys_between(since: int | None, until: int | None) -> tuple[int, int]:
    """The first and the last key that something of this time can have."""
    oldest = 0 if since is None else ids.first_key_at(since - CLOCK_STEP_MS_MAX)
    newest = 0 if until is None else ids.first_key_at(until + CLOCK_STEP_MS_MAX)
    return oldest, newest or INTEGER_MAX


def times_between(since: int | None, until: int | None) -> dict[str, int]:
    """The bindings of a statement that compares times exactly: ``since`` and ``until``, in this order."""
    return {"since": 0 if since is None else since, "until": INTEGER_MAX if until is None else until}
