"""How a source usually speaks, and when it has been silent for too long."""

from typing import Final

from msgspec.structs import replace

from posthouse.core.inbound import Rhythm

DAYS: Final = 8  #: whose longest pauses are known: a week and today, so that quiet nights and weekends are usual
SEEN_MIN: Final = 100  #: requests before a rhythm counts as learnt
PAUSE_MIN_MS: Final = 300_000  #: a shorter usual pause counts as this
SILENCE: Final = 2  #: so many times the usual pause without a request is silence

_DAY_MS: Final = 86_400_000


def heard(rhythm: Rhythm | None, source_key: int, at: int, *, count: int = 1) -> Rhythm:
    """The rhythm after ``count`` requests, the last of which came at ``at`` (Unix ms)."""
    day = at // _DAY_MS
    if rhythm is None:
        return Rhythm(source_key=source_key, seen_at=at, seen=count, pauses=(0,), day=day)
    pauses = rhythm.pauses
    if day > rhythm.day:
        pauses = (*(0,) * min(day - rhythm.day, DAYS), *pauses)[:DAYS]
    pause = max(0, at - rhythm.seen_at)
    if pause > pauses[0]:
        pauses = (pause, *pauses[1:])
    return replace(
        rhythm,
        seen_at=max(at, rhythm.seen_at),
        seen=rhythm.seen + count,
        pauses=pauses,
        day=max(day, rhythm.day),
    )


def latest(one: Rhythm, other: Rhythm) -> Rhythm:
    """What two have heard who listened to a part of the requests each: what the one knows who heard the last of them.

    What it takes for a pause may be none, since it did not hear the others: that makes an alarm later, never false.
    """
    late = one if one.seen_at >= other.seen_at else other
    return replace(late, seen=max(one.seen, other.seen))


def usual_pause_ms(rhythm: Rhythm | None, heartbeat_seconds: int | None) -> int | None:
    """After what time at most something is expected; None: nobody knows, or nothing is.

    Args:
        rhythm: what was heard.
        heartbeat_seconds: what its sender or its operator says; 0: nothing is expected; None: it has to be learnt.
    """
    if heartbeat_seconds is not None:
        return heartbeat_seconds * 1_000 or None
    if rhythm is None or rhythm.seen < SEEN_MIN:
        return None
    return max(PAUSE_MIN_MS, *rhythm.pauses)


def is_silent(usual_ms: int, *, seen_at: int, listening_since: int, now: int) -> bool:
    """Whether it has been quiet for too long. Who was not listening has heard nothing, and that proves nothing."""
    return now - max(seen_at, listening_since) > SILENCE * usual_ms
