"""The days that large tables are divided into, made ahead.

All facts of one event lie in the day of the event, all books of one request in the day of the request: so debts and
what pays them stand together. What no day was made for lies in the rest.

A day is made beside its table and attached: that holds up nobody who writes.
"""

from functools import partial
from typing import Final

from posthouse.core import ids
from posthouse.store.postgres.lane import Lane
from posthouse.store.postgres.outcome import Refused
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared.retaining import DAY_MS
from posthouse.store.shared.spans import PERIOD_BITS

AHEAD: Final = 7  #: days that are made before they begin

#: Tables by events, by requests, and what says where to look for them.
OF_EVENTS: Final = ("events", "history", "reopened", "attempts")
OF_REQUESTS: Final = ("requests", "readings", "arrivals", "repeats")
PERIODS: Final = (
    "environment_periods",
    "tenant_periods",
    "endpoint_periods",
    "inbound_environment_periods",
    "inbound_tenant_periods",
    "source_periods",
)
TABLES: Final = (*OF_EVENTS, *OF_REQUESTS, *PERIODS)

_IN_THE_REST: Final = "23514"  #: SQLSTATE of a day that cannot be attached: rows of it lie in the rest
_MAKING_MS: Final = 1_000  #: so long making a day may wait for readers of the rest


def day_of(time_ms: int) -> int:
    """The day that a Unix time in milliseconds is in."""
    return time_ms // DAY_MS


def keys_of(day: int) -> tuple[int, int]:
    """The first key of a day, and the first of the next one."""
    return ids.first_key_at(day * DAY_MS), ids.first_key_at((day + 1) * DAY_MS)


async def make_days(lane: Lane, *, now: int, ahead: int = AHEAD) -> int:
    """Make the days that are missing, from ``now`` to ``ahead`` days behind it; how many it were.

    A day of which something lies in the rest already stays there.

    Raises:
        StoreUnavailable: Somebody reads for so long that it cannot be done now.
    """
    today = day_of(now)
    wanted = [day for day in range(today, today + ahead + 1) if keys_of(day)[0] > 0]
    known = {row["day"] for row in await lane.single("known_days", wanted)}
    missing = [day for day in wanted if day not in known]
    for day in missing:
        try:
            await lane.transact(partial(_make, day=day))
        except Refused as error:
            if error.sqlstate != _IN_THE_REST:
                raise
            await lane.single("note_day", day, "rest")
    return len(missing)


async def _make(t: Transaction, day: int) -> None:
    await t.rows("one_changes_days")
    if await t.rows("known_days", [day]):
        return  # another node was faster
    first, behind = keys_of(day)
    await t.define(f"SET LOCAL lock_timeout = '{_MAKING_MS}ms'")
    for table in TABLES:
        start, end = (first >> PERIOD_BITS, behind >> PERIOD_BITS) if table in PERIODS else (first, behind)
        await t.define(f"""
            CREATE TABLE {table}_{day} (LIKE {table} INCLUDING ALL);
            ALTER TABLE {table} ATTACH PARTITION {table}_{day} FOR VALUES FROM ({start}) TO ({end});
        """)
    await t.count("note_day", day, "made")
