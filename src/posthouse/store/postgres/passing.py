"""Passing on what was found in requests: everything that one reading means, in one transaction.

What may refuse a reading (its item, the catalogue) and what may make an event a repetition is looked up for all of them
at once; then it is decided in memory, and written in as few statements as there are tables. The guards of the sources
are held all the while, so nobody else takes these items out of the inbox or learns the same digests.
"""

from collections.abc import Sequence
from typing import Final

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres import deduping
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.incidents import open_incidents
from posthouse.store.postgres.lane import Turn
from posthouse.store.postgres.ordering import newest_open
from posthouse.store.postgres.outcome import Refused
from posthouse.store.postgres.planning import write_events
from posthouse.store.postgres.streams import count_on
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import PassResult
from posthouse.store.shared.memory import Memory
from posthouse.store.shared.planning import EventRows, orders_of
from posthouse.store.shared.reading import Handed, Place, ReadingRows, digests_of, place_of, refusals_of

_NOT_THERE: Final = "42"  # SQLSTATEs of tables, columns, constraints that a statement names in vain begin so


async def pass_on(turn: Turn, handed: Sequence[Handed]) -> list[PassResult]:
    """What becomes of the readings, once that is durable.

    Nothing is asked whether what recognises repetitions is there: most of the time it is. If a statement is refused
    because of something that is not there, or not as it should be, all is done once more with that question first.
    """
    try:
        return await _transacted(turn, handed, doubted=False)
    except Refused as refused:
        if not refused.sqlstate.startswith(_NOT_THERE):
            raise
    return await _transacted(turn, handed, doubted=True)


async def _transacted(turn: Turn, handed: Sequence[Handed], *, doubted: bool) -> list[PassResult]:
    return await turn.transact(lambda t: _pass_on(t, handed, doubted=doubted), _guards_of(handed, doubted=doubted))


def _guards_of(handed: Sequence[Handed], *, doubted: bool) -> Guards:
    sources = {reading.item.request.source_key for reading, _now in handed}
    if doubted:
        sources.add(deduping.GUARD)
    return Guards(
        catalogue=any(reading.new_tenants for reading, _now in handed),
        sources=tuple(sorted(sources)),
        orders=orders_of(event.new for reading, _now in handed for event in reading.events),
    )


async def _pass_on(transaction: Transaction, handed: Sequence[Handed], *, doubted: bool) -> list[PassResult]:
    """Decide about every reading, then write what is passed on."""
    if transaction.version is None:
        raise StoreUnavailable("The store does not know this node any more; nothing was written.", retry_after_s=1)
    refusals = refusals_of(handed, await _waiting(transaction, handed), transaction.version)
    kept = [h for h, refusal in zip(handed, refusals, strict=True) if refusal is None]
    if not kept:
        return [refusal for refusal in refusals if refusal is not None]
    if doubted and not await deduping.is_usable(transaction):
        memory = Memory(None, is_whole=False)
    else:
        memory = await deduping.recall(transaction, digests_of(kept))
    places = orders_of(event.new for reading, _now in kept for event in reading.events)
    events = EventRows(await newest_open(transaction, places))
    rows = ReadingRows(memory, events)
    passed = iter([rows.add(h) for h in kept])
    results: list[PassResult] = [next(passed) if refusal is None else refusal for refusal in refusals]
    await write_events(transaction, events)
    await _write(transaction, rows)
    await deduping.write_learnt(transaction, memory)
    await open_incidents(transaction, rows.incidents)
    await count_on(transaction, rows.counted)
    return results


async def _waiting(transaction: Transaction, handed: Sequence[Handed]) -> set[Place]:
    """The items that are in the inbox."""
    places = [place_of(h) for h in handed]
    return {places[place - 1] for (place,) in await transaction.rows("waiting_in_inbox", *columns(places, 3))}


async def _write(transaction: Transaction, rows: ReadingRows) -> None:
    readings = [(*row[:8], _storable(row[8]), row[9]) for row in rows.readings]
    ((gone,),) = await transaction.rows(
        "insert_readings",
        *columns(rows.gone, 3),
        *columns(readings, 10),
        *columns(rows.arrivals, 7),
        *columns(rows.repeats, 4),
    )
    assert gone == len(rows.gone), "nobody takes items out of the inbox without the guard of their source"
    if rows.doubts:
        doubts = {row[:2]: (*row[:6], _storable(row[6]), _storable(row[7]), row[8]) for row in rows.doubts}
        await transaction.count("put_doubts", *columns(list(doubts.values()), 9))


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)
