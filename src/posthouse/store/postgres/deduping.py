"""Which digest stands for which event: a table that is only a copy, and may be lost at any time.

It is made anew from the arrivals, the newest first, in bounded steps. A mark says when it is whole; another one
how far it is made. Until it is whole, what is not found in it passes unchecked.

Whoever makes it, forgets some of it or goes on without it holds the guard of ``GUARD``, a source that does not exist.
So nobody goes on without it while it is being made: such events would be missing in it, and nobody would know.
"""

from collections.abc import Sequence
from typing import Final

from posthouse.core import ids
from posthouse.core.inbound import IncidentKind
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared.memory import MARK_MADE, MARK_WHOLE, RESTORED_MS, Digest, Known, Memory
from posthouse.store.shared.spans import CLOCK_STEP_MS_MAX, INTEGER_MAX

GUARD: Final = 0


async def is_usable(transaction: Transaction) -> bool:
    """Whether the table can be asked at all. An error would end the transaction."""
    ((usable,),) = await transaction.rows("seen_is_usable")
    return bool(usable)


async def recall(transaction: Transaction, digests: Sequence[Digest]) -> Memory:
    """What is known of these digests; the table must be usable."""
    if not digests:
        return Memory({}, is_whole=True)
    rows = await transaction.rows("find_seen", *columns(digests, 2))
    known = {digests[place - 1]: Known(key, event_id, at) for _, place, key, event_id, at in rows if place is not None}
    return Memory(known, is_whole=rows[0]["is_whole"])


async def write_learnt(transaction: Transaction, memory: Memory) -> None:
    """Write what was learnt."""
    rows = [(*digest, event.key, event.id, event.at) for digest, event in memory.learnt.items()]
    if rows:
        await transaction.count("put_seen", *columns(rows, 5))


async def restore(transaction: Transaction, now: int, limit: int) -> bool:
    """Look at the next ``limit`` arrivals; True: it is whole now, and the incidents are closed."""
    below = await _begun(transaction)
    if below is None:
        # Closed are also those of readings that began before it was whole, and ended after that.
        await _close_incidents(transaction, now)
        return True
    since = now - RESTORED_MS
    oldest = ids.first_key_at(since - CLOCK_STEP_MS_MAX)  # an event is made after its request was received
    ((count, lowest),) = await transaction.rows("next_arrivals", below, oldest, limit)
    if count:
        await transaction.count("fill_seen", lowest, below, since)
    if count == limit:
        await transaction.count("put_seen_mark", MARK_MADE, lowest)
        return False
    await transaction.count("delete_seen_mark", MARK_MADE)
    await transaction.count("put_seen_mark", MARK_WHOLE, 0)
    await _close_incidents(transaction, now)
    return True


async def prune(transaction: Transaction, before: int, limit: int) -> int:
    """Forget up to ``limit`` digests that were received before ``before``; how many it were."""
    if not await is_usable(transaction):
        return 0
    return await transaction.count("prune_seen", before, limit)


async def _begun(transaction: Transaction) -> int | None:
    """Down to which event key it is made; begins if nobody has begun. None: it is whole."""
    if not await is_usable(transaction):
        # There may be something of these names that is of no use.
        for statement in ("drop_seen", "drop_seen_by_time", "create_seen", "create_seen_by_time"):
            await transaction.rows(statement)
        return INTEGER_MAX
    if await transaction.rows("seen_mark", MARK_WHOLE):
        return None
    made = await transaction.rows("seen_mark", MARK_MADE)
    return made[0]["event_key"] if made else INTEGER_MAX


async def _close_incidents(transaction: Transaction, now: int) -> None:
    await transaction.count("close_incidents", IncidentKind.DEDUPE_UNAVAILABLE, None, now)
