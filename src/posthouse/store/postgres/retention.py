"""Dropping what is old: which step comes next, and the steps that drop rows.

A day of which little is left goes at once (:mod:`posthouse.store.postgres.bygone_days`). What lies in the rest, and a
day of which much is left, goes row by row. Nobody else drops meanwhile: each step is one transaction that holds the one
row of ``retention``. It waits for no lock longer than ``LOCK_MS``, so nobody who comes behind it does.

What is settled is opened again only by who holds ``begin_reopening``, from before it looked; a step that is to drop
settled rows waits for those, and lets nobody begin. So a delivery is opened again and stays, or is gone whole.
"""

from functools import partial
from typing import Any, Final

from posthouse.core import ids
from posthouse.store.postgres import bygone_days
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared.retaining import (
    DAY_MS,
    EVENTS,
    REQUESTS,
    STAGES,
    WALKED,
    Lap,
    boundary,
    lap_of,
    text_of,
)

LOCK_MS: Final = 100  #: so long a step waits for a lock; whoever wants that too waits behind it

_EVERYTHING: Final = 0  #: the day whose sums count
_BLOCKS: Final = 64  #: walked through in one step: some thousand rows
_DROPS: Final = ("drop_events", "drop_history", "drop_reopened", "drop_attempts")
_DROPS_OF_REQUESTS: Final = ("drop_requests", "drop_readings", "drop_arrivals", "drop_repeats", "drop_quarantine")


class PostgresRetention:
    """What the admin facet does about what is old."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lane = lanes.misc
        self._readers = readers

    async def step(self, *, now: int, keep_ms: int, limit: int) -> bool:
        """Drop some of what is old; see the protocol."""
        return await self._lane.transact(partial(_step, now=now, keep_ms=keep_ms, limit=limit))

    async def retained_from(self) -> int:
        """What was accepted before may be gone; see the protocol."""
        (row,) = await self._readers.quick("retained_from")
        found: int = row["retained_from"]
        return found


async def _step(t: Transaction, *, now: int, keep_ms: int, limit: int) -> bool:
    await t.define(f"SET LOCAL lock_timeout = '{LOCK_MS}ms'")
    taken = await t.rows("take_retention")
    if not taken:
        return False  # another node is at it
    retained_from = taken[0]["retained_from"]
    jobs = await t.rows("jobs_that_open_again")
    before = boundary(now=now, keep_ms=keep_ms, jobs=[tuple(job) for job in jobs])
    if before > retained_from:  # durable before the first row goes
        await t.count("put_retention", before, taken[0]["lap"])
        await t.count("raise_key_floor", ids.first_key_at(before) - 1)
        return True
    day = await t.rows("oldest_day", before // DAY_MS)
    if day:
        await bygone_days.go_on(t, bygone_days.Day(*day[0]), limit)
        return True
    lap = lap_of(taken[0]["lap"], before)
    if lap.is_done or not before:
        return False
    lap = await _go_round(t, lap, limit)
    await t.count("put_retention", retained_from, text_of(lap))
    return not lap.is_done


async def _go_round(t: Transaction, lap: Lap, limit: int) -> Lap:
    stage = STAGES[lap.stage]
    if stage == EVENTS:
        return await _sweep_events(t, lap, limit)
    if stage == REQUESTS:
        return await _sweep_requests(t, lap, limit)
    if stage in WALKED:
        return await _walk(t, lap, stage)
    return await bygone_days.dissolve(t, lap)


async def _sweep_events(t: Transaction, lap: Lap, limit: int) -> Lap:
    """Drop those of the next events that owe nothing, and what belongs to them."""
    after, behind = _place(lap), ids.first_key_at(lap.before)
    ((found, last),) = await t.rows("next_events", after, behind, limit)
    upto = last if found == limit else behind - 1
    await t.rows("hold_reopening")
    await t.count("note_survivors", after, upto)
    for books in ("book_owed", "book_settled", "book_arrived"):
        await t.count(books, after, upto, _EVERYTHING)
    for drop in _DROPS:
        await t.count(drop, after, upto)
    await t.count("forget_survivors", after, upto)
    return lap.at(upto) if found == limit else lap.behind()


async def _sweep_requests(t: Transaction, lap: Lap, limit: int) -> Lap:
    """Drop those of the next requests that may go, and what belongs to them."""
    rows = await t.rows("old_requests", _place(lap), ids.first_key_at(lap.before), limit)
    keys = [row["key"] for row in rows if row["goes"]]
    if keys:
        await t.count("book_requests", keys)
        for drop in _DROPS_OF_REQUESTS:
            await t.count(drop, keys)
    return lap.at(max(row["key"] for row in rows)) if len(rows) == limit else lap.behind()


async def _walk(t: Transaction, lap: Lap, table: str) -> Lap:
    """Look at the next blocks of a table, as they lie there; what comes later is too young to be dropped."""
    start = _place(lap)
    part = f"{table}_rest" if table.endswith("_periods") else table
    ((blocks,),) = await t.rows("blocks_of", part)
    if start < blocks:
        place = ((start, 0), (start + _BLOCKS, 0))
        await t.count(f"walk_{table}", *place, ids.first_key_at(lap.before))
    return lap.at(start + _BLOCKS) if start + _BLOCKS < blocks else lap.behind()


def _place(lap: Lap) -> Any:
    return lap.place[0] if lap.place else 0
