"""Dropping what is old: how far it may go, and how far a round through the tables is. Nothing here reads or writes.

What is old goes by whole days, so that a day in a database can go at once. An event goes with all that belongs to it
if none of its deliveries is open; a request goes when none of its events is left, and nothing of it waits to be read or
is in quarantine. Identities, Idempotency-Keys and the tables that say where to look follow, in a walk through each.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from posthouse.core import ids
from posthouse.store.shared.spans import keys_between

DAY_MS: Final = 86_400_000

EVENTS: Final = "events"
REQUESTS: Final = "requests"
#: Tables that are walked through from end to end, after events and requests: what they say is of use only with those.
WALKED: Final = (
    "identities",
    "remembered",
    "quarantine",
    "environment_periods",
    "tenant_periods",
    "endpoint_periods",
    "inbound_environment_periods",
    "inbound_tenant_periods",
    "source_periods",
)
DAYS: Final = "days"  #: of a store whose tables are divided into days: what is left of a day goes to the rest
STAGES: Final = (EVENTS, REQUESTS, *WALKED, DAYS)


class Lap(msgspec.Struct, frozen=True, array_like=True):
    """How far the round is that drops what lies before a time; one is made for each such time."""

    before: int  #: Unix ms, the start of a day
    stage: int = 0  #: place in STAGES; beyond the last: it is done
    place: tuple[int | str, ...] = ()  #: of the latest row that was looked at in this stage

    @property
    def is_done(self) -> bool:
        """Whether everything was looked at."""
        return self.stage >= len(STAGES)

    def at(self, *place: int | str) -> "Lap":
        """The same stage, further on."""
        return Lap(self.before, self.stage, place)

    def behind(self) -> "Lap":
        """The next stage."""
        return Lap(self.before, self.stage + 1)


_LAP: Final = msgspec.json.Decoder(Lap)


def lap_of(text: str | None, before: int) -> Lap:
    """The round that ``text`` tells of, if it is for this time; else a new one."""
    lap = None if text is None else _LAP.decode(text)
    return lap if lap is not None and lap.before == before else Lap(before)


def text_of(lap: Lap) -> str:
    """A round as it is stored."""
    return msgspec.json.encode(lap).decode()


def boundary(*, now: int, keep_ms: int, jobs: Iterable[Sequence[Any]]) -> int:
    """Before which time what is settled may go, in Unix ms: the start of a day.

    ``jobs`` are the unfinished ones that open settled deliveries again, as (cursor's event key, earliest time of their
    filter or None): they go from older events to newer ones, and what lies ahead of one stays.
    """
    oldest = now - keep_ms
    for cursor_event, since in jobs:
        ahead = max(cursor_event, keys_between(since, None)[0], 0)
        oldest = min(oldest, ids.time_of(ahead))
    return max(0, oldest // DAY_MS * DAY_MS)
