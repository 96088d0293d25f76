"""Days that go at once.

First a day is counted, a range of its events at a time: what is to go, for the books, and which events owe something
still. Then, if these survivors are few, its tables are emptied but for them, in one transaction that locks tables of
this day alone: nobody who accepts needs those. At last each of its tables is taken out of the one that it is part of,
and what is left in it put into the rest. That takes a moment in which nobody writes to the whole table, so it is done
only while the day is nearly empty, for one table at a time.

Between counting and emptying a survivor may be settled: it survives all the same, and the next round drops it. If one
that was to go is opened again, the day is counted anew.
"""

from typing import Final, NamedTuple

from posthouse.store.postgres.days import OF_EVENTS, OF_REQUESTS, PERIODS, TABLES, keys_of
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared.retaining import DAY_MS, Lap
from posthouse.store.shared.spans import PERIOD_BITS

LEFT_MAX: Final = 1_000  #: events, or requests, that are moved out of a day while nobody may write

_COUNTED: Final = 10  #: times as many rows as are dropped in a step are counted in one
_COLUMN: Final = {**dict.fromkeys(OF_EVENTS, "event_key"), "events": "key"}


class Day(NamedTuple):
    """A day that is to go."""

    day: int
    state: str
    counted: int  #: up to which event key; 0: not begun
    reopened: int  #: rounds that were opened again, of what was counted

    @property
    def keys(self) -> tuple[int, int]:
        """The key before its first one, and its last one."""
        first, behind = keys_of(self.day)
        return first - 1, behind - 1

    @property
    def keys_of_periods(self) -> tuple[int, int]:
        """The same of its periods: the first begins in the day before, and the last ends before the day does."""
        first, behind = (key >> PERIOD_BITS << PERIOD_BITS for key in keys_of(self.day))
        return first - 1, behind - 1


async def go_on(t: Transaction, day: Day, limit: int) -> None:
    """The next step of a day: it is counted, then it goes."""
    if day.state == "made":
        await _count(t, day, limit * _COUNTED)
        return
    after, last = day.keys
    ((left,),) = await t.rows("count_survivors", after, last, LEFT_MAX + 1)
    if left > LEFT_MAX:
        await _forget(t, day)
        await t.count("move_day", day.day, "swept", 0, 0)
    else:
        await _drop(t, day)


async def _count(t: Transaction, day: Day, limit: int) -> None:
    after, last = max(day.counted, day.keys[0]), day.keys[1]
    ((found, latest),) = await t.rows("next_events", after, last + 1, limit)
    upto = latest if found == limit else last
    await t.rows("hold_reopening")
    await t.count("note_survivors", after, upto)
    for books in ("book_owed", "book_settled", "book_arrived"):
        await t.count(books, after, upto, day.day)
    ((rounds,),) = await t.rows("reopened_rounds", after, upto)
    state = "counted" if upto == last else "made"
    await t.count("move_day", day.day, state, upto, day.reopened + rounds)


async def _drop(t: Transaction, day: Day) -> None:
    """Empty the tables of a day but for its survivors; its sums count from now on."""
    after, last = day.keys
    await t.define("LOCK TABLE days IN ACCESS EXCLUSIVE MODE")  # no snapshot is read: older ones would miss what goes
    await t.rows("hold_reopening")
    ((rounds,),) = await t.rows("reopened_rounds", after, last)
    ((owes,),) = await t.rows("owes_anew", after, last)
    if owes or rounds != day.reopened:
        await _forget(t, day)
        await t.count("move_day", day.day, "made", 0, 0)
        return
    parts = ", ".join(f"{table}_{day.day}" for table in OF_EVENTS)
    await t.define(f"LOCK TABLE {parts} IN ACCESS EXCLUSIVE MODE")
    for table in OF_EVENTS:
        part = f"{table}_{day.day}"
        await t.define(f"""
            CREATE TEMPORARY TABLE left_of_{part} ON COMMIT DROP AS
                SELECT p.* FROM survivors AS s JOIN {part} AS p ON p.{_COLUMN[table]} = s.event_key
                WHERE s.event_key > {after} AND s.event_key <= {last};
            TRUNCATE {part};
            INSERT INTO {part} SELECT * FROM left_of_{part};
        """)  # noqa: S608 - names and numbers of ours
    await t.count("close_deliveries", day.day)
    await t.count("close_requests", day.day)
    await _forget(t, day)
    await t.count("move_day", day.day, "dropped", 0, 0)


async def _forget(t: Transaction, day: Day) -> None:
    """What was counted of a day is of no use any more."""
    await t.count("forget_deliveries", day.day)
    await t.count("forget_requests", day.day)
    await t.count("forget_survivors", *day.keys)


async def dissolve(t: Transaction, lap: Lap) -> Lap:
    """Put what is left of an old day into the rest, one table of it; of a day with much left nothing."""
    behind = int(lap.place[0]) if lap.place else 0
    found = await t.rows("next_day", behind, lap.before // DAY_MS)
    if not found:
        return lap.behind()
    number, state = found[0]
    day = Day(number, state, 0, 0)
    ((left,),) = await t.rows("left_in_day", *day.keys, LEFT_MAX + 1)
    if state != "rest" and left > LEFT_MAX:
        return lap.at(number)
    for table in TABLES:
        part = f"{table}_{number}"
        ((present,),) = await t.rows("has_part", part)
        if present:
            await _take_out(t, day, table, part)
            return lap
    await t.count("forget_day", number)
    return lap


async def _take_out(t: Transaction, day: Day, table: str, part: str) -> None:
    await t.define("LOCK TABLE days IN ACCESS EXCLUSIVE MODE")
    await t.define(f"ALTER TABLE {table} DETACH PARTITION {part}")
    if table in PERIODS:
        await t.count(f"keep_{table}", *day.keys_of_periods)
    else:
        assert table in OF_EVENTS or table in OF_REQUESTS
        await t.define(f"INSERT INTO {table} SELECT * FROM {part}")  # noqa: S608 - names of ours
    await t.define(f"DROP TABLE {part}")
